"""The tools of the Label tab: brush, superpixels, proposals from neighbouring slices, tidying, all keys."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.slices import annotated
from napari_semiseg.gui.widgets.pieces import SteadyLabel, allow, button, column, heading, number, row, set_suffix
from napari_semiseg.regions.between import MEANS
from napari_semiseg.session.annotation import SILENT

_FAR = 1e7  # intensities of any scanner lie within


class ToolBox(QWidget):
    """Everything that paints otherwise than by hand."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.setLayout(column(*self._brush(), *self._proposals()))
        for signal in (
            desk.volume_changed,
            desk.slices_changed,
            desk.brush_settings.changed,
            desk.superpixel_brush.changed,
            desk.outline.changed,
            desk.proposals.changed,
            desk.classes.changed,
            desk.access.changed,
        ):
            signal.connect(self.refresh)
        desk.plane_changed.connect(self._refresh_proposals)
        desk.class_selected.connect(lambda _: self.refresh())
        self.refresh()

    def _brush(self) -> list[QWidget | QHBoxLayout]:
        settings = self.desk.brush_settings
        self.diameter = number(
            5,
            0.1,
            1000,
            "Diameter of the brush, rounded to whole pixels; the keys [ and ] change it by a pixel",
            step=1,
            decimals=1,
            unit="mm",
        )
        self.diameter.setToolTip(self.diameter.toolTip().replace("Default: 5 mm", "Default: 1/32 of the slice, in mm"))
        self.diameter.valueChanged.connect(settings.set_millimetres)
        self.outline = QPushButton("Outline")
        self.outline.setCheckable(True)
        self.outline.setToolTip(
            "Draw round a structure: releasing the button paints the inside in the selected class; with Shift held it "
            "is erased. Key O. Default: off."
        )
        self.outline.clicked.connect(self.desk.outline.set)
        self.superpixels = QPushButton("Superpixels")
        self.superpixels.setCheckable(True)
        self.superpixels.setToolTip(
            "Click or drag: whole superpixels become the selected class. With background (B) they become background, "
            "with Shift they are erased. Key Shift-P. Default: off."
        )
        self.superpixels.clicked.connect(self.desk.superpixel_brush.set)
        self.masked = QCheckBox("Only from")
        self.masked.setToolTip(
            "Brush, polygon, fill and superpixels paint only voxels of this range of intensities; erasing is free. "
            "Key Shift-M. Default: off."
        )
        self.masked.clicked.connect(settings.set_masked)
        self.low = number(
            0, -_FAR, _FAR, "Lowest intensity that is painted, in the unit of the image (HU on CT)", step=10, decimals=1
        )
        self.high = number(
            0,
            -_FAR,
            _FAR,
            "Highest intensity that is painted, in the unit of the image (HU on CT)",
            step=10,
            decimals=1,
        )
        for box in (self.low, self.high):
            box.setToolTip(box.toolTip().replace("Default: 0.", "Default: as the image is shown."))
            # Without their arrows there is room for a number of Hounsfield units.
            box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
            box.setMinimumWidth(90)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            box.valueChanged.connect(self._on_range)
        to = QLabel("to")
        to.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self.keys = button("Keys", "List all keys. Key F1.", self.desk.keys_wanted.emit)
        return [
            row(heading("Brush"), self.diameter, self.keys),
            row(self.outline, self.superpixels),
            row(self.masked, self.low, to, self.high),
        ]

    def _proposals(self) -> list[QWidget | QHBoxLayout]:
        proposals = self.desk.proposals
        self.means = QComboBox()
        for means, title in MEANS.items():
            self.means.addItem(title, means)
        self.means.setToolTip(
            "How slices are filled: by the outlines of complete slices (the first two), or following the image (random "
            "walker, from scribbles too). Default: signed distance."
        )
        self.means.activated.connect(lambda _: proposals.choose(means=self.means.currentData()))
        self.everywhere = QComboBox()
        self.everywhere.addItem("around this slice", False)
        self.everywhere.addItem("all slices", True)
        self.everywhere.setToolTip(
            "Fill between the annotated slices around this one, or between all; tidy this slice, or all. "
            "Default: around this slice."
        )
        self.everywhere.activated.connect(lambda _: proposals.choose(everywhere=self.everywhere.currentData()))
        self.fill = button(
            "Fill between",
            "Preview the slices between annotated ones; nothing painted changes. Shift-I.",
            proposals.fill,
        )
        self.before = button(
            "◂ Copy", "Propose what is on the previous annotated slice. Shift-Left.", lambda: proposals.copy(-1)
        )
        self.after = button(
            "Copy ▸", "Propose what is on the next annotated slice. Shift-Right.", lambda: proposals.copy(1)
        )
        self.holes = button(
            "Fill holes", "Preview the selected class without holes. Shift-H.", lambda: proposals.tidy("holes")
        )
        self.largest = button(
            "Largest part",
            "Preview the selected class as its largest component. Over all slices, painted neighbours touch. Shift-K.",
            lambda: proposals.tidy("largest"),
        )
        self.preview = SteadyLabel(quiet=True)
        self.here = button("Apply here", "Write the preview of this slice, one undo step. Shift-W.", proposals.apply)
        self.all = button(
            "Apply all", "Write the whole preview, one undo step. Shift-E.", lambda: proposals.apply(everywhere=True)
        )
        self.discard = button("Discard", "Drop the preview. Shift-D.", proposals.discard)
        buttons = (self.fill, self.before, self.after, self.holes, self.largest, self.here, self.all, self.discard)
        for made in (*buttons, self.outline, self.superpixels, self.keys):
            made.setStyleSheet("padding: 4px 6px;")
        return [
            row(self.means, self.everywhere),
            row(self.fill, self.before, self.after),
            row(self.holes, self.largest),
            self.preview,
            row(self.here, self.all, self.discard),
        ]

    def refresh(self) -> None:
        """Follow the state of the desk."""
        settings, proposals = self.desk.brush_settings, self.desk.proposals
        none = self._why_nothing()
        tools = (self.outline, self.superpixels)
        for widget in (self.diameter, *tools, self.masked, self.low, self.high, self.means, self.everywhere):
            allow(widget, none)
        for widget in (self.diameter, self.low, self.high):
            widget.blockSignals(True)
        self.diameter.setSingleStep(settings.pixel)
        self.diameter.setValue(settings.millimetres or 5)
        for box, bound in zip((self.low, self.high), settings.window, strict=True):
            set_suffix(box, settings.unit)
            box.setValue(bound)
        for widget in (self.diameter, self.low, self.high):
            widget.blockSignals(False)
        self.outline.setChecked(self.desk.outline.active)
        self.superpixels.setChecked(self.desk.superpixel_brush.active)
        self.masked.setChecked(settings.masked)
        self.means.setCurrentIndex(self.means.findData(proposals.means))
        self.everywhere.setCurrentIndex(self.everywhere.findData(proposals.everywhere))
        self._refresh_proposals()

    def _why_nothing(self) -> str | None:
        return NO_VOLUME if self.desk.sheet is None else self.desk.access.why_not or None

    def _refresh_proposals(self, _: int | None = None) -> None:
        """Follow what depends on the shown slice, too."""
        sheet, proposals, none = self.desk.sheet, self.desk.proposals, self._why_nothing()
        busy = "The preview is being computed." if proposals.busy else None
        done = [] if sheet is None else annotated(sheet.states)
        plane = 0 if sheet is None else sheet.plane
        taken = None if sheet is None or sheet.states[plane] in SILENT else f"Slice {plane} is annotated already."
        few = None if len(done) > 1 else "Annotate two slices first, with others between them."
        allow(self.fill, none or busy or few or (None if proposals.everywhere else taken))
        earlier = None if any(p < plane for p in done) else f"No slice before slice {plane} is annotated."
        later = None if any(p > plane for p in done) else f"No slice after slice {plane} is annotated."
        allow(self.before, none or taken or earlier)
        allow(self.after, none or taken or later)
        entry = self.desk.classes.get(self.desk.brush.selected)
        unfit = "Select a class first." if entry is None else f"{entry.name} is locked." if entry.locked else None
        for made in (self.holes, self.largest):
            allow(made, none or busy or unfit)
        allow(self.here, proposals.why_not_apply())
        allow(self.all, proposals.why_not_apply(everywhere=True))
        allow(self.discard, None if proposals.planes or proposals.busy else "There is no preview.")
        shown = proposals.title if proposals.planes or proposals.busy else "no preview"
        self.preview.setText(f"computing: {shown} …" if proposals.busy else f"Preview: {shown}")

    def _on_range(self) -> None:
        self.desk.brush_settings.set_window(self.low.value(), self.high.value())
