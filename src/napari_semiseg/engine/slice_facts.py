"""What a prediction says about each slice in one number: how unsure it is, how far two sources disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

_BAND = 3  # pixels around the predicted structures that belong to the band
_LEAST_PIXELS = 16  # smaller bands are noise


@dataclass(frozen=True)
class SliceFacts:
    """One number per slice.

    Attributes
    ----------
    entropy : ndarray of float, shape (planes,)
        Mean entropy (0–1) over the predicted foreground and a band of 3 pixels around it; NaN where nothing is
        predicted. The mean over a whole plane would rank planes by how little background they have.
    disagreement : ndarray of float, shape (planes,), or None
        Mean disagreement (0–1) over the predicted foreground; NaN where nothing is predicted.
    """

    entropy: np.ndarray
    disagreement: np.ndarray | None

    @classmethod
    def of(cls, labels: Any, entropy: Any, disagreement: Any = None) -> SliceFacts:
        """Measure a prediction plane by plane.

        Parameters
        ----------
        labels, entropy, disagreement : array-like of uint8, shape (planes, rows, columns)
            Class ids; 255 ≙ 1. zarr arrays are read plane by plane.
        """
        count = labels.shape[0]
        means = np.full((2, count), np.nan)
        for plane in range(count):
            foreground = np.asarray(labels[plane]) > 0
            if np.count_nonzero(foreground) < _LEAST_PIXELS:
                continue
            rows, columns = (np.flatnonzero(foreground.any(axis=axis)) for axis in (1, 0))
            # Only the surroundings: widening a whole slice would cost many times as much.
            box = tuple(slice(max(0, line[0] - _BAND), line[-1] + _BAND + 1) for line in (rows, columns))
            band = ndimage.binary_dilation(foreground[box], iterations=_BAND)
            means[0, plane] = np.asarray(entropy[plane])[box][band].mean() / 255
            if disagreement is not None:
                means[1, plane] = np.asarray(disagreement[plane])[foreground].mean() / 255
        return cls(means[0], None if disagreement is None else means[1])

    @classmethod
    def join(cls, parts: Iterable[SliceFacts]) -> SliceFacts:
        """Join those of consecutive blocks of planes."""
        parts = list(parts)
        differing = [part.disagreement for part in parts if part.disagreement is not None]
        return cls(np.concatenate([part.entropy for part in parts]), np.concatenate(differing) if differing else None)

    def to_json(self) -> dict[str, list[float | None] | None]:
        """Return JSON-able values, None for NaN."""
        return {
            "entropy": _listed(self.entropy),
            "disagreement": None if self.disagreement is None else _listed(self.disagreement),
        }

    @classmethod
    def from_json(cls, content: Any) -> SliceFacts:
        """Read back what `to_json` gave."""
        entropy, disagreement = content["entropy"], content["disagreement"]
        return cls(
            np.array(entropy, dtype=float), None if disagreement is None else np.array(disagreement, dtype=float)
        )


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 5) for value in values]
