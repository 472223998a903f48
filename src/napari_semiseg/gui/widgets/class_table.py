"""The classes: colour, name, key. Selecting one paints with it."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QMessageBox,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_semiseg.errors import InputError
from napari_semiseg.gui import theme
from napari_semiseg.gui.classes import BACKGROUND_COLOUR, BACKGROUND_ID, BACKGROUND_KEY
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.shortcuts import SHORTCUTS
from napari_semiseg.gui.widgets.pieces import allow, button, column, row

COLOUR, NAME, KEY, LOCK = range(4)
ROW_HEIGHT = 24
ROWS_SHOWN = 5


class ClassTable(QWidget):
    """Table of classes with a last row for background strokes."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self._filling = False
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["", "Class", "Key", "Lock"])
        side, top = self.table.verticalHeader(), self.table.horizontalHeader()
        assert side is not None
        assert top is not None
        side.setVisible(False)
        side.setDefaultSectionSize(ROW_HEIGHT)
        side.setMinimumSectionSize(ROW_HEIGHT)
        for place, mode in ((COLOUR, "Fixed"), (NAME, "Stretch"), (KEY, "Fixed"), (LOCK, "Fixed")):
            top.setSectionResizeMode(place, QHeaderView.ResizeMode[mode])
        self._top = top
        self.table.setColumnWidth(COLOUR, 28)
        self.table.setColumnWidth(KEY, 40)
        self.table.setColumnWidth(LOCK, 44)
        self.table.setShowGrid(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setToolTip(
            "Click a class to paint with it. Double-click its name or key to change it, its colour to choose another. "
            "A tick under Lock (Shift-L) keeps every tool from overwriting or erasing the class; default: not locked."
        )
        self.add = button("Add class", "Add a class with a free colour and key", self._on_add)
        self.remove = button(
            "Remove", "Remove the selected class; asks first if something is painted in it", self._on_remove
        )
        self.removing = QProgressBar()
        self.removing.setToolTip("The volumes are being gone through for what is painted in the class")
        self.stop = button("Stop", "Stop removing; the class stays, what was erased is erased", desk.removal.stop)
        self.setLayout(column(self.table, row(self.add, self.remove, None), row(self.removing, self.stop)))
        self.table.currentCellChanged.connect(self._on_current)
        self.table.cellDoubleClicked.connect(self._on_double_click)
        self.table.itemChanged.connect(self._on_item)
        desk.classes.changed.connect(self.fill)
        desk.class_selected.connect(self._select_row)
        desk.volume_changed.connect(self.fill)
        desk.removal.changed.connect(self._on_removal)
        self._on_removal()

    def fill(self) -> None:
        """Show the classes."""
        self._filling = True
        classes = self.desk.classes.all()
        self.table.setRowCount(len(classes) + 1)
        for index, entry in enumerate(classes):
            self._fill_row(index, entry.id, entry.name, entry.colour, entry.key, locked=entry.locked)
        self._fill_row(len(classes), BACKGROUND_ID, "Background stroke", BACKGROUND_COLOUR, BACKGROUND_KEY, locked=None)
        shown = min(len(classes) + 1, ROWS_SHOWN)
        self.table.setFixedHeight(self._top.sizeHint().height() + shown * ROW_HEIGHT + 4)
        self._filling = False
        self._select_row(self.desk.brush.selected)

    def _on_removal(self) -> None:
        removal = self.desk.removal
        for widget in (self.removing, self.stop):
            widget.setVisible(bool(removal.name))
        self.removing.setValue(round(100 * removal.progress))
        self.removing.setFormat(f"removing {removal.name}, %p%")
        self.fill()

    def class_id(self, index: int) -> int:
        """Return the class of a row."""
        item = self.table.item(index, NAME)
        assert item is not None
        return int(item.data(Qt.ItemDataRole.UserRole))

    def _fill_row(self, index: int, class_id: int, name: str, colour: str, key: str, *, locked: bool | None) -> None:
        swatch = QTableWidgetItem(theme.swatch(colour), "")
        swatch.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        items = (swatch, QTableWidgetItem(name), QTableWidgetItem(key))
        items[KEY].setTextAlignment(Qt.AlignmentFlag.AlignCenter)
        for place, item in enumerate(items):
            item.setData(Qt.ItemDataRole.UserRole, class_id)
            if locked is None:
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                item.setToolTip(
                    "Says where there is nothing: needed on scribbled slices, where unpainted is not background"
                )
            self.table.setItem(index, place, item)
        lock = QTableWidgetItem()
        lock.setData(Qt.ItemDataRole.UserRole, class_id)
        lock.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        if locked is not None:
            lock.setFlags(lock.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            lock.setCheckState(Qt.CheckState.Checked if locked else Qt.CheckState.Unchecked)
        self.table.setItem(index, LOCK, lock)

    def _select_row(self, class_id: int) -> None:
        rows = [i for i in range(self.table.rowCount()) if self.class_id(i) == class_id]
        self._filling = True
        if rows:
            self.table.setCurrentCell(rows[0], NAME)
        else:
            self.table.clearSelection()
        self._filling = False
        removable = class_id != BACKGROUND_ID and len(self.desk.classes.all()) > 1
        allow(
            self.remove,
            self.desk.removal.why_wait
            if removable
            else "Background strokes and the last class cannot be removed; rename the class instead.",
        )

    def _on_current(self, index: int, *_: int) -> None:
        if not self._filling and index >= 0:
            self.desk.brush.select(self.class_id(index))

    @told
    def _on_item(self, item: QTableWidgetItem) -> None:
        if self._filling:
            return
        class_id = int(item.data(Qt.ItemDataRole.UserRole))
        try:
            if item.column() == NAME:
                self.desk.classes.update(class_id, name=item.text())
            elif item.column() == KEY:
                key = item.text().strip().upper()
                if len(key) > 1 or (key and not key.isalnum()):
                    raise InputError(f"{item.text()!r} is no key; give one letter or digit.")
                taken = next((entry.text for entry in SHORTCUTS if entry.key == key), None)
                if taken is not None:
                    raise InputError(f"The key {key} has a meaning already ({taken}); choose another one.")
                self.desk.classes.update(class_id, key=key)
            elif item.column() == LOCK:
                self.desk.brush.toggle_lock(class_id)
        finally:
            self.fill()

    @told
    def _on_double_click(self, index: int, place: int) -> None:
        class_id = self.class_id(index)
        entry = self.desk.classes.get(class_id)
        if place != COLOUR or entry is None:
            return
        chosen = QColorDialog.getColor(QColor(entry.colour), self, f"Colour of {entry.name}")
        if chosen.isValid():
            self.desk.classes.update(class_id, colour=chosen.name())

    @told
    def _on_add(self) -> None:
        added = self.desk.classes.add()
        self.desk.brush.select(added.id)
        self._select_row(added.id)
        self.table.editItem(self.table.item(self.table.currentRow(), NAME))

    @told
    def _on_remove(self) -> None:
        index = self.table.currentRow()
        entry = self.desk.classes.get(self.class_id(index)) if index >= 0 else None
        if entry is None:
            return
        if not self.desk.removal.is_painted(entry.id):
            self.desk.removal.start(entry.id)
            return
        answer = QMessageBox.question(
            self,
            "Remove class",
            f"Something is painted in the class “{entry.name}”. Remove the class and erase what is painted in it?",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.desk.removal.start(entry.id, erase=True)
