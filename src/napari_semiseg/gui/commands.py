"""Commands of the manifest."""

from __future__ import annotations

from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication, QFileDialog


def open_session() -> None:
    """Ask for a session folder and open it in the panel."""
    from napari_semiseg.gui.panel import dock

    viewer = napari.current_viewer()
    if viewer is None:
        return
    path = QFileDialog.getExistingDirectory(QApplication.activeWindow(), "Open a Semiseg session folder")
    if path:
        dock(viewer).desk.binder.open(Path(path))
