"""Where two label volumes differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

GONE = 255
"""Value of the difference where the later one has no structure any more."""


@dataclass(frozen=True)
class Change:
    """How a structure changed from an earlier to a later volume, ml.

    Attributes
    ----------
    class_id : int
    before_ml, after_ml : float
    gained_ml, lost_ml : float
        What only the later one has, and what only the earlier one has.
    """

    class_id: int
    before_ml: float
    after_ml: float
    gained_ml: float
    lost_ml: float

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON-able dict."""
        return asdict(self)


def changes(earlier: Any, later: Any, spacing: Sequence[float], class_ids: Sequence[int]) -> list[Change]:
    """Compare two label volumes plane by plane.

    Parameters
    ----------
    earlier, later : array-like of uint8, shape (planes, rows, columns)
        Class ids.
    spacing : sequence of 3 floats
        mm; plane, row, column.
    class_ids : sequence of int
        Which to compare; background is not.
    """
    counts = np.zeros((256, 256), np.int64)
    for plane in range(earlier.shape[0]):
        pairs = np.asarray(earlier[plane]).astype(np.int32).ravel() * 256 + np.asarray(later[plane]).ravel()
        counts += np.bincount(pairs, minlength=65536).reshape(256, 256)
    ml = float(np.prod(spacing)) / 1000
    before, after, same = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    return [
        Change(i, *(float(n) * ml for n in (before[i], after[i], after[i] - same[i], before[i] - same[i])))
        for i in class_ids
        if i
    ]


def difference(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return the later class where two label planes differ, 255 where it is background, and 0 where they agree.

    Parameters
    ----------
    earlier, later : ndarray of uint8, shape (rows, columns)
        Class ids.
    """
    return np.where(earlier == later, 0, np.where(later == 0, GONE, later)).astype(np.uint8)
