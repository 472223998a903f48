"""Superpixels and boundary regions of the shown slice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.gui.classes import BACKGROUND_ID
from napari_semiseg.gui.computed import (
    BoundarySettings,
    Plane,
    PlaneComputer,
    SuperpixelSettings,
    boundary_plane,
    superpixel_contours,
)
from napari_semiseg.gui.slices import COMPLETE_STATES

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk


class Regions:
    """Has the regions of the shown slice computed while their overlays are visible, and only then.

    Signals
    -------
    busy(key, bool)
        A computation for the overlay ``"superpixels"`` or ``"boundary"`` began or ended.
    """

    busy = Signal(str, bool)

    def __init__(self, desk: Desk):
        self.desk = desk
        self.superpixels = SuperpixelSettings()
        self.boundary = BoundarySettings()
        self._computers = {
            key: PlaneComputer(
                desk.compute,
                partial(self._deliver, key),
                partial(self.busy.emit, key),
            )
            for key in ("superpixels", "boundary")
        }
        desk.volume_changed.connect(self._on_volume)
        desk.plane_changed.connect(self.update)
        desk.class_selected.connect(self.update)
        desk.overlay_toggled.connect(self.update)
        desk.keeper.edited.connect(self.update)

    @property
    def computed(self) -> dict[str, int]:
        """How many planes were computed so far, by overlay."""
        return {key: computer.computed for key, computer in self._computers.items()}

    def set_superpixels(self, settings: SuperpixelSettings) -> None:
        """Change the size of superpixels."""
        self.superpixels = settings
        self.update()

    def set_boundary(self, settings: BoundarySettings) -> None:
        """Change the width of the boundary band, and what it is the boundary of."""
        self.boundary = settings
        self.update()

    def update(self, _: Any = None) -> None:
        """Have what is visible computed for the shown slice."""
        sheet = self.desk.sheet
        if sheet is None:
            return
        plane = sheet.plane
        if sheet.overlays.visible("superpixels"):
            image, settings = np.asarray(sheet.image.data[plane]), self.superpixels
            self._computers["superpixels"].want(plane, (plane, settings), lambda: superpixel_contours(image, settings))
        if sheet.overlays.visible("boundary"):
            class_id, band = self._class(), self.boundary
            labels = self._labels(plane)
            key = (plane, class_id, band, labels.tobytes())
            self._computers["boundary"].want(plane, hash(key), lambda: boundary_plane(labels, class_id, band))

    def _class(self) -> int:
        selected = self.desk.brush.selected
        return selected if self.desk.classes.get(selected) else self.desk.classes.all()[0].id

    def _labels(self, plane: int) -> Plane:
        sheet = self.desk.sheet
        assert sheet is not None
        if self.boundary.of == "prediction":
            return np.asarray(sheet.overlays.stacks["labels"][plane])
        painted = sheet.annotation.data[plane]
        unpainted = 0 if sheet.states[plane] in COMPLETE_STATES else UNSAID
        return np.where(painted == BACKGROUND_ID, 0, np.where(painted == 0, unpainted, painted)).astype(np.uint8)

    def _deliver(self, key: str, plane: int, values: Plane) -> None:
        if self.desk.sheet is not None:
            self.desk.sheet.overlays.put(key, plane, values)

    def _on_volume(self) -> None:
        for computer in self._computers.values():
            computer.forget()
        sheet = self.desk.sheet
        if sheet is not None:
            sheet.overlays.toggled.connect(lambda key: self.desk.overlay_toggled.emit(key))
