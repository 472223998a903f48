"""Nothing an annotator did is lost: edits found by comparison reach the disk within two seconds, off the UI thread."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_semiseg.errors import StorageError
from napari_semiseg.gui.background import Lane
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.watch import PlaneWatch
from napari_semiseg.session import LabelClass, Session, SliceState
from napari_semiseg.session.annotation import swap_unsaid

SWEEP_MS = 100
SWEEPS = 12
"""All planes are compared once in this many sweeps: well within the two seconds, at a millisecond a sweep."""
QUIET_S = 0.25
RETRY_S = 5.0


@dataclass(eq=False)
class Unsaved:
    """What was found on one volume and is not on disk yet: planes in layer values, and slice states."""

    since: float
    not_before: float = 0.0
    planes: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    states: dict[int, SliceState] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether the hand rests, and the last failure was a while ago."""
        return now - self.since >= QUIET_S and now >= self.not_before


def write(session: Session, volume_id: str, unsaved: Unsaved) -> None:
    """Write what is left of one volume; like all annotation writes on the disk lane."""
    annotation = session.annotation(volume_id)
    annotation.change({plane: swap_unsaid(values) for plane, values in unsaved.planes.items()}, unsaved.states)
    annotation.flush()
    if session.why_read_only and annotation.is_dirty:  # somebody may take it over at any time
        raise StorageError(session.why_read_only)


def create(place: Path, classes: list[LabelClass]) -> Session:
    """Create a session without volumes and hold it."""
    session = Session.create(place, classes={entry.id: entry.name for entry in classes})
    try:
        for entry in classes:
            session.update_class(entry.id, colour=entry.colour, key=entry.key, locked=entry.locked)
        session.hold()
        return session
    except BaseException:
        shutil.rmtree(session.path, ignore_errors=True)
        raise


