"""A window that lists all keys."""

from __future__ import annotations

from itertools import groupby

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QLabel, QWidget

from napari_semiseg.gui.classes import BACKGROUND_KEY
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.shortcuts import SHORTCUTS
from napari_semiseg.gui.widgets.pieces import caption, column, heading, scrolling


class KeySheet(QDialog):
    """The keys by group; those of the classes come first."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Keys")
        grid = QGridLayout()
        grid.setHorizontalSpacing(18)
        classes = [(entry.key, f"Paint with {entry.name}") for entry in desk.classes if entry.key]
        groups = [("Classes", [*classes, (BACKGROUND_KEY, "Paint background strokes")])]
        ordered = sorted(SHORTCUTS, key=lambda entry: [e.group for e in SHORTCUTS].index(entry.group))
        for group, entries in groupby(ordered, key=lambda entry: entry.group):
            groups.append((group, [(entry.shown, entry.text) for entry in entries]))
        for title, keys in groups:
            grid.addWidget(heading(title), grid.rowCount(), 0, 1, 2)
            for key, text in keys:
                line = grid.rowCount()
                grid.addWidget(QLabel(key), line, 0)
                grid.addWidget(QLabel(text), line, 1)
        content = QWidget()
        content.setLayout(grid)
        note = caption("Keys work while the annotation layer is selected and the pointer is over the picture.")
        self.setLayout(column(scrolling(content), note, margin=12))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(460, 560)
