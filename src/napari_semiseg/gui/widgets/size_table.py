"""The measurements of the shown volume, per class."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QApplication, QFileDialog, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import allow, button, caption, column, row

COLUMNS = {
    "Class": "Name of the class",
    "ml": "Volume, ml",
    "Voxels": "Number of voxels",
    "Slices": "On how many slices it occurs",
    "Ø mm": "Largest diameter: maximum Feret diameter in three dimensions, between corners of voxels, mm",
    "Box mm": "Size of its bounding box along slices, rows and columns, mm",
}


class SizeTable(QWidget):
    """Measures on demand; the table can be copied and written as CSV."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setToolTip("One row per class; the titles say what is measured, and in which unit.")
        for index, tip in enumerate(COLUMNS.values()):
            item = self.table.horizontalHeaderItem(index)
            if item is not None:
                item.setToolTip(tip)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        numbers, titles = self.table.verticalHeader(), self.table.horizontalHeader()
        if numbers is not None and titles is not None:
            numbers.hide()
            titles.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setMinimumHeight(90)
        self.table.setMaximumHeight(160)
        self.measure = button(
            "Measure", "Measure annotation and prediction as they would be exported", lambda: desk.sizes.take()
        )
        self.copy = button("Copy", "Copy the table, with tabs, to the clipboard", self._on_copy)
        self.csv = button("Save CSV…", "Write the table to a CSV file", self._on_csv)
        self.state = caption()
        self.setLayout(column(row(self.measure, self.copy, self.csv), self.table, self.state))
        desk.sizes.changed.connect(self.refresh)
        for signal in (desk.volume_changed, desk.session_changed):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is measured."""
        sizes, names = self.desk.sizes, self.desk.classes.names()
        nothing = "Nothing was painted yet, so there is nothing to measure."
        allow(self.measure, "It is being measured." if sizes.busy else None if self.desk.session else nothing)
        for made in (self.copy, self.csv):
            allow(made, None if sizes.found else "Nothing is measured yet: press Measure first.")
        outdated = "You painted since this was measured." if sizes.outdated and sizes.found else ""
        self.state.setText("measuring …" if sizes.busy else outdated)
        self.table.setRowCount(len(sizes.found))
        for index, entry in enumerate(sizes.found):
            box = "–" if entry.extent_mm is None else " × ".join(f"{size:.0f}" for size in entry.extent_mm)
            texts = (
                names.get(entry.class_id, str(entry.class_id)),
                f"{entry.volume_ml:.2f}",
                str(entry.voxels),
                str(entry.slices),
                f"{entry.diameter_mm:.1f}",
                box,
            )
            for column_index, text in enumerate(texts):
                self.table.setItem(index, column_index, QTableWidgetItem(text))

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.desk.sizes.as_text())
            self.desk.tell("The table was copied; paste it into a spreadsheet.")

    def _on_csv(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the table", "measurements.csv", "CSV (*.csv)")
        if path:
            self.desk.sizes.write(Path(path))
