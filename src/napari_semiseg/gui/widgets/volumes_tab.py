"""The Volumes tab: a picture of every volume, where it stands, which are trained on, what is looked for in each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QWidget

from napari_semiseg.gui import outlook
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.slices import annotated
from napari_semiseg.gui.widgets.pieces import MARGIN, allow, button, caption, column, heading, row
from napari_semiseg.session import SliceState

PICTURE = 48
"""Side of a thumbnail on the screen, pixels."""
KEYS = {"Control-PageDown": 1, "Control-PageUp": -1}
"""Keys that show the next and the previous volume."""
NO_VOLUMES = "Open a volume first: drop a file on the window, or press “Add volume…”."


def age(seconds: float) -> str:
    """Return how long ago something was, such as "3 min ago"."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def status(states: Sequence[SliceState], predicted: float | None, *, now: float, progress: float | None = None) -> str:
    """Return one line about where a volume stands.

    Parameters
    ----------
    states : sequence of SliceState
    predicted, now : float
        Seconds since the epoch; None where there is no prediction.
    progress : float, optional
        How far a run has predicted it, 0 to 1.
    """
    count = len(annotated(states))
    reviewed = sum(state is SliceState.REVIEWED for state in states)
    parts = [f"{count} of {len(states)} slices" if states else "no slices yet"]
    if states and reviewed == len(states):
        parts = ["reviewed"]
    elif reviewed:
        parts.append(f"{reviewed} reviewed")
    if progress is not None:
        parts.append(f"predicting {progress:.0%}")
    else:
        parts.append("no prediction" if predicted is None else f"predicted {age(now - predicted)}")
    return ", ".join(parts)


def picture(thumbnail: NDArray[np.uint8] | None) -> QIcon:
    """Return a thumbnail as an icon; an empty square where there is none yet."""
    canvas = np.zeros((64, 64), np.uint8)
    if thumbnail is not None:
        rows, columns = thumbnail.shape
        top, left = (64 - rows) // 2, (64 - columns) // 2
        canvas[top : top + rows, left : left + columns] = thumbnail
    image = QImage(canvas.tobytes(), 64, 64, 64, QImage.Format.Format_Grayscale8).copy()
    pixmap = QPixmap.fromImage(image)
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # as it is; Qt would tint it
    return icon


