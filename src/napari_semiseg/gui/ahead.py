"""Reads the next planes of the visible overlays beside, so that scrolling does not wait for the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_semiseg.gui.background import Lane

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.overlays import Overlays

PLANES = 3
"""So many are read ahead, in the direction of the scrolling."""


class Ahead:
    """Follows the shown plane."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self._lane = Lane("semiseg-ahead", lambda _: None)
        self._plane = 0
        desk.plane_changed.connect(self._on_plane)

    def close(self) -> None:
        """Let go of the thread."""
        self._lane.close(wait=False)

    def _on_plane(self, plane: int) -> None:
        sheet, before, self._plane = self.desk.sheet, self._plane, plane
        if sheet is None:
            return
        step = 1 if plane >= before else -1
        coming = [plane + step * distance for distance in range(1, PLANES + 1)]
        self._lane.run(lambda: self._read(sheet.overlays, plane, coming))

    def _read(self, overlays: Overlays, plane: int, coming: list[int]) -> None:
        for index in coming:
            if self._plane != plane:  # a later one has its turn next
                return
            overlays.fetch(index)
