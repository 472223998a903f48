"""The session behind the desk: created with the first stroke, opened, moved, found running."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.gui.attaching import Outlived, outlived
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.keeper import create
from napari_semiseg.gui.places import short
from napari_semiseg.gui.problems import told
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
        self._creation: Future[tuple[Session, list[str]]] | None = None
        self._taken: list[LabelClass] = []
        desk.keeper.needs_session.connect(self.create)

    @property
    def creating(self) -> bool:
        """Whether the session is being created."""
        return self._creation is not None

    def create(self) -> None:
        """Create the session, unless there is one: something was painted, or a round is to begin."""
        if self._creation is not None or self.desk.session is not None or self.desk.place is None:
            return
        place, classes, entries = self.desk.place, self.desk.classes.all(), list(self.desk.entries)

        self._taken = classes

        def created(result: tuple[Session, list[str]]) -> None:
            self._creation = None
            self.desk.classes.carry_over(result[0], self._taken)
            self._adopt(_numbered(entries, result))
            for entry in self.desk.entries:
                if entry.id is None:
                    self.join(entry)
            self.desk.tell(f"Everything you paint is kept in {short(place)}.")

        def failed(error: BaseException) -> None:
            self._creation = None
            self.desk.place = default_path(entries[0].name) if entries else None
            self.desk.keeper.postpone()
            self.desk.not_saved(error)

        self._creation = self.desk.disk.run(lambda: create(place, classes, entries), created, failed)

    def join(self, entry: Entry) -> None:
        """Make a volume part of the session, if there is one already."""
        session = self.desk.session
        if session is None:
            return

        def joined(volume_id: str) -> None:
            entry.belong(session, volume_id)
            self.desk.volumes_changed.emit()
            self.desk.runs.show_plane()

        self.desk.disk.run(lambda: entry.add_to(session).id, joined)

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
        self.desk.refuse_while_removing()
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
        self.desk.refuse_while_removing()
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
            self.desk.disk.run(lambda: session.move(place), moved)

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

    def at_last(self) -> Session:
        """Return the session for strokes that are left when the window closes."""
        assert self.desk.place is not None
        entries = list(self.desk.entries)
        if self._creation is not None:
            created = self._creation.result()
            self.desk.classes.carry_over(created[0], self._taken)
            return _numbered(entries, created)
        return _numbered(entries, create(self.desk.place, self.desk.classes.all(), entries))


def let_go(session: Session) -> None:
    """Let others change a session when the window closes; strokes that it does not take are kept in a copy."""
    try:
        session.let_go()
    except StorageError as error:
        copy, _ = copy_session(session, default_path(f"{session.name} rescued"))
        copy.let_go()
        print(f"{error} What you painted is kept in {copy.path}.", file=sys.stderr)


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


def _numbered(entries: list[Entry], result: tuple[Session, list[str]]) -> Session:
    """Give the volumes their ids in a new session."""
    session, ids = result
    for entry, volume_id in zip(entries, ids, strict=False):
        entry.belong(session, volume_id)
    return session