class VolumesTab(QWidget):
    """List of the volumes, and what is looked for in the selected one."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self._filling = False
        self._pictures: dict[Entry, tuple[int, QIcon]] = {}
        self.previous = button("Previous", "Show the volume before this one (key Ctrl-PageUp)", lambda: desk.step(-1))
        self.next = button("Next", "Show the volume after this one (key Ctrl-PageDown)", lambda: desk.step(1))
        self.all = button("Tick all", "Train on all volumes and predict all", lambda: self._tick(True))
        self.none = button("Tick none", "Tick none, then tick those to train on", lambda: self._tick(False))
        self.list = QListWidget()
        self.list.setIconSize(QSize(PICTURE, PICTURE))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setMinimumHeight(PICTURE * 4)
        self.list.setToolTip(
            "Click a volume to select it, double-click to show it. Ticked volumes are trained on and predicted. "
            "Default: all."
        )
        self.count = caption()
        self.predict = button("Predict ticked", "Predict the ticked volumes with the last model", desk.runs.predict_now)
        self.title = heading("")
        self.classes = QListWidget()
        self.classes.setMinimumHeight(44)
        self.classes.setMaximumHeight(110)
        self.classes.setToolTip(
            "Classes that you look for in this volume. Where one is not ticked, what you leave unpainted on a complete "
            "slice may be it, and the model is not told that it is background. Default: all."
        )
        self.setLayout(
            column(
                row(self.previous, self.next, None),
                self.list,
                row(self.all, self.none, None, self.predict),
                self.count,
                self.title,
                self.classes,
                margin=MARGIN,
            )
        )
        self.list.itemChanged.connect(self._on_item)
        self.list.itemActivated.connect(self._on_show)
        self.list.itemDoubleClicked.connect(self._on_show)
        self.list.currentRowChanged.connect(lambda _: self._show_classes())
        self.classes.itemChanged.connect(self._on_class)
        for signal in (desk.shelf.changed, desk.history.changed, desk.slices_changed, desk.volume_changed):
            signal.connect(self.refresh)
        desk.training.changed.connect(self.refresh)
        desk.classes.changed.connect(self._show_classes)
        self.refresh()

    @property
    def selected(self) -> Entry | None:
        """The volume that is selected in the list."""
        at = self.list.currentRow()
        return self.desk.entries[at] if 0 <= at < len(self.desk.entries) else None

    def refresh(self, _: Any = None) -> None:
        """Follow the state of the desk; rows stay where they are."""
        self._filling = True
        entries, sheet = self.desk.entries, self.desk.sheet
        while self.list.count() > len(entries):
            self.list.takeItem(self.list.count() - 1)
        while self.list.count() < len(entries):
            self.list.addItem(QListWidgetItem())
        for at, entry in enumerate(entries):
            item = self.list.item(at)
            if item is not None:
                self._fill(item, entry)
        shown = entries.index(sheet.entry) if sheet is not None and sheet.entry in entries else -1
        if self.list.currentRow() < 0 and shown >= 0:
            self.list.setCurrentRow(shown)
        self._filling = False
        facts = self.desk.runs.facts()
        self.count.setText(outlook.which_volumes(facts))
        none = NO_VOLUMES if not entries else None
        allow(self.previous, none or (None if shown > 0 else "This is the first volume."))
        allow(self.next, none or (None if 0 <= shown < len(entries) - 1 else "This is the last volume."))
        for target in (self.all, self.none):
            allow(target, none)
        allow(self.predict, none or outlook.why_not_predict(facts))
        self._show_classes()

    def _fill(self, item: QListWidgetItem, entry: Entry) -> None:
        shelf, sheet = self.desk.shelf, self.desk.sheet
        shown = sheet is not None and sheet.entry is entry
        states = sheet.states if shown and sheet is not None else entry.states
        glance = shelf.glances.get(entry)
        trouble = shelf.troubles.get(entry.id or "")
        line = status(
            states or (glance.states if glance is not None else []),
            None if glance is None else glance.predicted,
            now=time.time(),
            progress=shelf.progress.get(entry.id or ""),
        )
        font = item.font()
        font.setBold(shown)
        item.setFont(font)
        item.setText(f"{entry.name}\n{'left out: ' + trouble if trouble else line}")
        item.setToolTip(f"{entry.name}: {trouble or line}")
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if entry.chosen else Qt.CheckState.Unchecked)
        thumbnail = shelf.thumbnails.get(entry)
        if self._pictures.get(entry, (0, None))[0] != id(thumbnail):
            self._pictures[entry] = (id(thumbnail), picture(thumbnail))
            item.setIcon(self._pictures[entry][1])
        elif item.icon().isNull():
            item.setIcon(self._pictures.get(entry, (0, picture(None)))[1])

    def _show_classes(self) -> None:
        entry = self.selected
        self.title.setText("Looked for" if entry is None else f"Looked for in {entry.name}")
        allow(self.classes, NO_VOLUMES if entry is None else None)
        self._filling = True
        classes = self.desk.classes.all()
        # Items stay as they are, for one of them may be just being clicked.
        while self.classes.count() > len(classes):
            self.classes.takeItem(self.classes.count() - 1)
        while self.classes.count() < len(classes):
            self.classes.addItem(QListWidgetItem())
        for at, found in enumerate(classes):
            item = self.classes.item(at)
            assert item is not None
            item.setText(found.name)
            item.setData(Qt.ItemDataRole.UserRole, found.id)
            sought = entry is None or entry.looked_for is None or found.id in entry.looked_for
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if sought else Qt.CheckState.Unchecked)
        self._filling = False

    def _on_item(self, item: QListWidgetItem) -> None:
        at = self.list.row(item)
        if self._filling or not 0 <= at < len(self.desk.entries):
            return
        self.desk.entries[at].chosen = item.checkState() == Qt.CheckState.Checked
        self.desk.volumes_changed.emit()

    def _tick(self, ticked: bool) -> None:
        for entry in self.desk.entries:
            entry.chosen = ticked
        self.desk.volumes_changed.emit()

    def _on_show(self, item: QListWidgetItem) -> None:
        at = self.list.row(item)
        if 0 <= at < len(self.desk.entries):
            self.desk.show(self.desk.entries[at])

    def _on_class(self, _: QListWidgetItem) -> None:
        entry = self.selected
        if self._filling or entry is None:
            return
        items = [self.classes.item(i) for i in range(self.classes.count())]
        ticked = [i for i in items if i is not None and i.checkState() == Qt.CheckState.Checked]
        ids = tuple(int(item.data(Qt.ItemDataRole.UserRole)) for item in ticked)
        self.desk.look_for(entry, None if len(ids) == len(items) else ids)
        self._show_classes()
