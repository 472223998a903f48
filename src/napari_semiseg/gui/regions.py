"""Superpixels and boundary regions of the shown slice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.gui.classes import BACKGROUND_ID
from napari_semiseg.gui.computed import (
    BoundarySettings,
    Plane,
    PlaneComputer,
    Superpixels,
    SuperpixelSettings,
    boundary_plane,
    superpixels_of,
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
    superpixels_ready(plane)
        The superpixels of the shown slice are there.
    """

    busy = Signal(str, bool)
    superpixels_ready = Signal(int)

    def __init__(self, desk: Desk):
        self.desk = desk
        self.superpixels = SuperpixelSettings()
        self.boundary = BoundarySettings()
        self._superpixels: tuple[int, SuperpixelSettings, Superpixels] | None = None
        self._cutter: PlaneComputer[tuple[SuperpixelSettings, Superpixels]] = PlaneComputer(
            desk.compute, self._deliver_superpixels, partial(self.busy.emit, "superpixels")
        )
        self._bander: PlaneComputer[Plane] = PlaneComputer(
            desk.compute, self._deliver_boundary, partial(self.busy.emit, "boundary")
        )
        desk.volume_changed.connect(self._on_volume)
        desk.plane_changed.connect(self.update)
        desk.class_selected.connect(self.update)
        desk.overlay_toggled.connect(self.update)
        desk.keeper.edited.connect(self.update)

    @property
    def computed(self) -> dict[str, int]:
        """How many planes were computed so far, by overlay."""
        return {"superpixels": self._cutter.computed, "boundary": self._bander.computed}

    def superpixels_of(self, plane: int) -> NDArray[np.int32] | None:
        """Return the numbers of the superpixels of the shown slice, None while they are being computed."""
        if self._superpixels is None or self._superpixels[:2] != (plane, self.superpixels):
            return None
        return self._superpixels[2].numbers

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
        tools = self.desk.superpixel_brush.active or self.desk.accepting.needs_superpixels
        if tools or sheet.overlays.visible("superpixels"):
            image, settings = np.asarray(sheet.image.data[plane]), self.superpixels
            self._cutter.want(plane, (plane, settings), lambda: (settings, superpixels_of(image, settings)))
        if sheet.overlays.visible("boundary"):
            class_id, band = self._class(), self.boundary
            labels = self._labels(plane)
            key = (plane, class_id, band, labels.tobytes())
            self._bander.want(plane, hash(key), lambda: boundary_plane(labels, class_id, band))

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

    def _deliver_superpixels(self, plane: int, result: tuple[SuperpixelSettings, Superpixels]) -> None:
        if self.desk.sheet is not None:
            self._superpixels = plane, *result
            self.desk.sheet.overlays.put("superpixels", plane, result[1].outlines)
            self.superpixels_ready.emit(plane)

    def _deliver_boundary(self, plane: int, values: Plane) -> None:
        if self.desk.sheet is not None:
            self.desk.sheet.overlays.put("boundary", plane, values)

    def _on_volume(self) -> None:
        self._superpixels = None
        self._cutter.forget()
        self._bander.forget()
        sheet = self.desk.sheet
        if sheet is not None:
            sheet.overlays.toggled.connect(lambda key: self.desk.overlay_toggled.emit(key))
