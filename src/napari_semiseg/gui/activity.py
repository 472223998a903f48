"""The run's progress in napari's activity dock."""

from __future__ import annotations

from typing import Any

from napari.utils import progress

from napari_semiseg.gui.outlook import progress_text
from napari_semiseg.gui.training import Training

TOTAL = 1000


class ActivityBar:
    """Shows a progress bar in napari's activity dock while a run is under way."""

    def __init__(self, training: Training):
        self._training = training
        self.bar: Any = None
        training.changed.connect(self.update)
        training.progressed.connect(self.update)

    def update(self) -> None:
        """Follow the run."""
        training = self._training
        if not training.phase.active:
            self.close()
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
