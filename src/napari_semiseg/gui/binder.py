"""The session behind the desk: created with the first stroke, opened, moved, found running."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.errors import InputError, SemisegError, StorageError
from napari_semiseg.gui.attaching import Outlived, outlived
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.keeper import Unsaved, create, write
from napari_semiseg.gui.places import short
from napari_semiseg.gui.problems import explain, told
from napari_semiseg.session import LabelClass, Session, default_path
from napari_semiseg.session.copying import copy_session
from napari_semiseg.session.glance import states_of
from napari_semiseg.session.lock import HeldError

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk


class Binder:
    """Creates, opens and moves the session of a desk."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self._creation: Future[Session] | None = None
        self._made: Session | None = None
        self._joining: dict[Entry, Future[str]] = {}
        self._taken: list[LabelClass] = []
        desk.keeper.needs_session.connect(self.create)
        desk.keeper.needs_home.connect(self.join)

    @property
    def creating(self) -> bool:
        """Whether the session is being created, or a volume added to it."""
        return self._creation is not None or bool(self._joining)

    def create(self) -> None:
        """Create the session, unless there is one, and add all volumes: one was painted on, or a round is to begin."""
        if self.desk.session is not None:
            for entry in self.desk.entries:
                self.join(entry)
            return
        if self._creation is not None or self.desk.place is None:
            return
        place, classes, entries = self.desk.place, self.desk.classes.all(), list(self.desk.entries)

        self._taken = classes

        def created(session: Session) -> None:
            self._creation, self._made = None, session
            try:
                self.desk.classes.carry_over(session, self._taken)
            except SemisegError as error:
                self.desk.problem(error)
            self._adopt(session)
            for entry in self.desk.entries:
                self.join(entry)
            self.desk.keeper.sought()
            self.desk.tell(f"Everything you paint is kept in {short(place)}.")

        def failed(error: BaseException) -> None:
            self._creation = None
            self.desk.place = default_path(entries[0].name) if entries else None
            self.desk.keeper.postpone()
            self.desk.keeper.sought()
            self.desk.not_saved(error)

        self.desk.keeper.seek()
        self._creation = self.desk.disk.run(lambda: create(place, classes), created, failed)

    def join(self, entry: Entry) -> None:
        """Make a volume part of the session, if there is one already; each by itself, since its file may be gone."""
        session = self.desk.session
        if session is None or entry.id is not None or entry in self._joining:
            return

        def joined(volume_id: str) -> None:
            del self._joining[entry]
            entry.belong(session, volume_id)
            self.desk.keeper.sought()
            self.desk.volumes_changed.emit()
            if self.desk.sheet is not None and self.desk.sheet.entry is entry:
                self.desk.slices_changed.emit()
            self.desk.runs.show_plane()

        def failed(error: BaseException) -> None:
            del self._joining[entry]
            self.desk.keeper.postpone(entry)
            self.desk.keeper.sought()
            self.desk.not_saved(error, entry.name)

        self.desk.keeper.seek()
        # Reading and hashing a large file takes a while, and must not keep strokes on other volumes from the disk.
        self._joining[entry] = self.desk.reading.run(lambda: entry.add_to(session).id, joined, failed)

    def _adopt(self, session: Session) -> None:
        # Damage is found when a volume is read, in another thread.
        session.problem.connect(lambda _: self.desk.disk.run(lambda: None, lambda _: self._tell_damage(session)))
        self.desk.session = session
        self.desk.place = session.path
        if self.desk.sheet is not None:
            self.desk.sheet.belongs_to(session.path)
        self.desk.keeper.session = session
        self.desk.classes.adopt(session)
        self.desk.session_changed.emit()
        self.desk.volumes_changed.emit()

    @told
    def open(self, place: Path) -> None:
        """Open a session folder and show its first volume."""
        if self.desk.training.phase.active:
            raise InputError("Stop the training before another session is opened.")
        self.desk.removal.refuse_meanwhile()
        place = Path(place).absolute()
        current = self.desk.session

        def opened(found: tuple[Session, list[Entry], Outlived | None]) -> None:
            session, entries, run = found
            self.desk.close_sheet()
            if current is not None and current.path != session.path:
                self._part_from(current)
            self.desk.shelf.forget()
            self.desk.entries = entries
            self._adopt(session)
            if self.desk.entries:
                self.desk.show(shown if (shown := self._named(before)) is not None else self.desk.entries[0])
            self._attach(run)
            self._tell_damage(session)

        before = None if self.desk.sheet is None else self.desk.sheet.entry.id

        @told
        def flushed(self: Binder) -> None:
            if current is not None and self.desk.keeper.pending:
                raise InputError(
                    f"What you painted in {current.name} is not saved yet; press “Save as…” and choose another folder, "
                    "then open a session."
                )
            self.desk.disk.run(lambda: _read(place, current), opened)

        self.desk.keeper.flush(lambda: flushed(self))

    @told
    def move(self, place: Path) -> None:
        """Move the session folder, or choose where it will be created.

        A session that is read-only here, or whose folder is gone or cannot be written, is copied instead: what is in
        memory, and what can still be read of the folder.
        """
        self.desk.removal.refuse_meanwhile()
        place = place.absolute()
        if self.desk.session is None:
            if place.exists() and any(place.iterdir()):
                raise InputError(f"{place} is not empty; choose a new folder for the session.")
            self.desk.place = place
            self.desk.session_changed.emit()
            return
        session = self.desk.session

        @told
        def flushed(self: Binder) -> None:
            if session.why_read_only or self.desk.keeper.pending:
                self.desk.disk.run(lambda: copy_session(session, place), copied)
                return
            if self.desk.training.phase.active:
                raise InputError("Stop the training before the session is moved.")
            self._alone(lambda: session.move(place), moved)

        def copied(result: tuple[Session, list[str]]) -> None:
            copy, missing = result
            self._part_from(session)
            self._adopt(copy)
            self.desk.keeper.flush()
            self.desk.tell(f"You go on with a copy in {short(copy.path)}.")
            if missing:
                self.desk.tell(f"What could not be copied: {', '.join(missing[:5])}.", "warning")

        def moved(_: Any) -> None:
            self.desk.place = session.path
            self.desk.session_changed.emit()
            self.desk.tell(f"The session is now in {short(session.path)}.")

        self.desk.keeper.flush(lambda: flushed(self))

    def _alone(self, work: Callable[[], object], then: Callable[[object], object]) -> None:
        """Run work that puts the folder elsewhere, when no other lane is in it."""
        reading, disk = self.desk.reading, self.desk.disk

        def when_nothing_is_read() -> object:
            return disk.run(work, failed=_told_elsewhere).result()

        def when_nothing_is_exported() -> object:
            return reading.run(when_nothing_is_read, failed=_told_elsewhere).result()

        self.desk.exporter.lane.run(when_nothing_is_exported, then)

    def _tell_damage(self, session: Session) -> None:
        if session.reports and session is self.desk.session:
            self.desk.tell(" ".join(session.reports), "error")

    def _part_from(self, session: Session) -> None:
        """Let others change a session that is not shown any more."""
        self.desk.disk.run(session.let_go, failed=lambda _: None)

    def _named(self, volume_id: str | None) -> Entry | None:
        return next((entry for entry in self.desk.entries if entry.id == volume_id), None)

    def _attach(self, run: Outlived | None) -> None:
        """Follow a run that outlived the panel that started it, or show how one ended."""
        if run is None:
            return
        self.desk.training.follow(run.round)
        self.desk.tell(run.sentence, run.severity)

    def at_last(self) -> list[str]:
        """Write what is left when the window closes, and let others change the session; never fails.

        Returns
        -------
        list of str
            What is kept elsewhere, and what could not be saved.
        """
        reasons: dict[Entry, BaseException] = {}
        left = self.desk.keeper.finish(lambda waiting: self._find_places(waiting, reasons))
        session = self.desk.keeper.session
        said = [] if session is None else let_go(session)
        if session is not None and session is self._made:
            _remove_if_empty(session)
        return said + (rescue(left, reasons, self.desk.classes.all()) if left else [])

    def _find_places(self, waiting: list[Entry], reasons: dict[Entry, BaseException]) -> None:
        """Make volumes part of the session, and note why one cannot be."""
        keeper = self.desk.keeper
        if not waiting and self._creation is None:
            return
        try:
            keeper.session = keeper.session or self._session_at_last()
        except Exception as error:  # whatever it is, the strokes are kept elsewhere
            reasons.update(dict.fromkeys(waiting, error))
            return
        for entry in waiting:
            try:
                entry.belong(keeper.session, self._joined_at_last(entry, keeper.session))
            except Exception as error:
                reasons[entry] = error

    def _session_at_last(self) -> Session:
        assert self.desk.place is not None
        if self._creation is None:
            self._made = create(self.desk.place, self.desk.classes.all())
        else:
            self._made = self._creation.result()
            self.desk.classes.carry_over(self._made, self._taken)
        return self._made

    def _joined_at_last(self, entry: Entry, session: Session) -> str:
        with suppress(Exception):
            return self._joining[entry].result() if entry in self._joining else entry.add_to(session).id
        return entry.add_to(session, stored=True).id  # its file is gone, its voxels are at hand


