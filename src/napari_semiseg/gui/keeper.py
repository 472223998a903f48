"""Nothing an annotator did is lost: edits found by comparison reach the disk within two seconds, off the UI thread."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

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


def write(
    session: Session, volume_id: str, planes: dict[int, NDArray[np.uint8]], states: dict[int, SliceState]
) -> None:
    """Write planes (layer values) and slice states of one volume; like all annotation writes on the disk lane."""
    annotation = session.annotation(volume_id)
    for plane, values in planes.items():
        annotation.set_plane(plane, swap_unsaid(values))
    for plane, state in states.items():
        annotation.set_state(plane, state)
    annotation.flush()
    session.refuse_if_read_only()  # afterwards: somebody may take it over at any time, and then nothing was written


def create(place: Path, classes: list[LabelClass], entries: list[Entry]) -> tuple[Session, list[str]]:
    """Create a session with the volumes that are open; runs on the disk lane since it reads and hashes the files."""
    session = Session.create(place, classes={entry.id: entry.name for entry in classes})
    try:
        for entry in classes:
            session.update_class(entry.id, colour=entry.colour, key=entry.key, locked=entry.locked)
        ids = [entry.add_to(session).id for entry in entries]
        session.hold()
        return session, ids
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
    failed(exception)
        Writing failed; it is tried again every few seconds.
    saved()
        All that was found is on disk.
    """

    edited = Signal(list)
    needs_session = Signal()
    failed = Signal(object)
    saved = Signal()

    def __init__(self, lane: Lane, shown_plane: Callable[[], int], parent: QObject | None = None):
        super().__init__(parent)
        self._lane = lane
        self._shown_plane = shown_plane
        self._watch: PlaneWatch | None = None
        self._entry: Entry | None = None
        self._waiting: dict[Entry, tuple[dict[int, NDArray[np.uint8]], dict[int, SliceState]]] = {}
        self._since = 0.0
        self._not_before = 0.0
        self._writing = 0
        self.session: Session | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(SWEEP_MS)
        self._timer.timeout.connect(self._tick)

    @property
    def pending(self) -> bool:
        """Whether something found is not on disk yet."""
        return bool(self._waiting) or self._writing > 0

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
            self._wait_for(self._entry)[1][plane] = state

    def flush(self, then: Callable[[], object] | None = None) -> None:
        """Look at everything and write it now; ``then`` runs when that was done, or could not be done."""
        self.look()
        homeless = self.session is None
        self._write_all(force=True)
        if then is None:
            return

        def settled(_: None) -> None:
            if homeless and self.session is not None and self._waiting:
                # The session was created meanwhile; now there is a place to write to.
                self.flush(then)
            else:
                then()

        self._lane.run(lambda: None, settled)

    def postpone(self) -> None:
        """Try again in a few seconds: there is no place to write to at present."""
        self._not_before = time.monotonic() + RETRY_S

    def finish(self, make_session: Callable[[], Session]) -> None:
        """Write all that is left and wait for it: the window is about to close.

        Parameters
        ----------
        make_session : callable
            Creates the session if strokes are left and there is none.
        """
        self._timer.stop()
        self.look()
        if self._waiting and self.session is None:
            self.session = make_session()
        self._write_all(force=True)
        self._lane.close(wait=True)

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
        self._wait_for(self._entry)[0].update(planes)
        self.edited.emit(sorted(planes))

    def _wait_for(self, entry: Entry) -> tuple[dict[int, NDArray[np.uint8]], dict[int, SliceState]]:
        if not self._waiting:
            self._since = time.monotonic()
        return self._waiting.setdefault(entry, ({}, {}))

    def _write_all(self, *, force: bool) -> None:
        now = time.monotonic()
        if not self._waiting or (not force and (now - self._since < QUIET_S or now < self._not_before)):
            return
        if self.session is None:
            self.needs_session.emit()
            return
        for entry in [entry for entry in self._waiting if entry.id is not None]:
            planes, states = self._waiting.pop(entry)
            self._submit(entry, planes, states)

    def _submit(self, entry: Entry, planes: dict[int, NDArray[np.uint8]], states: dict[int, SliceState]) -> None:
        session, volume_id = self.session, entry.id
        assert session is not None
        assert volume_id is not None
        self._writing += 1

        def done(_: None) -> None:
            self._writing -= 1
            self._not_before = 0.0
            if not self.pending:
                self.saved.emit()

        def back(error: BaseException) -> None:
            self._writing -= 1
            self._not_before = time.monotonic() + RETRY_S
            waiting_planes, waiting_states = self._wait_for(entry)
            # What was painted since then is newer than what failed to be written.
            self._waiting[entry] = ({**planes, **waiting_planes}, {**states, **waiting_states})
            self.failed.emit(error)

        self._lane.run(lambda: write(session, volume_id, planes, states), done, back)
