"""Painting whole superpixels of the shown slice with the mouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg.gui.canvas_tool import Canvas, CanvasTool, Points, between

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

KEY = "superpixels"


class SuperpixelBrush(CanvasTool):
    """A click or a drag assigns superpixels to the selected class; with Shift, or label 0, it erases them."""

    name = "The superpixel brush"

    def __init__(self, desk: Desk):
        super().__init__(desk)
        self._waiting: tuple[Canvas, list[Points]] | None = None
        desk.regions.superpixels_ready.connect(self._on_ready)
        desk.plane_changed.connect(self.forget)

    def began(self) -> None:
        """Show the outlines."""
        self.desk.show_overlay(KEY)
        self.desk.regions.update()

    def forget(self, _: Any = None) -> None:
        """Drop what was pointed at while the superpixels are being computed."""
        self._waiting = None

    def drag(self, canvas: Canvas, event: Any) -> Iterator[None]:
        """Paint every superpixel that the mouse passes."""
        last = canvas.at(event)
        self._paint(canvas, between(last, last, canvas.shape))
        yield
        while event.type == "mouse_move":
            here = canvas.at(event)
            self._paint(canvas, between(last, here, canvas.shape))
            last = here
            yield

    def _paint(self, canvas: Canvas, points: Points) -> None:
        numbers = self.desk.regions.superpixels_of(canvas.plane)
        if numbers is None:
            # They are being computed; what was pointed at is painted when they are there.
            earlier = self._waiting[1] if self._waiting is not None and self._waiting[0].plane == canvas.plane else []
            self._waiting = canvas, [*earlier, points]
            self.desk.regions.update()
        elif len(points):
            chosen = np.zeros(int(numbers.max()) + 1, bool)
            chosen[numbers[points[:, 0], points[:, 1]]] = True
            canvas.sheet.annotation.paint_region(canvas.plane, chosen[numbers], canvas.label)

    def _on_ready(self, plane: int) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self.desk.sheet is waiting[0].sheet and waiting[0].plane == plane:
            self._paint(waiting[0], np.concatenate(waiting[1]))
