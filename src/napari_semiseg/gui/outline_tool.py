"""Drawing round a structure with the mouse: what is inside the line is painted when the button is released."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from napari_semiseg.gui.canvas_tool import Canvas, CanvasTool, Points, between

KEY = "O"
STILL = 0.5
"""Pixels that a hand moves while it only clicks."""


class OutlineTool(CanvasTool):
    """A drag paints a line in the selected class, its release the inside; with Shift, or label 0, both are erased.

    Napari's polygon takes a click per corner, and its brush a stroke, two keys and a click for the same.
    """

    name = "The outline tool"

    def began(self) -> None:
        """Say how it is used."""
        self.desk.tell(f"Draw round a structure with the button held; releasing it fills. {KEY} ends this.")

    def drag(self, canvas: Canvas, event: Any) -> Iterator[None]:
        """Follow the mouse; the line is closed and filled at the end."""
        line = [canvas.at(event)]
        yield
        while event.type == "mouse_move":
            here = canvas.at(event)
            if np.abs(here - line[-1]).max() > STILL:
                line.append(here)
                self._paint(canvas, between(line[-2], line[-1], canvas.shape))
            yield
        if len(line) > 1:
            self._paint(canvas, between(line[-1], line[0], canvas.shape))
            # napari cuts off the fractions of corners.
            corners = [(canvas.plane, *np.floor(point + 0.5)) for point in line]
            canvas.sheet.annotation.paint_polygon(corners, canvas.label)

    def _paint(self, canvas: Canvas, points: Points) -> None:
        passed = np.zeros(canvas.shape, bool)
        passed[points[:, 0], points[:, 1]] = True
        canvas.sheet.annotation.paint_region(canvas.plane, passed, canvas.label)
