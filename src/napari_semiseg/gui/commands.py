"""Commands of the manifest: what menus, the command palette and keys start. Each finds, or docks, the panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication, QFileDialog

if TYPE_CHECKING:
    from napari_semiseg.gui.panel import Panel


def _panel() -> Panel | None:
    """Return the panel of the current window, docked if it was not yet; None without a window."""
    from napari_semiseg.gui.panel import dock

    viewer = napari.current_viewer()
    return None if viewer is None else dock(viewer)


def open_session() -> None:
    """Ask for a session folder and open it in the panel."""
    panel = _panel()
    if panel is None:
        return
    path = QFileDialog.getExistingDirectory(QApplication.activeWindow(), "Open a Semiseg session folder")
    if path:
        panel.desk.binder.open(Path(path))


def next_volume() -> None:
    """Show the next volume of the session."""
    panel = _panel()
    if panel is not None:
        panel.desk.step(1)


def previous_volume() -> None:
    """Show the previous volume of the session."""
    panel = _panel()
    if panel is not None:
        panel.desk.step(-1)


def train() -> None:
    """Start a round with what the Train tab shows; why it cannot start stands in the message line."""
    panel = _panel()
    if panel is not None:
        panel.tabs.setCurrentIndex(1)
        panel.train.begin()


def stop() -> None:
    """End the training and keep what was learned."""
    panel = _panel()
    if panel is not None:
        panel.desk.training.stop()


def predict() -> None:
    """Predict the ticked volumes with what was learned so far."""
    panel = _panel()
    if panel is not None:
        panel.desk.runs.predict_now()


def most_uncertain() -> None:
    """Show the slice where an annotation helps most."""
    panel = _panel()
    if panel is not None:
        panel.desk.review.go_to_most_uncertain()


def accept_slice() -> None:
    """Take the prediction of the shown slice into the annotation."""
    panel = _panel()
    if panel is not None:
        panel.desk.review.accept()
