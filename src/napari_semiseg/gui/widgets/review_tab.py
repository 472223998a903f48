"""The Review tab: overlays, where to look next, accepting a slice."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QWidget

from napari_semiseg.gui import outlook
from napari_semiseg.gui.accepting import KEY
from napari_semiseg.gui.computed import BoundarySettings
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.overlay_kinds import BY_KEY, KINDS, SHORTCUT_OF
from napari_semiseg.gui.widgets.next_slices import NextSlices
from napari_semiseg.gui.widgets.pieces import GAP, MARGIN, allow, button, caption, column, heading, row, whole

UNITS = {
    "region": "region",
    "class": "class",
    "superpixel": "superpixel",
    "slice": "whole slice",
}


class ReviewTab(QWidget):
    """Where a prediction is looked at and taken over."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.slices = NextSlices(desk)
        self.next = self.slices.best
        self.accept = button(
            "Accept this slice",
            "Take the prediction of this slice into the annotation; Ctrl-Z takes it back (key Y)",
            self._on_accept,
        )
        self.clicking = button(
            "Accept by click",
            f"While this is on, a click on the picture accepts what is predicted there and Shift-click rejects it: the "
            f"rejected part becomes background strokes. One undo step each. Key {KEY}. Default: off.",
        )
        self.clicking.setCheckable(True)
        self.clicking.clicked.connect(lambda on: desk.accepting.switch(on))
        self.unit = QComboBox()
        for unit, title in UNITS.items():
            self.unit.addItem(title, unit)
        self.unit.setToolTip(
            "What a click means: the connected region, the class on this slice, the superpixel, or the whole slice. "
            "Default: region."
        )
        self.unit.setCurrentIndex(list(UNITS).index(desk.accepting.unit))
        self.unit.currentIndexChanged.connect(self._on_unit)
        self.reviewed = button(
            "Mark as reviewed",
            "Say that this slice is complete and that you looked at it (key Shift-R)",
            desk.marks.review,
        )
        self.overwrite = QCheckBox("Accept also over what I painted")
        self.overwrite.setToolTip("Replace painted voxels, too. Default: off, what you painted stays.")
        self.overwrite.toggled.connect(self._on_overwrite)
        self.toggles: dict[str, QCheckBox] = {}
        self.legends: dict[str, QLabel] = {}
        parts: list = [
            self.slices,
            heading("Accept or reject"),
            row(self.accept, self.reviewed),
            row(self.clicking, self.unit),
            self.overwrite,
            heading("Overlays"),
        ]
        for kind in KINDS:
            box = QCheckBox(kind.title)
            box.setToolTip(f"{kind.legend}. Key {SHORTCUT_OF[kind.key].replace('Control', 'Ctrl')}.")
            box.toggled.connect(lambda on, key=kind.key: desk.show_overlay(key, on))
            self.toggles[kind.key] = box
            legend = caption(kind.legend)
            legend.setContentsMargins(22, 0, 0, 0)
            self.legends[kind.key] = legend
            parts.append(column(box, legend, gap=1))
            if kind.key == "boundary":
                parts.append(self._boundary())
        layout = column(*parts, margin=MARGIN)
        layout.addStretch(1)
        self.setLayout(layout)
        desk.overlay_toggled.connect(lambda _: self.refresh())
        for signal in (desk.volume_changed, desk.prediction_changed, desk.slices_changed, desk.training.changed):
            signal.connect(self.refresh)
        for signal in (desk.review.changed, desk.accepting.changed, desk.history.changed):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Follow the state of the desk."""
        sheet, facts = self.desk.sheet, self.desk.runs.facts()
        why_not = outlook.why_not_accept(facts)
        allow(self.accept, why_not)
        allow(self.overwrite, why_not)
        allow(self.clicking, why_not)
        allow(self.reviewed, None if sheet is not None else NO_VOLUME)
        self.clicking.setChecked(self.desk.accepting.active)
        self.legends["entropy"].setText(
            outlook.entropy_legend(BY_KEY["entropy"].legend, self.desk.history.calibration, facts.predicted)
        )
        for kind in KINDS:
            box = self.toggles[kind.key]
            allow(box, self.desk.review.why_not_show(kind.key))
            box.blockSignals(True)
            box.setChecked(sheet is not None and sheet.overlays.visible(kind.key))
            box.blockSignals(False)
        for widget in (self.radius, self.source):
            allow(widget, None if sheet is not None else NO_VOLUME)

    def _on_unit(self, _: int) -> None:
        self.desk.accepting.choose(self.unit.currentData())

    def _on_overwrite(self, on: bool) -> None:
        self.desk.accepting.overwrite = on

    def _on_accept(self) -> None:
        self.desk.review.accept(overwrite=self.overwrite.isChecked())

    def _boundary(self) -> QFormLayout:
        start = BoundarySettings()
        self.radius = whole(start.radius, 1, 30, "Width of the edge band", unit="px")
        self.source = QComboBox()
        self.source.addItem("prediction", "prediction")
        self.source.addItem("annotation", "annotation")
        self.source.setToolTip("What it is the boundary of. Default: prediction.")
        self.radius.valueChanged.connect(self._on_boundary)
        self.source.currentIndexChanged.connect(self._on_boundary)
        form = QFormLayout()
        form.setContentsMargins(22, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow("Radius", self.radius)
        form.addRow("Of the", self.source)
        return form

    def _on_boundary(self, _: int = 0) -> None:
        self.desk.regions.set_boundary(BoundarySettings(self.radius.value(), self.source.currentData()))
