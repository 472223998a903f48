"""Putting annotation and prediction together; pure functions of arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

UNSAID = 255


def merged(resolved: np.ndarray, predicted: np.ndarray, unsought: Collection[int] = ()) -> np.ndarray:
    """Return the annotation where it says something and the prediction elsewhere.

    Parameters
    ----------
    resolved : ndarray of uint8, any shape
        Class ids, 0 background, 255 not said.
    predicted : ndarray of uint8, same shape
        Class ids.
    unsought : collection of int
        Class ids that nobody looked for: background may be one of them.
    """
    open_ = resolved == UNSAID
    if unsought:
        open_ |= (resolved == 0) & np.isin(predicted, list(unsought))
    return np.where(open_, predicted, resolved)


def accepted(said: np.ndarray, predicted: np.ndarray, *, overwrite: bool = False) -> np.ndarray:
    """Return what a plane says after its prediction was accepted.

    Parameters
    ----------
    said : ndarray of uint8, shape (rows, columns)
        As painted; 255 not painted.
    predicted : ndarray of uint8, same shape
        Class ids.
    overwrite : bool
        Replace what was painted too; by default painted voxels stay.

    Returns
    -------
    ndarray of uint8, same shape
        Predicted background stays unpainted: on a complete slice that means the same.
    """
    proposal = np.where(predicted == 0, UNSAID, predicted).astype(np.uint8)
    return proposal if overwrite else np.where(said == UNSAID, proposal, said)


def accepted_piece(
    said: np.ndarray, predicted: np.ndarray, piece: np.ndarray, *, complete: bool, overwrite: bool = False
) -> np.ndarray:
    """Return what a plane says after the prediction was accepted in a part of it.

    Parameters
    ----------
    said, predicted : ndarray of uint8, shape (rows, columns)
        As in `accepted`.
    piece : ndarray of bool, same shape
    complete : bool
        Whether unpainted voxels of the plane are background. Predicted background stays unpainted then, and becomes a
        background stroke elsewhere, for it would say nothing otherwise.
    overwrite : bool
        Replace what was painted too.
    """
    taken = np.where(predicted == 0, UNSAID if complete else 0, predicted).astype(np.uint8)
    return np.where(piece & (overwrite | (said == UNSAID)), taken, said).astype(np.uint8)


def rejected_piece(
    said: np.ndarray, predicted: np.ndarray, piece: np.ndarray, *, overwrite: bool = False
) -> np.ndarray:
    """Return what a plane says after the prediction was rejected in a part of it: background where it saw a class.

    Parameters
    ----------
    said, predicted, piece, overwrite
        As in `accepted_piece`.
    """
    refused = piece & (predicted != 0) & (overwrite | (said == UNSAID))
    return np.where(refused, 0, said).astype(np.uint8)


def known(predicted: np.ndarray, class_ids: Iterable[int]) -> np.ndarray:
    """Return a prediction in which classes that were removed since are background.

    Parameters
    ----------
    predicted : ndarray of uint8, any shape
        Class ids.
    class_ids : iterable of int
        Those that exist now.
    """
    table = np.zeros(256, np.uint8)
    for class_id in class_ids:
        table[class_id] = class_id
    return table[predicted]