class Keeper(QObject):
    """Watches the annotation that is shown and writes what changed.

    Signals
    -------
    edited(list of int)
        These planes were found changed.
    needs_session()
        Something is to be written and there is no session yet.
    needs_home(entry)
        Something is to be written on a volume that is no part of the session yet.
    failed(exception, name)
        Writing what was painted on a volume failed; it is tried again every few seconds.
    saved()
        All that was found is on disk.
    """

    edited = Signal(list)
    needs_session = Signal()
    needs_home = Signal(object)
    failed = Signal(object, str)
    saved = Signal()

    def __init__(self, lane: Lane, shown_plane: Callable[[], int], parent: QObject | None = None):
        super().__init__(parent)
        self._lane = lane
        self._shown_plane = shown_plane
        self._watch: PlaneWatch | None = None
        self._entry: Entry | None = None
        self._waiting: dict[Entry, Unsaved] = {}
        self._writing: list[tuple[Entry, Unsaved, Future[None]]] = []
        self._seeking = 0
        self._afterwards: list[Callable[[], object]] = []
        self.session: Session | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(SWEEP_MS)
        self._timer.timeout.connect(self._tick)

    @property
    def pending(self) -> bool:
        """Whether something found is not on disk yet."""
        return bool(self._waiting or self._writing)

    @property
    def refused(self) -> bool:
        """Whether something found could not be written so far; what is merely fresh does not count."""
        return any(unsaved.not_before for unsaved in self._waiting.values())

    def watch(self, entry: Entry | None, live: NDArray[np.uint8] | None) -> None:
        """Watch the annotation of another volume, or none; the old one is looked at a last time."""
        self.look()
        self._entry = entry
        self._watch = None if live is None else PlaneWatch(live)
        if live is None:
            self._timer.stop()
        else:
            self._timer.start()

    def look(self, planes: Iterable[int] | None = None) -> None:
        """Compare some planes now, or all."""
        if self._watch is not None:
            self._found(self._watch.all() if planes is None else self._watch.changed(planes))

    def hint(self) -> None:
        """Compare the shown plane now: the viewer says that something was painted."""
        if self._watch is not None:
            self._found(self._watch.changed([self._shown_plane()]))

    def set_state(self, plane: int, state: SliceState) -> None:
        """Have the state of a slice written."""
        if self._entry is not None:
            self._wait_for(self._entry).states[plane] = state

    def holds(self, entry: Entry) -> bool:
        """Whether something of a volume waits to be written."""
        return entry in self._waiting

    def flush(self, then: Callable[[], object] | None = None) -> None:
        """Look at everything and write it now; ``then`` runs when that was done, or could not be done."""
        self.look()
        self._write_all(force=True)
        if then is not None:
            self._after_writing(then)

    def _after_writing(self, then: Callable[[], object]) -> None:
        """Run something when all that was submitted is written, and nothing is being given a place."""

        def written(_: None) -> None:
            if self._seeking:
                self._afterwards.append(then)
            else:
                then()

        self._lane.run(lambda: None, written)

    def seek(self) -> None:
        """Wait with whatever waits for `flush`: a session is being created, or a volume added to it."""
        self._seeking += 1

    def sought(self) -> None:
        """Write what has a place now; what found none stays."""
        self._seeking -= 1
        self._submit_all()
        if not self._seeking:
            afterwards, self._afterwards = self._afterwards, []
            for then in afterwards:
                self._after_writing(then)

    def postpone(self, entry: Entry | None = None) -> None:
        """Try again in a few seconds: a volume, by default all, has no place to be written to at present."""
        for waiting in self._waiting if entry is None else [entry] if entry in self._waiting else []:
            self._waiting[waiting].not_before = time.monotonic() + RETRY_S

    def finish(self, find_places: Callable[[list[Entry]], object]) -> dict[Entry, Unsaved]:
        """Write all that is left and wait for it: the window is about to close.

        Parameters
        ----------
        find_places : callable
            Gets the volumes that have no place to be written to, and finds them one.

        Returns
        -------
        dict of Entry to Unsaved
            What could not even be given to the session.
        """
        self._timer.stop()
        self.look()
        find_places([entry for entry in self._waiting if entry.id is None])
        self._submit_all()
        self._lane.close(wait=True)
        for entry, unsaved, future in reversed(self._writing):
            # What the disk refuses is in the memory of the session, which tells of it.
            if future.exception() is not None and not isinstance(future.exception(), StorageError):
                self._wait_again(entry, unsaved)
        return self._waiting

    def _tick(self) -> None:
        if self._watch is None:
            return
        total = len(self._watch.live)
        found = self._watch.changed([min(self._shown_plane(), total - 1)])
        found |= self._watch.sweep(-(-total // SWEEPS))
        self._found(found)
        self._write_all(force=False)

    def _found(self, planes: dict[int, NDArray[np.uint8]]) -> None:
        if not planes or self._entry is None:
            return
        self._wait_for(self._entry).planes.update(planes)
        self.edited.emit(sorted(planes))

    def _wait_for(self, entry: Entry) -> Unsaved:
        return self._waiting.setdefault(entry, Unsaved(time.monotonic()))

    def _write_all(self, *, force: bool) -> None:
        now = time.monotonic()
        due = [entry for entry, unsaved in self._waiting.items() if force or unsaved.is_due(now)]
        if due and self.session is None:
            self.needs_session.emit()
            return
        for entry in due:
            if entry.id is None:
                self.needs_home.emit(entry)
            else:
                self._submit(entry, entry.id)

    def _submit_all(self) -> None:
        """Write what has a place."""
        for entry in list(self._waiting) if self.session is not None else []:
            if entry.id is not None:
                self._submit(entry, entry.id)

    def _submit(self, entry: Entry, volume_id: str) -> None:
        session, unsaved = self.session, self._waiting.pop(entry)
        assert session is not None

        def done(_: None) -> None:
            self._writing.remove(written)
            if not self.pending:
                self.saved.emit()

        def back(error: BaseException) -> None:
            self._writing.remove(written)
            self._wait_again(entry, unsaved)
            self.postpone(entry)
            self.failed.emit(error, entry.name)

        written = entry, unsaved, self._lane.run(lambda: write(session, volume_id, unsaved), done, back)
        self._writing.append(written)

    def _wait_again(self, entry: Entry, unsaved: Unsaved) -> None:
        """Keep what failed to be written; what was painted since then is newer."""
        newer = self._wait_for(entry)
        newer.planes, newer.states = {**unsaved.planes, **newer.planes}, {**unsaved.states, **newer.states}
