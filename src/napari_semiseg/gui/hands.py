"""What a person does in napari's window, through Qt's events: for demonstrations, benchmarks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    import napari

_hands: Any = QTest  # PyQt6 says that its static methods need an instance
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
BETWEEN_MS = 11
"""Vispy drops moves of the mouse that come within 10 ms of the last one; corners of an outline would be lost."""
PLAIN = Qt.KeyboardModifier.NoModifier
Modifier = Qt.KeyboardModifier
Point = tuple[float, float]


class Hands:
    """A mouse on the canvas and on widgets, and keys.

    Parameters
    ----------
    viewer : napari.Viewer
        Its window was opened last.

    Attributes
    ----------
    clicks, strokes, keys : int
        What was done so far: presses and releases at one place, drags, keys.
    """

    def __init__(self, viewer: napari.Viewer):
        self.viewer = viewer
        windows = [w for w in QApplication.topLevelWidgets() if w.findChild(QOpenGLWidget) is not None]
        self.window: Any = windows[-1]
        self.canvas: Any = self.window.findChild(QOpenGLWidget)
        self.clicks = self.strokes = self.keys = 0

    def pixel(self, row: float, column: float) -> QPoint:
        """Return where a voxel of the shown plane is on the canvas."""
        camera, layer = self.viewer.scene.camera, self.viewer.layers[0]
        scale = np.asarray(layer.scale)[-2:]
        world = np.array([row, column]) * scale
        offset = (world - np.asarray(camera.center)[-2:]) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + offset[1]), round(self.canvas.height() / 2 + offset[0]))

    @property
    def counts(self) -> dict[str, int]:
        """What was done so far, by kind."""
        return {"clicks": self.clicks, "strokes": self.strokes, "keys": self.keys}

    def hover(self, point: Point) -> None:
        """Move the mouse to a voxel (row, column) of the shown plane."""
        self._send(QEvent.Type.MouseMove, self.pixel(*point), NONE, NONE, PLAIN)

    def press(self, point: Point, modifier: Modifier = PLAIN) -> None:
        """Press the left button at a voxel; the canvas gets the focus of the keys."""
        self.canvas.setFocus(Qt.FocusReason.MouseFocusReason)
        self._send(QEvent.Type.MouseButtonPress, self.pixel(*point), LEFT, LEFT, modifier)

    def drag(self, point: Point, modifier: Modifier = PLAIN) -> None:
        """Move the mouse to a voxel with the left button pressed."""
        self._send(QEvent.Type.MouseMove, self.pixel(*point), NONE, LEFT, modifier)

    def release(self, point: Point, modifier: Modifier = PLAIN) -> None:
        """Release the left button at a voxel."""
        self._send(QEvent.Type.MouseButtonRelease, self.pixel(*point), LEFT, NONE, modifier)

    def stroke(self, *points: Point, modifier: Modifier = PLAIN) -> None:
        """Drag the mouse through voxels, the application living meanwhile; one voxel alone is a click."""
        if len(points) == 1:
            self.clicks += 1
        else:
            self.strokes += 1
        self.hover(points[0])
        QApplication.processEvents()
        self.press(points[0], modifier)
        QApplication.processEvents()
        for point in points:
            self.drag(point, modifier)
            _hands.qWait(BETWEEN_MS)
        self.release(points[-1], modifier)
        QApplication.processEvents()

    def key(self, key: Qt.Key, modifier: Modifier = PLAIN) -> None:
        """Press a key; what was clicked last gets it."""
        self.keys += 1
        _hands.keyClick(self.window.focusWidget() or self.canvas, key, modifier)

    def type(self, text: str) -> None:
        """Type a text where the focus is, and confirm it with Enter."""
        for letter in text:
            self.keys += 1
            _hands.keyClick(self.window.focusWidget(), letter)
        self.key(Qt.Key.Key_Return)
        QApplication.processEvents()  # editors are closed a moment later

    def click(self, widget: QWidget, place: QPoint | None = None) -> None:
        """Click a widget in its middle or at a place.

        Raises
        ------
        AssertionError
            It is disabled.
        """
        assert widget.isEnabled(), f"disabled: {widget.toolTip()}"
        self.clicks += 1
        _hands.mouseClick(widget, LEFT, PLAIN, place or widget.rect().center())

    def double_click(self, widget: QWidget, place: QPoint) -> None:
        """Double-click a place in a widget: two clicks."""
        self.clicks += 2
        _hands.mouseClick(widget, LEFT, PLAIN, place)
        _hands.mouseDClick(widget, LEFT, PLAIN, place)

    def choose(self, *titles: str) -> None:
        """Click through the menus of the window; a title needs only be a part of the entry's."""
        menu: Any = self.window.menuBar()
        for title in titles:
            entry = next(action for action in menu.actions() if title in action.text().replace("&", ""))
            self.click(menu, menu.actionGeometry(entry).center())
            QApplication.processEvents()
            menu = entry.menu()

    def drop(self, path: Path) -> None:
        """Drag a file from elsewhere and drop it on the canvas."""
        self.strokes += 1
        place, data = self.canvas.rect().center(), QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        QApplication.sendEvent(self.canvas, QDragEnterEvent(place, Qt.DropAction.CopyAction, data, LEFT, PLAIN))
        QApplication.sendEvent(self.canvas, QDropEvent(QPointF(place), Qt.DropAction.CopyAction, data, LEFT, PLAIN))

    def _send(
        self, kind: QEvent.Type, place: QPoint, button: Qt.MouseButton, buttons: Qt.MouseButton, modifier: Modifier
    ) -> None:
        there = QPointF(self.canvas.mapToGlobal(place))
        event = QMouseEvent(kind, QPointF(place), there, button, buttons, modifier)
        QApplication.sendEvent(self.canvas, event)
