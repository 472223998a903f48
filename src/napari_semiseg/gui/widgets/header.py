"""The top of the panel: which volume, which session, where it is kept."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QSizePolicy, QWidget
from superqt import QElidingLabel

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.places import short
from napari_semiseg.gui.widgets.access_bar import AccessBar
from napari_semiseg.gui.widgets.pieces import button, column, row
from napari_semiseg.session.places import SUFFIX


class Header(QWidget):
    """Volume chooser and session place."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.volumes = QComboBox()
        self.volumes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.volumes.setToolTip("The volume that is shown; only its layers are in the viewer")
        self.volumes.activated.connect(self._on_chosen)
        self.add = button("Add volume…", "Open another image file as a volume of this session", self._on_add)
        self.place = QElidingLabel()
        self.place.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.open = button("Open…", "Open a session folder and go on where you left it", self._on_open)
        self.save_as = button(
            "Save as…", "Move this session to another folder, or choose its folder beforehand", self._on_save_as
        )
        for made in (self.add, self.open, self.save_as):
            made.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.access = AccessBar(desk, self._on_save_as)
        self.setLayout(column(row(self.volumes, self.add), row(self.place, self.open, self.save_as), self.access))
        desk.place_wanted.connect(self._on_save_as)
        desk.volumes_changed.connect(self._show_volumes)
        desk.volume_changed.connect(self._show_volumes)
        desk.session_changed.connect(self._show_place)
        self._show_volumes()
        self._show_place()

    def _show_volumes(self) -> None:
        self.volumes.blockSignals(True)
        self.volumes.clear()
        self.volumes.addItems([entry.name for entry in self.desk.entries] or ["No volume yet: drop a file here"])
        self.volumes.setEnabled(bool(self.desk.entries))
        sheet = self.desk.sheet
        if sheet is not None and sheet.entry in self.desk.entries:
            self.volumes.setCurrentIndex(self.desk.entries.index(sheet.entry))
        elif self.desk.entries:
            self.volumes.setCurrentIndex(-1)
        self.volumes.blockSignals(False)

    def _show_place(self) -> None:
        place = self.desk.place
        if place is None:
            self.place.setText("No session yet")
            self.place.setToolTip("A session folder is created when you paint the first stroke.")
            return
        if self.desk.session is not None:
            self.place.setText(place.name)
            self.place.setToolTip(f"Everything you paint is kept in\n{place}")
        else:
            self.place.setText(short(place))
            self.place.setToolTip(f"The first stroke creates this folder, which then keeps everything:\n{place}")

    def _on_chosen(self, index: int) -> None:
        if 0 <= index < len(self.desk.entries):
            self.desk.show(self.desk.entries[index])

    def _on_add(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(
            self,
            "Add volumes",
            "",
            "Volumes (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.tif *.tiff);;All files (*)",
        )
        self.desk.open_files([Path(path) for path in paths])

    def _on_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self, f"Open a session folder (*{SUFFIX})")
        if path:
            self.desk.binder.open(Path(path))

    def _on_save_as(self) -> None:
        suggestion = str(self.desk.place or Path.home() / f"session{SUFFIX}")
        path, _ = QFileDialog.getSaveFileName(self, "Keep the session in", suggestion, f"Session folder (*{SUFFIX})")
        if path:
            place = Path(path)
            self.desk.binder.move(place if place.suffix == SUFFIX else place.with_name(place.name + SUFFIX))
