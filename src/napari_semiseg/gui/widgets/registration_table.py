"""Which volumes or slices a round registered, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_semiseg.gui.training import Training
from napari_semiseg.gui.widgets.pieces import column, heading

ROW_HEIGHT = 20
ROWS_SHOWN = 6
HEADERS = {
    "To": "The volume or slice that labels are carried to",
    "From": "The labelled volume or slice they come from",
    "Cycle": "How much of the image returns from there and back: normalised mutual information, 1 is best",
    "Alike": "How alike both images are once registered: normalised mutual information, higher is better",
    "Used": "Whether labels come this way; of several volumes the best one is taken",
}


def cells(pair: dict[str, Any]) -> list[str]:
    """Return the texts of one pair, as the event `Registered` tells them."""
    to, source = pair["to"], pair["source"]
    if pair["to_plane"] is not None:
        to, source = f"slice {pair['to_plane']}, {to}", f"slice {pair['source_plane']}"
    quality = pair["quality"]
    if quality is None:
        return [to, source, "–", "–", "failed"]
    return [to, source, f"{quality['cycle_nmi']:.2f}", f"{quality['direct_nmi']:.2f}", "yes" if pair["used"] else ""]


class RegistrationTable(QWidget):
    """Table of pairs; hidden while there are none."""

    def __init__(self, training: Training, parent: QWidget | None = None):
        super().__init__(parent)
        self.training = training
        self.table = QTableWidget(0, len(HEADERS))
        self.table.setHorizontalHeaderLabels(list(HEADERS))
        self.table.setToolTip("One row per registered pair; the titles say what their quality means.")
        side, top = self.table.verticalHeader(), self.table.horizontalHeader()
        assert side is not None
        assert top is not None
        side.setVisible(False)
        side.setMinimumSectionSize(ROW_HEIGHT)
        side.setDefaultSectionSize(ROW_HEIGHT)
        self._top = top
        for index, text in enumerate(HEADERS.values()):
            mode = QHeaderView.ResizeMode.Stretch if index < 2 else QHeaderView.ResizeMode.ResizeToContents
            top.setSectionResizeMode(index, mode)
            item = self.table.horizontalHeaderItem(index)
            assert item is not None
            item.setToolTip(text)
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setLayout(column(heading("Registration"), self.table))
        training.changed.connect(self._follow)
        self._shown: Sequence[dict[str, Any]] | None = None
        self._follow()

    def _follow(self) -> None:
        """Show the pairs of the run, if they are others than those shown."""
        pairs = self.training.registered
        if pairs is self._shown:
            return
        self._shown = pairs
        self.setVisible(bool(pairs))
        self.table.setRowCount(len(pairs))
        for row, pair in enumerate(pairs):
            for place, text in enumerate(cells(pair)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if place >= 2:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row, place, item)
        self.table.setFixedHeight(self._top.sizeHint().height() + min(len(pairs), ROWS_SHOWN) * ROW_HEIGHT + 4)
