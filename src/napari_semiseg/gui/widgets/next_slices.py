"""Which slice to annotate next: a ranked list with reasons, and equally spaced slices beside it."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QPushButton, QWidget

from napari_semiseg.gui import outlook
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import allow, button, column, heading, row

_SPACED = 4


class NextSlices(QWidget):
    """Offers slices in both orders; a click shows one."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.best = button(
            "Best next slice",
            "Show the slice where an annotation helps most, and say why (key N steps through them)",
            desk.review.go_to_most_uncertain,
        )
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.setAlternatingRowColors(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setToolTip("Slices by uncertainty and distance from annotated ones; click one to show it")
        self.list.setMaximumHeight(130)
        self.list.itemClicked.connect(self._on_item)
        self.list.itemActivated.connect(self._on_item)
        self.spaced = [QPushButton() for _ in range(_SPACED)]
        for made in self.spaced:
            made.setMinimumWidth(28)
            made.clicked.connect(lambda _=False, made=made: self._show(made.property("plane")))
        self.setLayout(
            column(
                heading("Next slice"),
                self.best,
                self.list,
                row(QLabel("Equally spaced:"), *self.spaced, None),
            )
        )
        desk.survey.changed.connect(self.refresh)
        desk.review.changed.connect(self.refresh)
        for signal in (desk.volume_changed, desk.prediction_changed, desk.training.changed):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the present suggestions."""
        found = self.desk.survey.found
        allow(self.best, outlook.why_not_accept(self.desk.runs.facts()))
        self.list.clear()
        for entry in found.ranked:
            item = QListWidgetItem(entry.reason)
            item.setData(Qt.ItemDataRole.UserRole, entry.plane)
            self.list.addItem(item)
        self.list.setVisible(bool(found.ranked))
        for index, made in enumerate(self.spaced):
            spaced = found.equidistant[index] if index < len(found.equidistant) else None
            made.setVisible(spaced is not None or index == 0)
            made.setText("–" if spaced is None else str(spaced.plane))
            made.setProperty("plane", None if spaced is None else spaced.plane)
            made.setProperty("purpose", "Show this slice" if spaced is None else spaced.reason)
            allow(made, None if spaced is not None else "Annotate a slice first, so that there is a gap to halve.")

    def _on_item(self, item: QListWidgetItem) -> None:
        self._show(item.data(Qt.ItemDataRole.UserRole))

    def _show(self, plane: int | None) -> None:
        if plane is not None and self.desk.sheet is not None:
            self.desk.sheet.go_to(plane)
