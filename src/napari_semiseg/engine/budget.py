"""How much of a run is spent."""

from __future__ import annotations

import time


class Budget:
    """A budget in steps or in seconds of training; pauses and predictions do not count.

    Parameters
    ----------
    steps : int or None
    seconds : float or None
        One of the two.
    """

    def __init__(self, steps: int | None, seconds: float | None) -> None:
        self.steps, self.seconds = steps, seconds
        self.done = 0
        self.spent = 0.0
        self._began: float | None = None

    def __enter__(self) -> Budget:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._began is not None
        self.spent += time.perf_counter() - self._began
        self.done += 1

    @property
    def progress(self) -> float:
        """Part that is spent, 0…1."""
        if self.steps is not None:
            return min(1.0, self.done / self.steps)
        assert self.seconds is not None
        return min(1.0, self.spent / self.seconds)

    @property
    def remaining(self) -> float:
        """Estimated seconds to the end."""
        if self.seconds is not None:
            return max(0.0, self.seconds - self.spent)
        assert self.steps is not None
        return (self.steps - self.done) * self.spent / max(1, self.done)

    @property
    def is_spent(self) -> bool:
        """Whether the run is over."""
        return self.progress >= 1.0
