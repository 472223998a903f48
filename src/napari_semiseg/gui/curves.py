"""The losses of a run, thinned out so that a run of days draws as fast as one of a minute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LIMIT = 1200


class LossHistory:
    """Mean losses over bins of steps; when there are too many bins, neighbours are joined.

    Attributes
    ----------
    names : list of str
        Loss terms in the order of their first appearance.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.names: list[str] = []
        self._per_bin = 1
        self._steps: list[float] = []
        self._sums: dict[str, list[float]] = {}
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Add the losses of one step."""
        if not self._counts or self._counts[-1] >= self._per_bin:
            self._steps.append(float(step))
            self._counts.append(0)
            for values in self._sums.values():
                values.append(0.0)
        self._counts[-1] += 1
        for name, value in losses.items():
            if name not in self._sums:
                self.names.append(name)
                self._sums[name] = [0.0] * len(self._steps)
            self._sums[name][-1] += value
        if len(self._steps) > self.limit:
            self._join()

    def curve(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return steps and mean losses of a term."""
        return np.array(self._steps), np.array(self._sums[name]) / np.array(self._counts)

    def _join(self) -> None:
        self._per_bin *= 2
        self._steps = self._steps[::2]
        self._counts = [sum(self._counts[i : i + 2]) for i in range(0, len(self._counts), 2)]
        for name, values in self._sums.items():
            self._sums[name] = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
