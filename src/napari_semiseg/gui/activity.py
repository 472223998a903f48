"""The run's progress in napari's activity dock."""

from __future__ import annotations

import time
from typing import Any

from napari.utils import progress

from napari_semiseg.gui.outlook import progress_text
from napari_semiseg.gui.training import Training

TOTAL = 1000
# napari lays the bar out anew and handles all waiting events at every change of its text, which costs some 50 ms.
INTERVAL_S = 5.0


class ActivityBar:
    """Shows a progress bar in napari's activity dock while a run is under way."""

    def __init__(self, training: Training):
        self._training = training
        self.bar: Any = None
        self._updating = False
        self._drawn_at = 0.0
        training.changed.connect(self.update)
        training.progressed.connect(self._update_now_and_then)

    def update(self) -> None:
        """Follow the run."""
        # napari handles events while it draws the bar, and one of them may be the next news of the run.
        if self._updating:
            return
        self._updating = True
        try:
            self._draw()
        finally:
            self._updating = False
        if not self._training.phase.active:
            self.close()

    def _update_now_and_then(self) -> None:
        if time.monotonic() - self._drawn_at >= INTERVAL_S or not self._training.phase.active:
            self.update()

    def _draw(self) -> None:
        training = self._training
        self._drawn_at = time.monotonic()
        if not training.phase.active:
            return
        if self.bar is None:
            self.bar = progress(total=TOTAL, desc="Semiseg training")
        text = progress_text(training.phase, training.progress, training.remaining)
        self.bar.set_description(f"Semiseg: {text}")
        step = round(TOTAL * training.progress) - self.bar.n
        if step:
            self.bar.update(step)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
