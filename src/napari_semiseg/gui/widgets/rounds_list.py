"""The rounds so far, one line each."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import column, heading


def describe(round_: Any) -> str:
    """Return one line about a round."""
    started = next((event for event in round_.events() if type(event).__name__ == "Started"), None)
    method = started.method if started is not None else round_.plan.method
    text = f"Round {round_.number}   {method}   {round_.status}"
    if started is not None:
        text += f"   {started.labelled} slices   {time.strftime('%d %b %H:%M', time.localtime(started.time))}"
    return text


class RoundsList(QWidget):
    """Short list of rounds, newest first."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.list = QListWidget()
        self.list.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.list.setToolTip("Every press of Train is a round; all are kept in the session folder")
        self.list.setMinimumHeight(44)
        self.list.setMaximumHeight(90)
        self.setLayout(column(heading("Rounds"), self.list))
        desk.session_changed.connect(self.fill)
        desk.training.ended.connect(lambda _: self.fill())
        desk.training.changed.connect(self.fill)
        self._shown: list[str] = []
        self.fill()

    def fill(self) -> None:
        """Show the rounds of the session."""
        session = self.desk.session
        texts = [] if session is None else [describe(entry) for entry in reversed(session.rounds())]
        if texts == self._shown and self.list.count():
            return
        self._shown = texts
        self.list.clear()
        self.list.addItems(texts or ["None yet"])
        if not texts:
            item: QListWidgetItem = self.list.item(0)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
