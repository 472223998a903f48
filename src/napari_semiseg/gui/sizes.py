"""Measurements of the shown volume: taken in the background, copied, written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.gui.places import short
from napari_semiseg.gui.problems import told
from napari_semiseg.regions.measures import Measures
from napari_semiseg.session.measure_table import as_text, table_of, write_csv
from napari_semiseg.session.summaries import measures

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.session.export import Source


class Sizes:
    """Has the structures of the shown volume measured as they are exported.

    Attributes
    ----------
    found : list of Measures
        Empty before `take`, and after another volume is shown.
    busy : bool
    outdated : bool
        Something was painted since.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.found: list[Measures] = []
        self.busy = self.outdated = False
        desk.keeper.edited.connect(self._on_edited)
        desk.volume_changed.connect(self._forget)

    @told
    def take(self, source: Source = "merged") -> None:
        """Measure, once everything that was painted is on the disk."""
        session, sheet = self.desk.session, self.desk.sheet
        if session is None or sheet is None or sheet.entry.id is None:
            raise InputError("Nothing was painted yet, so there is nothing to measure.")
        volume = sheet.entry.id

        def arrived(found: list[Measures]) -> None:
            self._set_busy(False)
            if self.desk.sheet is sheet:
                self.found, self.outdated = found, False
                self.changed.emit()

        def failed(error: BaseException) -> None:
            self._set_busy(False)
            self.desk.problem(error)

        self._set_busy(True)
        lane = self.desk.survey.lane
        self.desk.keeper.flush(lambda: lane.run(lambda: measures(session, volume, source), arrived, failed))

    def lines(self) -> list[list[str]]:
        """Return the table with its heading."""
        sheet = self.desk.sheet
        name = "" if sheet is None else sheet.entry.name
        return table_of([("", entry) for entry in self.found], self.desk.classes.names(), {"": name})

    def as_text(self) -> str:
        """Return the table for the clipboard."""
        return as_text(self.lines())

    @told
    def write(self, path: Path) -> None:
        """Write the table as CSV."""
        if not self.found:
            raise InputError("Nothing is measured yet: press Measure first.")
        lines = self.lines()
        self.desk.disk.run(
            lambda: write_csv(path, lines), lambda _: self.desk.tell(f"The table was written to {short(path)}.")
        )

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self.changed.emit()

    def _on_edited(self, planes: list[int]) -> None:
        if self.found and not self.outdated:
            self.outdated = True
            self.changed.emit()

    def _forget(self) -> None:
        self.found = []
        self.changed.emit()
