"""Size of the superpixels, and whether their outlines are shown."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QFormLayout, QWidget

from napari_semiseg.gui.computed import SuperpixelSettings
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.widgets.pieces import GAP, SteadyLabel, allow, number, row, whole

KEY = "superpixels"


class SuperpixelControls(QWidget):
    """Toggle and settings of the superpixel outlines of the shown slice."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        start = SuperpixelSettings()
        self.shown = QCheckBox("Show outlines on the shown slice")
        self.shown.setToolTip(
            "Felzenszwalb's superpixels: patches of like intensity. Computed beside your work. Default: off."
        )
        self.busy = SteadyLabel(quiet=True)
        self.scale = number(start.scale, 1, 10_000, "Larger values give larger superpixels", step=10, decimals=0)
        self.sigma = number(
            start.sigma, 0, 10, "Smoothing before superpixels are formed", step=0.1, decimals=1, unit="px"
        )
        self.min_size = whole(start.min_size, 1, 10_000, "Smallest superpixel", step=5, unit="px")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow(row(self.shown, self.busy))
        form.addRow("Scale", self.scale)
        form.addRow("Smoothing", self.sigma)
        form.addRow("Smallest size", self.min_size)
        self.shown.toggled.connect(lambda on: desk.show_overlay(KEY, on))
        for box in (self.scale, self.sigma, self.min_size):
            box.valueChanged.connect(self._on_settings)
        desk.overlay_toggled.connect(lambda key: self._follow() if key == KEY else None)
        desk.volume_changed.connect(self._follow)
        desk.regions.busy.connect(self._on_busy)
        self._follow()

    def _on_settings(self) -> None:
        self.desk.regions.set_superpixels(
            SuperpixelSettings(self.scale.value(), self.sigma.value(), self.min_size.value())
        )

    def _follow(self) -> None:
        sheet = self.desk.sheet
        allow(self.shown, None if sheet is not None else NO_VOLUME)
        self.shown.blockSignals(True)
        self.shown.setChecked(sheet is not None and sheet.overlays.visible(KEY))
        self.shown.blockSignals(False)

    def _on_busy(self, key: str, busy: bool) -> None:
        if key == KEY:
            self.busy.setText("computing …" if busy else "")
