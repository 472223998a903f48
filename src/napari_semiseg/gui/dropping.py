"""Files that are dropped on the window while the panel is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

from napari_semiseg.gui.reader import get_reader, is_session

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

LEFT_TO_NAPARI = (".tif", ".tiff")
"""Often no volume at all."""


class Dropping(QObject):
    """Opens medical volumes and sessions at once; napari would ask which of several readers is meant.

    Parameters
    ----------
    desk : Desk
    parent : QObject
    """

    def __init__(self, desk: Desk, parent: QObject):
        super().__init__(parent)
        self._desk = desk
        self._target: QWidget | None = None

    def serve(self, window: QWidget) -> None:
        """Look at what is dropped on the picture of a window; one without a picture changes nothing."""
        widget: QWidget | None = window.findChild(QOpenGLWidget)
        while widget is not None and not widget.acceptDrops():
            widget = widget.parentWidget()
        if widget is not None:
            self.stop()
            self._target = widget
            widget.installEventFilter(self)

    def stop(self) -> None:
        """Leave everything to napari."""
        if self._target is not None:
            self._target.removeEventFilter(self)
        self._target = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take what is ours; with Alt, which makes napari ask, nothing is."""
        dropped: Any = event
        if dropped.type() != QEvent.Type.Drop or dropped.modifiers() & Qt.KeyboardModifier.AltModifier:
            return False
        paths = [Path(url.toLocalFile()) for url in dropped.mimeData().urls() if url.isLocalFile()]
        if not paths or not all(_is_ours(path) for path in paths):
            return False
        dropped.acceptProposedAction()
        # The program that the files come from waits for the end of this event.
        QTimer.singleShot(0, lambda: self._open(paths))
        return True

    def _open(self, paths: list[Path]) -> None:
        if is_session(paths[0]):
            self._desk.binder.open(paths[0])
        else:
            self._desk.open_files(paths)


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() not in LEFT_TO_NAPARI and get_reader(str(path)) is not None
