"""The Export tab: masks, the model, and applying a model file."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLineEdit, QProgressBar, QWidget

from napari_semiseg.gui import outlook
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.exporting import FORMATS, SOURCES
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.widgets.pieces import (
    GAP,
    MARGIN,
    allow,
    button,
    caption,
    collapsible,
    column,
    heading,
    line,
    row,
)
from napari_semiseg.gui.widgets.size_table import SizeTable


class ExportTab(QWidget):
    """Where results leave the session."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.source = QComboBox()
        for value, title in SOURCES.items():
            self.source.addItem(title, value)
        self.source.setToolTip("What the mask says. Default: annotation where given, prediction elsewhere.")
        self.format = QComboBox()
        self.format.addItems(list(FORMATS))
        self.format.setToolTip("File format of the mask. Default: NIfTI, compressed.")
        self.volumes = QComboBox()
        self.volumes.addItem("this volume", False)
        self.volumes.addItem("all volumes", True)
        self.volumes.setToolTip("Which volumes to export. Default: the one that is shown.")
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("“export” in the session folder")
        self.folder.setToolTip("Folder for what is written. Default: “export” in the session folder.")
        self.browse = button("…", "Choose the folder", self._on_browse)
        self.browse.setFixedWidth(32)
        self.masks = button(
            "Export masks",
            "Write masks with the geometry of their images; each is read back and compared",
            self._on_masks,
        )
        self.model = button(
            "Export model", "Write the latest model (safetensors and JSON) into the folder", self._on_model
        )
        self.apply = button(
            "Apply a model file…", "Segment the open volume with a model that was exported before", self._on_apply
        )
        self.waiting = QProgressBar()
        self.waiting.setRange(0, 0)
        self.waiting.setToolTip("The model is being applied")
        self.stop = button("Stop", "Stop applying the model; nothing is changed", desk.exporter.stop)
        self.sizes = SizeTable(desk)
        self.section = collapsible("Measurements", self.sizes)
        form = QFormLayout()
        form.setSpacing(GAP)
        form.addRow("Mask", self.source)
        form.addRow("Format", self.format)
        form.addRow("Of", self.volumes)
        form.addRow("Folder", row(self.folder, self.browse))
        for combo in (self.source, self.format, self.volumes):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(8)
        layout = column(
            heading("Masks"),
            form,
            self.masks,
            line(),
            heading("Model"),
            caption("A model file holds numbers and a description, never code. It works on other volumes, too."),
            row(self.model, self.apply),
            row(self.waiting, self.stop),
            self.section,
            margin=MARGIN,
        )
        layout.addStretch(1)
        self.setLayout(layout)
        for signal in (desk.volume_changed, desk.session_changed, desk.prediction_changed, desk.training.changed):
            signal.connect(self.refresh)
        desk.history.changed.connect(self.refresh)
        desk.exporter.busy.connect(lambda _: self.refresh())
        self.refresh()

    def refresh(self) -> None:
        """Follow the state of the desk."""
        facts = self.desk.runs.facts()
        busy = "Something is being written; wait a moment." if self.desk.exporter.running else None
        nothing = None if self.desk.session is not None else "Nothing was painted yet, so there is nothing to export."
        applying = self.desk.exporter.application is not None
        self.waiting.setVisible(applying)
        self.stop.setVisible(applying)
        allow(self.masks, busy or nothing)
        allow(self.model, busy or outlook.why_not_export_model(facts))
        allow(self.apply, busy or (None if self.desk.sheet is not None else NO_VOLUME))

    def target(self) -> Path:
        """Return the folder that is written to."""
        text = self.folder.text().strip()
        if text:
            return Path(text).expanduser()
        assert self.desk.session is not None
        return self.desk.session.path / "export"

    def _on_browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Export to")
        if path:
            self.folder.setText(path)

    def _on_masks(self) -> None:
        self.desk.exporter.export_masks(
            self.target(),
            format=self.format.currentText(),
            source=self.source.currentData(),
            all_volumes=self.volumes.currentData(),
        )

    def _on_model(self) -> None:
        self.desk.exporter.export_model(self.target())

    def _on_apply(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Apply a model file", "", "Models (*.safetensors)")
        if path:
            self.desk.exporter.apply(Path(path))
