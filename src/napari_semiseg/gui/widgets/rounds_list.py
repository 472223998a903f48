"""The rounds so far: two lines each, with what can be done with them, and the curve of Dice against slices."""

from __future__ import annotations

import time

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.history import changes_text
from napari_semiseg.gui.widgets.dice_plot import DicePlot
from napari_semiseg.gui.widgets.pieces import allow, button, collapsible, column, heading, row, sentence
from napari_semiseg.session.summaries import RoundSummary, dice_text, judgement_text


def describe(summary: RoundSummary, current: int | None) -> str:
    """Return two lines about a round: what it is, and what came of it."""
    when = "" if summary.time is None else time.strftime("%d %b %H:%M", time.localtime(summary.time))
    first = ("Round", str(summary.number), "(current)" if summary.number == current else "", summary.method, when)
    second = (
        summary.status,
        "" if summary.minutes is None else f"{summary.minutes:.1f} min",
        f"{summary.slices} slices",
        f"Dice {dice_text(summary.held_out)}" if dice_text(summary.held_out) else "no held-out Dice",
    )
    return f"{' '.join(filter(None, first))}\n    {', '.join(filter(None, second))}"


class RoundsList(QWidget):
    """Rounds, newest first; one or two can be selected."""

    def __init__(self, desk: Desk, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.list = QListWidget()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setToolTip(
            "Every press of Train is a round; all are kept in the session folder. Select one to show it or go back to "
            "it, two (with Ctrl) to compare them."
        )
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumHeight(44)
        self.list.setMaximumHeight(130)
        self.show_round = button(
            "Show", "Show the prediction of the selected round; the current one stays the current one", self._on_show
        )
        self.compare = button(
            "Compare", "Show where two rounds differ, and how the volume of every class changed", self._on_compare
        )
        self.restore = button(
            "Go back", "Make the selected round the current one; the next training continues it", self._on_restore
        )
        self.changes = sentence()
        self.plot = DicePlot(theme_name)
        self.verdict = sentence()
        inside = QWidget()
        inside.setLayout(column(self.plot, self.verdict))
        self.section = collapsible("Do more slices help?", inside)
        self.setLayout(
            column(
                heading("Rounds"),
                self.list,
                row(self.show_round, self.compare, self.restore),
                self.changes,
                self.section,
            )
        )
        self.list.itemSelectionChanged.connect(self._refresh_buttons)
        desk.history.changed.connect(self.fill)
        desk.training.changed.connect(self._refresh_buttons)
        self.fill()

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self.plot.set_theme(theme_name)

    def selected(self) -> list[int]:
        """Return the numbers of the selected rounds, in ascending order."""
        numbers = [item.data(Qt.ItemDataRole.UserRole) for item in self.list.selectedItems()]
        return sorted(number for number in numbers if number is not None)

    def fill(self) -> None:
        """Show the rounds as they are known now."""
        history, chosen = self.desk.history, self.selected()
        self.list.blockSignals(True)
        self.list.clear()
        for summary in reversed(history.rounds):
            item = QListWidgetItem(describe(summary, history.current))
            item.setData(Qt.ItemDataRole.UserRole, summary.number)
            item.setToolTip(judgement_text(summary.held_out, summary.calibration))
            self.list.addItem(item)
            item.setSelected(summary.number in chosen)
        if not history.rounds:
            item = QListWidgetItem("None yet")
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(item)
        self.list.blockSignals(False)
        comparison = history.comparison
        self.changes.setVisible(comparison is not None)
        if comparison is not None:
            self.changes.setText(changes_text(comparison, self.desk.classes.names()))
        self.plot.show_points([point for summary in history.rounds if (point := summary.point()) is not None])
        self.verdict.setText(history.verdict)
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        chosen = self.selected()
        known = {summary.number: summary for summary in self.desk.history.rounds}
        predicts = all(known[number].segments for number in chosen if number in known)
        one = None if len(chosen) == 1 else "Select one round in the list first."
        two = None if len(chosen) == 2 else "Select two rounds in the list first (Ctrl-click)."
        without = None if predicts else "A selected round has no model that segments."
        busy = "Stop the training first." if self.desk.training.phase.active else None
        current = "It is the current round already." if chosen == [self.desk.history.current] else None
        allow(self.show_round, one or without)
        allow(self.compare, two or without)
        allow(self.restore, one or without or busy or current)

    def _on_show(self) -> None:
        self.desk.history.show(self.selected()[0])

    def _on_compare(self) -> None:
        self.desk.history.compare(*self.selected())

    def _on_restore(self) -> None:
        self.desk.history.restore(self.selected()[0])
