"""The measurements of the shown volume, per class."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QApplication, QFileDialog, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import allow, button, caption, column, row
from napari_semiseg.regions.measures import Measures

COLUMNS = {
    "Class": "Name of the class, and on how many slices it occurs",
    "Volume": "In ml, and the number of voxels",
    "Extent": "Largest diameter (maximum Feret diameter in three dimensions, between corners of voxels), and size of "
    "the bounding box along slices, rows and columns; mm",
}


def row_of(entry: Measures, names: dict[int, str]) -> tuple[str, ...]:
    """Return two lines for each column, so that all of it finds room in the panel."""
    size = "no extent"
    if entry.extent_mm is not None:
        size = f"Ø {entry.diameter_mm:.1f} mm\n{' × '.join(f'{length:.0f}' for length in entry.extent_mm)} mm"
    return (
        f"{names.get(entry.class_id, entry.class_id)}\n{entry.slices} slice{'s' * (entry.slices != 1)}",
        f"{entry.volume_ml:.2f} ml\n{entry.voxels} voxel{'s' * (entry.voxels != 1)}",
        size,
    )


class SizeTable(QWidget):
    """Measures on demand; the table can be copied and written as CSV."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.setToolTip("One row per class; the titles say what is measured.")
        for index, tip in enumerate(COLUMNS.values()):
            item = self.table.horizontalHeaderItem(index)
            if item is not None:
                item.setToolTip(tip)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        numbers, titles = self.table.verticalHeader(), self.table.horizontalHeader()
        if numbers is not None and titles is not None:
            numbers.hide()
            numbers.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            titles.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            titles.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(90)
        self.table.setMaximumHeight(190)
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
            for column_index, text in enumerate(row_of(entry, names)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(index, column_index, item)

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.desk.sizes.as_text())
            self.desk.tell("The table was copied; paste it into a spreadsheet.")

    def _on_csv(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the table", "measurements.csv", "CSV (*.csv)")
        if path:
            self.desk.sizes.write(Path(path))
