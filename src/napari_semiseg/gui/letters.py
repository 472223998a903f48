"""Patient letters (R/L, A/P, S/I) at the edges of the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.components.overlays import TextOverlay

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

EDGES = ("top", "bottom", "left", "right")
_POSITIONS = {"top": "top_center", "bottom": "bottom_center", "left": "middle_left", "right": "middle_right"}


def edge_letters(
    letters: Sequence[tuple[str, str]],
    displayed: Sequence[int],
    orientation: tuple[str, str] = ("down", "right"),
) -> dict[str, str]:
    """Return the letter of each canvas edge.

    Parameters
    ----------
    letters : 3 pairs of str
        Patient direction at the low and at the high end of each array axis.
    displayed : 2 ints
        Array axes shown vertically and horizontally.
    orientation : 2 str
        Where the vertical (``"down"`` or ``"up"``) and the horizontal (``"right"`` or ``"left"``) axis grow.
    """
    vertical, horizontal = letters[displayed[0]], letters[displayed[1]]
    if str(orientation[0]) == "up":
        vertical = vertical[::-1]
    if str(orientation[1]) == "left":
        horizontal = horizontal[::-1]
    return {"top": vertical[0], "bottom": vertical[1], "left": horizontal[0], "right": horizontal[1]}


class Letters:
    """Keeps four text overlays of the canvas in step with what is shown."""

    def __init__(self, desk: Desk):
        self.desk = desk
        overlays = desk.viewer.canvas.overlays
        self.overlays: dict[str, Any] = {}
        for edge in EDGES:
            overlay = TextOverlay(position=_POSITIONS[edge], font_size=12, box=False)
            overlays[f"semiseg_{edge}"] = overlay
            self.overlays[edge] = overlay
        desk.volume_changed.connect(self.update)
        desk.viewer.dims.events.order.connect(self.update)
        desk.viewer.dims.events.ndisplay.connect(self.update)
        desk.viewer.scene.camera.events.orientation.connect(self.update)
        self.update()

    def update(self, _: Any = None) -> None:
        """Show the letters of the shown orientation; none in 3D and without a volume."""
        viewer, sheet = self.desk.viewer, self.desk.sheet
        if sheet is None or viewer.dims.ndisplay != 2:
            for overlay in self.overlays.values():
                overlay.visible = False
            return
        first = viewer.dims.ndim - 3
        displayed = [axis - first for axis in viewer.dims.displayed]
        if min(displayed) < 0:
            return
        texts = edge_letters(sheet.entry.geometry.letters, displayed, viewer.scene.camera.orientation2d)
        for edge, overlay in self.overlays.items():
            overlay.text = texts[edge]
            overlay.visible = bool(texts[edge])

    def remove(self) -> None:
        """Take the letters off the canvas."""
        for edge in EDGES:
            self.desk.viewer.canvas.overlays.pop(f"semiseg_{edge}", None)
