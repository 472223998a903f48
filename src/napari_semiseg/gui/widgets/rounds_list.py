"""The rounds so far, one line each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from napari_semiseg.engine.events import Started
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import column, heading

if TYPE_CHECKING:
    from napari_semiseg.session import Round


def describe(round_: Round) -> str:
    """Return one line about a round."""
    started = next((event for event in round_.events() if isinstance(event, Started)), None)
    text = f"Round {round_.number}   "
    if started is None:
        return text + round_.status
    when = time.strftime("%d %b %H:%M", time.localtime(started.time))
    return f"{text}{started.method}   {started.labelled} slices   {round_.status}   {when}"


def describe_all(rounds: Sequence[Round], known: dict[int, str]) -> list[str]:
    """Return one line per round, newest first; those of ended rounds are kept in ``known``."""
    texts = []
    for round_ in reversed(rounds):
        text = known.get(round_.number)
        if text is None:
            text = describe(round_)
            if round_.status != "running":
                known[round_.number] = text
        texts.append(text)
    return texts


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
        desk.session_changed.connect(self._forget)
        desk.training.ended.connect(lambda _: self.fill())
        desk.training.changed.connect(self.fill)
        self._known: dict[int, str] = {}
        self._show([])

    def fill(self) -> None:
        """Show the rounds of the session; reading their records is left to a thread."""
        session = self.desk.session
        if session is not None:
            known = self._known
            self.desk.compute.run(lambda: describe_all(session.rounds(), known), self._show)

    def _forget(self) -> None:
        self._known = {}
        self._show([])
        self.fill()

    def _show(self, texts: list[str]) -> None:
        self.list.clear()
        self.list.addItems(texts)
        if not texts:
            item = QListWidgetItem("None yet")
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(item)
