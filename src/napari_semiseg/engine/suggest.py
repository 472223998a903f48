"""Which slice to look at next, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_BAND = 3  # pixels around the predicted structures that belong to the band
_LEAST_PIXELS = 16  # smaller bands are noise


@dataclass(frozen=True)
class Suggestion:
    """A plane worth annotating.

    Attributes
    ----------
    plane : int
    score : float
        Mean entropy (0–1) over the band of predicted foreground.
    reason : str
        One sentence for the annotator.
    """

    plane: int
    score: float
    reason: str


def band_entropy(labels: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Return per plane the mean entropy over the predicted foreground and a band of 3 pixels around it.

    The mean over a whole plane would rank planes by how little background they have.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Predicted class ids, 0 background.
    entropy : ndarray of uint8, same shape
        255 ≙ 1.

    Returns
    -------
    ndarray of float, shape (planes,)
        NaN where nothing is predicted.
    """
    scores = np.full(labels.shape[0], np.nan)
    for plane in range(labels.shape[0]):
        foreground = np.asarray(labels[plane]) > 0
        if np.count_nonzero(foreground) < _LEAST_PIXELS:
            continue
        band = ndimage.binary_dilation(foreground, iterations=_BAND)
        scores[plane] = float(np.asarray(entropy[plane])[band].mean()) / 255
    return scores


def rank_planes(
    labels: np.ndarray,
    entropy: np.ndarray,
    *,
    annotated: Collection[int],
    spacing: float,
    disagreement: np.ndarray | None = None,
    class_names: dict[int, str] | None = None,
    count: int = 3,
) -> list[Suggestion]:
    """Rank the planes that are not annotated by how unsure the prediction is there.

    After a plane is taken, its near neighbours (half the mean distance between suggestions) are passed over: they
    look alike and one annotation settles them together.

    Parameters
    ----------
    labels, entropy : array-like of uint8, shape (planes, rows, columns)
        Prediction of one volume; zarr arrays are read plane by plane.
    annotated : collection of int
        Planes that need no annotation.
    spacing : float
        Distance of planes, mm.
    disagreement : array-like of uint8, optional
        255 ≙ 1.
    class_names : dict of int to str, optional
    count : int

    Returns
    -------
    list of Suggestion
        Best first; shorter than ``count`` when fewer planes qualify, empty when nothing is predicted.
    """
    scores = band_entropy(labels, entropy)
    scores[list(annotated)] = np.nan
    apart = max(1, labels.shape[0] // (2 * max(1, count) + 2))
    chosen: list[Suggestion] = []
    open_scores = scores.copy()
    while len(chosen) < count and not np.isnan(open_scores).all():
        plane = int(np.nanargmax(open_scores))
        rank = 1 + int(np.nansum(scores > scores[plane]))
        reason = _reason(plane, rank, scores[plane], labels, entropy, disagreement, annotated, spacing, class_names)
        chosen.append(Suggestion(plane, float(scores[plane]), reason))
        open_scores[max(0, plane - apart) : plane + apart + 1] = np.nan
    return chosen


def _reason(
    plane: int,
    rank: int,
    score: float,
    labels: np.ndarray,
    entropy: np.ndarray,
    disagreement: np.ndarray | None,
    annotated: Collection[int],
    spacing: float,
    class_names: dict[int, str] | None,
) -> str:
    place = "the most uncertain slice" if rank == 1 else f"number {rank} in uncertainty"
    worst = _most_uncertain_class(np.asarray(labels[plane]), np.asarray(entropy[plane]))
    name = (class_names or {}).get(worst, f"class {worst}")
    text = f"Slice {plane} is {place}: entropy {score:.2f} of 1 around the prediction, most of it at {name}"
    if disagreement is not None:
        differing = np.asarray(disagreement[plane])[np.asarray(labels[plane]) > 0].mean() / 255
        text += f"; two predictions of it differ by {differing:.0%}"
    if annotated:
        distance = min(abs(plane - other) for other in annotated) * spacing
        text += f"; the nearest annotated slice is {distance:.0f} mm away"
    return text + "."


def _most_uncertain_class(labels: np.ndarray, entropy: np.ndarray) -> int:
    sums = np.bincount(labels.ravel(), weights=entropy.ravel().astype(float), minlength=2)
    return 1 + int(np.argmax(sums[1:]))
