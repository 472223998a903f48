"""Tools of our own on the canvas: while one is active, napari's tools and the other ones rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.problems import told

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.paint_layer import PaintLayer
    from napari_semiseg.gui.sheet import Sheet

Points = NDArray[np.intp]


def between(start: NDArray[np.float64], end: NDArray[np.float64], shape: tuple[int, int]) -> Points:
    """Return the pixels on the way from one place to another, shape (pixels, 2), so that a fast drag leaves no gap."""
    steps = int(np.abs(end - start).max()) + 1
    points = np.round(np.linspace(start, end, steps + 1)).astype(int)
    return points[((points >= 0) & (points < shape)).all(axis=1)]


@dataclass(frozen=True)
class Canvas:
    """What a drag paints on: a plane of a volume, with a label (0 erases)."""

    sheet: Sheet
    plane: int
    label: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.sheet.shape[1:]

    def at(self, event: Any) -> NDArray[np.float64]:
        """Return the row and column under the mouse."""
        return np.asarray(self.sheet.annotation.world_to_data(event.position))[-2:]


class CanvasTool:
    """A tool that paints from the press of the left button to its release, as one undo step; Shift erases.

    Attributes
    ----------
    name : str
        As its button and the messages call it.
    active : bool

    Signals
    -------
    changed()
        It was switched on or off.
    """

    changed = Signal()
    name = ""

    def __init__(self, desk: Desk):
        self.desk = desk
        self.active = False
        desk.accepting.changed.connect(self._on_accepting)

    def drag(self, canvas: Canvas, event: Any) -> Iterator[None]:
        """Paint; yields until the next event of the mouse. ``event`` is kept up to date."""
        raise NotImplementedError

    def began(self) -> None:
        """Get ready: the tool was just switched on."""

    def forget(self) -> None:
        """Drop what is not painted yet."""

    def take(self, sheet: Sheet) -> None:
        """Serve the annotation layer of a newly shown volume."""
        layer = sheet.annotation
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.events.mode.connect(self._on_mode)
        self.forget()
        if self.active:
            self._hold(layer)

    @told
    def toggle(self) -> None:
        """Switch on or off."""
        self.set(not self.active)

    def set(self, active: bool) -> None:
        """Switch on, or off with napari's brush in hand."""
        sheet = self.desk.sheet
        why_not = NO_VOLUME if sheet is None else self.desk.access.why_not if active else ""
        if sheet is None or why_not:
            self.desk.tell(why_not, "warning")
            self.changed.emit()
            return
        if active == self.active:
            return
        if active:
            self.desk.accepting.switch(False)
            for other in self.desk.canvas_tools:
                if other is not self:
                    other.set(False)
        self.active = active
        if active:
            self._hold(sheet.annotation)
            self.desk.viewer.layers.selection.active = sheet.annotation
            self.began()
        elif str(sheet.annotation.mode) == "pan_zoom":
            sheet.annotation.mode = "paint"
        self.forget()
        self.changed.emit()

    def _hold(self, layer: PaintLayer) -> None:
        # In this mode no tool of napari's paints; dragging must not move the picture either.
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.cursor = "cross"

    def _on_mode(self, event: Any = None) -> None:
        sheet = self.desk.sheet
        if self.active and sheet is not None and str(sheet.annotation.mode) != "pan_zoom":
            self._end()

    def _on_accepting(self) -> None:
        """Give way: a click cannot both accept and paint."""
        if self.active and self.desk.accepting.active and self.desk.sheet is not None:
            self.desk.sheet.annotation.mouse_pan = True
            self._end()

    def _end(self) -> None:
        self.active = False
        self.forget()
        self.changed.emit()

    def _on_drag(self, layer: PaintLayer, event: Any) -> Iterator[None]:
        sheet = self.desk.sheet
        if not self.active or sheet is None or event.button != 1 or not layer.editable:
            return
        if not sheet.shows_slices:
            self.desk.tell(f"{self.name} paints on slices along the slice axis, not in 3D (Ctrl-Y).", "warning")
            return
        label = 0 if "Shift" in event.modifiers else int(layer.selected_label)
        event.handled = True
        with layer.block_history():
            yield from self.drag(Canvas(sheet, sheet.plane, label), event)
