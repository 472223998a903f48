"""The state of the shown slice, and the slices that are annotated."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QButtonGroup, QComboBox, QListWidget, QListWidgetItem, QPushButton, QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.slices import CHOICES, MEANINGS, TITLES, summary
from napari_semiseg.gui.widgets.pieces import SteadyLabel, allow, column, heading, row
from napari_semiseg.session import SliceState

MODES = {
    SliceState.COMPLETE: "complete slices",
    SliceState.SCRIBBLED: "scribbles",
}


class SlicePanel(QWidget):
    """Annotation mode, state of the shown slice, list of annotated slices."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.mode = QComboBox()
        for state, text in MODES.items():
            self.mode.addItem(f"I paint {text}", state)
        self.mode.setToolTip(
            "What painting on an unlabelled slice makes of it. Default: complete slices, every structure painted "
            "fully. With scribbles, mark background with strokes, too."
        )
        self.mode.currentIndexChanged.connect(self._on_mode)
        self.title = SteadyLabel(bold=True)
        self.states: dict[SliceState, QPushButton] = {}
        self.group = QButtonGroup(self)
        for state in CHOICES:
            made = QPushButton(TITLES[state])
            made.setCheckable(True)
            made.setMinimumWidth(60)
            made.setStyleSheet("padding: 4px 0px;")
            made.setToolTip(f"{MEANINGS[state]} Shift-S steps through the states.")
            made.clicked.connect(lambda _=False, state=state: self._on_state(state))
            self.group.addButton(made)
            self.states[state] = made
        self.meaning = SteadyLabel(lines=2, quiet=True)
        self.count = heading("")
        self.list = QListWidget()
        self.list.setToolTip("Double-click a slice to show it")
        self.list.setMinimumHeight(64)
        self.list.setMaximumHeight(120)
        self.list.itemActivated.connect(self._on_jump)
        self.list.itemDoubleClicked.connect(self._on_jump)
        states = row(*self.states.values())
        states.setSpacing(1)
        self.setLayout(column(self.mode, self.title, states, self.meaning, self.count, self.list))
        desk.plane_changed.connect(self._show_state)
        desk.slices_changed.connect(self._show_all)
        desk.volume_changed.connect(self._show_all)
        desk.survey.changed.connect(self._show_all)
        self._show_all()

    def _show_all(self) -> None:
        self._show_state()
        sheet = self.desk.sheet
        states = [] if sheet is None else sheet.states
        self.count.setText(summary(states) if sheet is not None else "Annotated slices")
        wanted = [(plane, states[plane]) for plane in self.desk.marks.annotated()]
        self.list.clear()
        for plane, state in wanted:
            aside = "   held out" if plane in self.desk.survey.held_out else ""
            item = QListWidgetItem(f"Slice {plane}   {TITLES[state].lower()}{aside}")
            item.setData(Qt.ItemDataRole.UserRole, plane)
            self.list.addItem(item)
        if not wanted:
            item = QListWidgetItem("None yet. Paint on a slice; five slices spread over the volume are a good start.")
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.list.addItem(item)
        self.list.setWordWrap(True)

    def _show_state(self, _: int | None = None) -> None:
        state = self.desk.marks.current()
        for made in self.states.values():
            allow(made, None if state is not None else NO_VOLUME)
        if state is None or self.desk.sheet is None:
            self.title.setText("This slice")
            self.meaning.setText("")
            return
        proposed = state is SliceState.PROPOSED
        self.title.setText(f"Slice {self.desk.sheet.plane}{': proposed' if proposed else ''}")
        # None of the buttons is what a proposed slice is, and an exclusive group cannot have none pressed.
        self.group.setExclusive(not proposed)
        for choice, made in self.states.items():
            made.setChecked(choice is state)
        self.meaning.setText(MEANINGS[state])

    def _on_mode(self, index: int) -> None:
        self.desk.marks.mode = self.mode.itemData(index)

    def _on_state(self, state: SliceState) -> None:
        if self.desk.sheet is not None:
            self.desk.marks.set(self.desk.sheet.plane, state)

    def _on_jump(self, item: QListWidgetItem) -> None:
        plane = item.data(Qt.ItemDataRole.UserRole)
        if plane is not None and self.desk.sheet is not None:
            self.desk.sheet.go_to(plane)