def let_go(session: Session) -> list[str]:
    """Let others change a session when the window closes; strokes that it does not take are kept in a copy."""
    try:
        session.let_go()
    except StorageError as error:
        try:
            copy, _ = copy_session(session, default_path(f"{session.name} rescued"))
            copy.let_go()
        except SemisegError as worse:
            return [f"What you painted in {session.name} is not saved: {error} Nor could a copy be made: {worse}"]
        return [f"{error} What you painted is kept in {copy.path}."]
    return []


def rescue(left: dict[Entry, Unsaved], reasons: Mapping[Entry, BaseException], classes: list[LabelClass]) -> list[str]:
    """Write what no session takes into one of its own, with the images, and return what came of it."""
    try:
        session = create(default_path(f"{next(iter(left)).name} rescued"), classes)
    except SemisegError as error:
        return [f"What you painted on {entry.name} is not saved: {explain(error)}" for entry in left]
    said = []
    for entry, unsaved in left.items():
        try:
            write(session, entry.add_to(session, stored=True).id, unsaved)
            why = explain(reasons[entry]) if entry in reasons else f"{entry.name} could not be written."
            said.append(f"{why} What you painted on it is kept in {session.path}.")
        except Exception as error:  # the others are still to be written
            said.append(f"What you painted on {entry.name} is not saved: {explain(error)}")
    with suppress(StorageError):
        session.let_go()
    _remove_if_empty(session)
    return said


def _remove_if_empty(session: Session) -> None:
    """Leave no session behind that was created for volumes of which none could be added."""
    if not session.volumes:
        shutil.rmtree(session.path, ignore_errors=True)


def _told_elsewhere(error: BaseException) -> None:
    """Ignore an error that whoever waits for the result tells."""


def _read(place: Path, current: Session | None) -> tuple[Session, list[Entry], Outlived | None]:
    """Open a session, read-only if it cannot be held, and look at the states of its slices and at its last run.

    Voxels and annotations are read when they are shown.
    """
    session = Session.open(place)
    if current is not None and current.path == place:
        current.let_go()
    try:
        session.hold()
    except (HeldError, StorageError) as error:
        session.be_read_only(str(error))
    entries = [Entry.of_record(record, states_of(session, i)) for i, record in session.volumes.items()]
    return session, entries, outlived(session)
