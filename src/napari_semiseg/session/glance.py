"""What a list of volumes tells of each, without reading its voxels."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.versions import SLICES

if TYPE_CHECKING:
    from napari_semiseg.session.session import Session

THUMBNAIL = 64
"""Longest side of a thumbnail, pixels."""


@dataclass(frozen=True)
class Glance:
    """What is known of a volume from a look at its folder.

    Attributes
    ----------
    states : list of SliceState
        One per plane; all unlabelled where the record is damaged, as opening the volume will tell.
    predicted : float or None
        When its prediction was made, seconds since the epoch: the newest one, unless an earlier round was
        gone back to.
    round : int or None
        The round that made it.
    """

    states: list[SliceState] = field(default_factory=list)
    predicted: float | None = None
    round: int | None = None


def glance(session: Session, volume: str) -> Glance:
    """Return what is known of a volume.

    Parameters
    ----------
    session : Session
    volume : str
        Its id.
    """
    when, which = _prediction(session, volume)
    return Glance(states_of(session, volume), when, which)


def states_of(session: Session, volume: str) -> list[SliceState]:
    """Return the slice states of a volume as they are on disk."""
    states = [SliceState.UNLABELLED] * session.volumes[volume].geometry.shape[0]
    try:
        record = SLICES.read(session.path / "volumes" / volume / "slices.json")
        for key, entry in record["slices"].items():
            states[int(key)] = SliceState(entry["state"])
    except (InputError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return [SliceState.UNLABELLED] * len(states)
    return states


def _prediction(session: Session, volume: str) -> tuple[float | None, int | None]:
    """Return time and round of the prediction that opening the volume shows, by the time of its folder."""
    with suppress(OSError):
        for round_ in reversed(session.recent_rounds()):
            with suppress(OSError):
                return os.stat(round_.prediction_path(volume)).st_mtime, round_.number
    return None, None


def make_thumbnail(data: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return a small grey picture of the middle plane.

    Parameters
    ----------
    data : ndarray, shape (planes, rows, columns)
    spacing : tuple of 3 floats
        mm; pixels of the picture are square.

    Returns
    -------
    ndarray of uint8, shape (rows, columns), at most 64 on a side
        From the 1st percentile, 0, to the 99.5th, 255.
    """
    plane = np.asarray(data[len(data) // 2], dtype=np.float32)
    extent = np.array(plane.shape) * spacing[1:]
    size = np.maximum(1, np.round(extent / extent.max() * THUMBNAIL)).astype(int)
    places = [np.linspace(0, n - 1, count).round().astype(int) for n, count in zip(plane.shape, size, strict=True)]
    small = plane[np.ix_(*places)]
    low, high = np.percentile(plane[np.isfinite(plane)], (1, 99.5)) if np.isfinite(plane).any() else (0.0, 1.0)
    scaled = (np.nan_to_num(small, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)


def thumbnail(session: Session, volume: str) -> np.ndarray | None:
    """Return the thumbnail that is kept in the session folder; None if there is none, or a damaged one."""
    try:
        found = np.load(_thumbnail_file(session, volume), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and found.dtype == np.uint8 and max(found.shape, default=0) <= THUMBNAIL else None


def keep_thumbnail(session: Session, volume: str, data: np.ndarray) -> np.ndarray:
    """Make a thumbnail and keep it; a folder that cannot be written does without."""
    made = make_thumbnail(data, session.volumes[volume].geometry.spacing)
    if session.why_read_only:
        return made
    place = _thumbnail_file(session, volume)
    try:
        beside = place.with_name(".thumbnail.partial.npy")
        np.save(beside, made, allow_pickle=False)
        beside.replace(place)
    except OSError:
        pass
    return made


def _thumbnail_file(session: Session, volume: str) -> Path:
    return session.path / "volumes" / volume / "thumbnail.npy"
