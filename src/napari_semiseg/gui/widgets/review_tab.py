"""The Review tab: overlays, where to look next, accepting a slice."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QWidget

from napari_semiseg.gui import outlook
from napari_semiseg.gui.computed import BoundarySettings
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.overlay_kinds import KINDS
from napari_semiseg.gui.widgets.pieces import GAP, MARGIN, allow, button, caption, column, heading, sentence, whole


class ReviewTab(QWidget):
    """Where a prediction is looked at and taken over."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.next = button(
            "Most uncertain slice",
            "Show the slice where an annotation helps most, and say why",
            desk.review.go_to_most_uncertain,
        )
        self.reason = sentence()
        self.accept = button(
            "Accept this slice",
            "Take the prediction of this slice into the annotation; Ctrl-Z takes it back",
            self._on_accept,
        )
        self.overwrite = QCheckBox("Accept also over what I painted")
        self.overwrite.setToolTip("Replace painted voxels, too. Default: off, what you painted stays.")
        self.toggles: dict[str, QCheckBox] = {}
        parts: list = [
            heading("Next"),
            self.next,
            self.reason,
            self.accept,
            self.overwrite,
            heading("Overlays"),
        ]
        for kind in KINDS:
            box = QCheckBox(kind.title)
            box.setToolTip(kind.legend)
            box.toggled.connect(lambda on, key=kind.key: desk.show_overlay(key, on))
            self.toggles[kind.key] = box
            legend = caption(kind.legend)
            legend.setContentsMargins(22, 0, 0, 0)
            parts.append(column(box, legend, gap=1))
            if kind.key == "boundary":
                parts.append(self._boundary())
        layout = column(*parts, margin=MARGIN)
        layout.addStretch(1)
        self.setLayout(layout)
        desk.overlay_toggled.connect(lambda _: self.refresh())
        for signal in (desk.volume_changed, desk.prediction_changed, desk.slices_changed, desk.training.changed):
            signal.connect(self.refresh)
        desk.review.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Follow the state of the desk."""
        sheet, facts = self.desk.sheet, self.desk.runs.facts()
        why_not = outlook.why_not_accept(facts)
        allow(self.accept, why_not)
        allow(self.overwrite, why_not)
        allow(self.next, why_not)
        suggestion = self.desk.review.suggestion
        self.reason.setText("" if suggestion is None else suggestion.reason)
        self.reason.setVisible(suggestion is not None)
        for kind in KINDS:
            box = self.toggles[kind.key]
            if sheet is None:
                allow(box, NO_VOLUME)
            elif sheet.overlays.available(kind.key):
                allow(box, None)
            else:
                missing = (
                    "This round has one network without guidance, so nothing to disagree with."
                    if kind.key == "disagreement" and facts.predicted
                    else why_not
                )
                allow(box, missing or "The latest prediction has no such map.")
            box.blockSignals(True)
            box.setChecked(sheet is not None and sheet.overlays.visible(kind.key))
            box.blockSignals(False)
        for widget in (self.radius, self.source):
            allow(widget, None if sheet is not None else NO_VOLUME)

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
