"""Painting whole superpixels of the shown slice with the mouse."""

from __future__ import annotations

from collections.abc import Iterator
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

KEY = "superpixels"
Points = NDArray[np.intp]


def between(start: NDArray[np.float64], end: NDArray[np.float64], shape: tuple[int, int]) -> Points:
    """Return the pixels on the way from one place to another, shape (pixels, 2), so that a fast drag leaves no gap."""
    steps = int(np.abs(end - start).max()) + 1
    points = np.round(np.linspace(start, end, steps + 1)).astype(int)
    return points[((points >= 0) & (points < shape)).all(axis=1)]


class SuperpixelBrush:
    """A click or a drag assigns superpixels to the selected class; with Shift, or label 0, it erases them.

    Signals
    -------
    changed()
        It was switched on or off.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.active = False
        self._waiting: tuple[int, list[Points], int] | None = None
        desk.regions.superpixels_ready.connect(self._on_ready)
        desk.plane_changed.connect(self._forget)
        desk.accepting.changed.connect(self._on_accepting)

    def take(self, sheet: Sheet) -> None:
        """Serve the annotation layer of a newly shown volume."""
        layer = sheet.annotation
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.events.mode.connect(self._on_mode)
        self._forget()
        if self.active:
            self._hold(layer)

    @told
    def toggle(self) -> None:
        """Switch on or off."""
        self.set(not self.active)

    def set(self, active: bool) -> None:
        """Switch on, with the outlines shown, or off, with napari's brush in hand."""
        sheet = self.desk.sheet
        if sheet is None:
            self.desk.tell(NO_VOLUME, "warning")
            self.changed.emit()
            return
        if active == self.active:
            return
        if active and self.desk.access.why_not:
            self.desk.tell(self.desk.access.why_not, "warning")
            self.changed.emit()
            return
        if active:
            self.desk.accepting.switch(False)
        self.active = active
        if active:
            self._hold(sheet.annotation)
            self.desk.show_overlay(KEY)
            self.desk.regions.update()
        elif str(sheet.annotation.mode) == "pan_zoom":
            sheet.annotation.mode = "paint"
        self._forget()
        self.changed.emit()

    def _hold(self, layer: PaintLayer) -> None:
        # In this mode no tool of napari's paints; dragging must not move the picture either.
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.cursor = "cross"

    def _on_mode(self, event: Any = None) -> None:
        sheet = self.desk.sheet
        if self.active and sheet is not None and str(sheet.annotation.mode) != "pan_zoom":
            self.active = False
            self._forget()
            self.changed.emit()

    def _on_accepting(self) -> None:
        """Give way: a click cannot both accept and paint."""
        if self.active and self.desk.accepting.active and self.desk.sheet is not None:
            self.active = False
            self.desk.sheet.annotation.mouse_pan = True
            self._forget()
            self.changed.emit()

    def _on_drag(self, layer: PaintLayer, event: Any) -> Iterator[None]:
        """Paint from the press of the button to its release, as one undo step."""
        sheet = self.desk.sheet
        if not self.active or sheet is None or event.button != 1 or not layer.editable:
            return
        if tuple(sheet.viewer.dims.displayed)[-2:] != (sheet.viewer.dims.ndim - 2, sheet.viewer.dims.ndim - 1):
            self.desk.tell("The superpixel brush paints on slices along the slice axis; show those first.", "warning")
            return
        label = 0 if "Shift" in event.modifiers else int(layer.selected_label)
        plane, shape = sheet.plane, sheet.shape[1:]
        last = np.asarray(layer.world_to_data(event.position))[-2:]
        event.handled = True
        with layer.block_history():
            self._paint(sheet, plane, between(last, last, shape), label)
            yield
            while event.type == "mouse_move":
                here = np.asarray(layer.world_to_data(event.position))[-2:]
                self._paint(sheet, plane, between(last, here, shape), label)
                last = here
                yield

    def _paint(self, sheet: Sheet, plane: int, points: Points, label: int) -> None:
        numbers = self.desk.regions.superpixels_of(plane)
        if numbers is None:
            # They are being computed; what was pointed at is painted when they are there.
            earlier = self._waiting[1] if self._waiting is not None and self._waiting[0] == plane else []
            self._waiting = plane, [*earlier, points], label
            self.desk.regions.update()
        elif len(points):
            chosen = np.zeros(int(numbers.max()) + 1, bool)
            chosen[numbers[points[:, 0], points[:, 1]]] = True
            sheet.annotation.paint_region(plane, chosen[numbers], label)

    def _on_ready(self, plane: int) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self.desk.sheet is not None and waiting[0] == plane:
            self._paint(self.desk.sheet, plane, np.concatenate(waiting[1]), waiting[2])

    def _forget(self, _: Any = None) -> None:
        self._waiting = None
