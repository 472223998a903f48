"""The tables of a session folder, in memory and on disk: its classes, volumes and rounds, and who may change them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.session.choosing import looking_for
from napari_semiseg.session.classes import changed_classes, free_id, index_of, new_class
from napari_semiseg.session.damage import check_rounds, sweep
from napari_semiseg.session.lock import SessionLock
from napari_semiseg.session.moving import move_folder
from napari_semiseg.session.places import SUFFIX
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.restoring import by_recency, restore
from napari_semiseg.session.rounds import Round, rounds_in
from napari_semiseg.session.schema import LabelClass, SessionFile, VolumeRecord, parse_session
from napari_semiseg.session.storage import read_json, storing
from napari_semiseg.session.versions import SESSION


class SessionFolder:
    """Classes, volumes and rounds of a session; every change is on disk before it is in memory.

    Attributes
    ----------
    path : Path
    classes : list of LabelClass
    volumes : dict of str to VolumeRecord
        By volume id, in the order they were added.
    settings : dict
    why_read_only : str
        Why it cannot be changed by this program; empty if it can.
    reports : list of str
        Sentences about what was found and mended since it was opened.
    lock : SessionLock or None
        While this program holds it.

    Signals
    -------
    classes_changed(), volumes_changed(), rounds_changed()
    problem(str)
        A sentence about something that was found and mended.
    access_changed()
        It may be changed now, or may not be any more; maybe emitted in another thread.
    """

    classes_changed = Signal()
    volumes_changed = Signal()
    rounds_changed = Signal()
    problem = Signal(str)
    access_changed = Signal()

    def __init__(self, path: Path, content: SessionFile) -> None:
        self.path = path
        self.classes = list(content.classes)
        self.volumes = {record.id: record for record in content.volumes}
        self.settings = dict(content.settings)
        self.why_read_only = ""
        self.reports: list[str] = []
        self.lock: SessionLock | None = None
        self._changing = threading.RLock()
        self._past_ids: set[int] = set()

    @classmethod
    def create(cls, path: str | Path, *, classes: Mapping[int, str] | None = None) -> Self:
        """Create an empty session folder.

        Parameters
        ----------
        path : path
            Must not exist yet, or be an empty folder.
        classes : mapping of int to str, optional
            Names by class id.

        Raises
        ------
        InputError
            If there is something at the path already, or a class cannot be used.
        StorageError
        """
        path = Path(path).absolute()
        table: list[LabelClass] = []
        for class_id, name in (classes or {}).items():
            table.append(new_class(table, int(class_id), name))
        with storing(path):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise InputError(f"{path} exists already; choose another name or open it.")
            path.mkdir(parents=True, exist_ok=True)
        session = cls(path, SessionFile(classes=[], volumes=[]))
        session._commit(classes=table)
        return session

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a session folder.

        Raises
        ------
        InputError
            If it is none, damaged, or of a newer version.
        """
        path = Path(path).absolute()
        if not path.is_dir():
            raise InputError(f"{path} is not a session folder; `semiseg new` creates one.")
        if not (path / "session.json").is_file():
            raise InputError(f"{path} holds no session.json, so it is not a session folder; `semiseg new` creates one.")
        return cls(path, parse_session(read_json(path / "session.json"), path))

    # -- who may change it ------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Become the one program that changes this session, and set aside what is damaged in it.

        Programs that only read, and the worker that trains for whoever holds it, need not. If somebody else takes it
        over later, since this computer slept or the drive was away, the session becomes read-only.

        Raises
        ------
        HeldError
            If another program holds it.
        InputError
            If another program took it over from this one: what is in memory may be older than the folder.
        StorageError
            If nothing can be written there.
        """
        if self.lock is not None and self.lock.check() is not None:
            raise InputError(f"{self.lock.why_lost} Open the session anew to go on with what is in its folder.")
        if self.lock is None:
            self.lock = SessionLock(self.path, self._on_lost)
        self.be_read_only("")
        sweep(self.path / "volumes")
        for sentence in check_rounds(self.path):
            self.report(sentence)
        self._past_ids = self._ids_of_rounds()

    def be_read_only(self, why: str) -> None:
        """Refuse every change from now on, saying why; an empty text allows them again."""
        self.why_read_only = why
        self.access_changed.emit()

    def refuse_if_read_only(self) -> None:
        """Raise an `InputError` with the reason if this program may not change the session."""
        if not self.may_write():
            raise InputError(self.why_read_only)

    def may_write(self) -> bool:
        """Look whether this program may change the session: it may have been taken over since the last heartbeat."""
        if self.lock is not None:
            self.lock.check()
        return not self.why_read_only

    def _on_lost(self) -> None:
        if self.lock is not None:
            self.be_read_only(self.lock.why_lost)

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.release()
        self.lock = None

    def report(self, sentence: str) -> None:
        """Tell whoever watches the session a sentence about something that was found and mended."""
        self.reports.append(sentence)
        self.problem.emit(sentence)

    # -- the tables -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the session: that of its folder without the suffix."""
        return self.path.name.removesuffix(SUFFIX)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Class id of each index the engine works with; the first is 0, background."""
        return (0, *sorted(c.id for c in self.classes))

    def _commit(
        self, *, classes: list[LabelClass] | None = None, volumes: dict[str, VolumeRecord] | None = None
    ) -> None:
        """Store tables and, only when they are on disk, take them over.

        Whoever makes a table of the present one holds ``_changing`` meanwhile: a volume may be added in another thread.
        """
        self.refuse_if_read_only()
        with self._changing:
            classes = self.classes if classes is None else classes
            volumes = self.volumes if volumes is None else volumes
            SESSION.write(self.path / "session.json", self._content(classes, volumes))
            self.classes, self.volumes = classes, volumes

    def _content(
        self, classes: list[LabelClass], volumes: Mapping[str, VolumeRecord], *, beside: bool = True
    ) -> dict[str, Any]:
        return {
            "classes": [c.model_dump() for c in classes],
            "volumes": [record.to_json(self.path, beside=beside) for record in volumes.values()],
            "settings": self.settings,
        }

    def content_at(self, place: Path, volumes: Mapping[str, VolumeRecord]) -> dict[str, Any]:
        """Return what ``session.json`` says of this session at another place, with volumes that lie there."""
        return {**self._content(self.classes, {}), "volumes": [record.to_json(place) for record in volumes.values()]}

    def _relocate(self, path: str | Path) -> None:
        """Move the folder and have the tables follow."""
        path = Path(path).absolute()
        # Until the folder is in its place, images beside it are named in a way that is right in both.
        SESSION.write(self.path / "session.json", self._content(self.classes, self.volumes, beside=False))
        move_folder(self.path, path)
        old, self.path = self.path, path
        self.volumes = {
            i: r.model_copy(update={"source": path / r.source.relative_to(old)}) if r.source.is_relative_to(old) else r
            for i, r in self.volumes.items()
        }
        self._commit()

    # -- volumes --------------------------------------------------------------------------------------------------

    def record(self, volume_id: str) -> VolumeRecord:
        """Return the record of a volume.

        Raises
        ------
        InputError
            If there is no such volume.
        """
        if volume_id not in self.volumes:
            raise InputError(f"The session has no volume {volume_id!r}; it has {', '.join(self.volumes) or 'none'}.")
        return self.volumes[volume_id]

    def volume_folder(self, volume_id: str) -> Path:
        """Return where the files of a volume lie."""
        return self.path / "volumes" / volume_id

    def look_for(self, volume_id: str, class_ids: Collection[int] | None) -> VolumeRecord:
        """Say which classes are looked for in a volume; what is background there may be one of the others.

        Parameters
        ----------
        volume_id : str
        class_ids : collection of int, or None
            None for all, those to come as well.

        Raises
        ------
        InputError
            If there is no such volume or class, or none is named.
        """
        with self._changing:
            record = looking_for(self.record(volume_id), class_ids, self.classes)
            self._commit(volumes={**self.volumes, volume_id: record})
        self.volumes_changed.emit()
        return record

    # -- classes --------------------------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str | None = None, key: str | None = None) -> LabelClass:
        """Add a class with the next free id; one that an earlier round knew is not given out again.

        Raises
        ------
        InputError
            If 254 classes exist, the name is taken, or colour or key cannot be used.
        """
        with self._changing:
            added = new_class(self.classes, free_id(self.classes, self._ids_of_the_past()), name, colour, key)
            self._commit(classes=[*self.classes, added])
        self.classes_changed.emit()
        return added

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Replace the table of classes of a session that has no round yet.

        Raises
        ------
        InputError
            If there is a round, whose model would mean other classes.
        """
        if self.rounds():
            raise InputError("The session has trained rounds; change its classes one by one.")
        self._commit(classes=list(classes))
        self.classes_changed.emit()

    def update_class(
        self,
        class_id: int,
        *,
        name: str | None = None,
        colour: str | None = None,
        key: str | None = None,
        locked: bool | None = None,
    ) -> LabelClass:
        """Rename, recolour or lock a class, or give it another key; a key that another class has moves over.

        Raises
        ------
        InputError
            If there is no such class, the name is taken, or a value cannot be used.
        """
        with self._changing:
            table = changed_classes(self.classes, class_id, name=name, colour=colour, key=key, locked=locked)
            self._commit(classes=table)
        self.classes_changed.emit()
        return table[index_of(table, class_id)]

    def _ids_of_the_past(self) -> set[int]:
        """Return the ids that rounds may know; who holds the session has read them, so that nobody waits for it now."""
        return self._ids_of_rounds() if self.lock is None else self._past_ids

    def _ids_of_rounds(self) -> set[int]:
        return {class_id for earlier in self.rounds() for class_id in earlier.class_ids}

    # -- rounds ---------------------------------------------------------------------------------------------------

    def rounds(self) -> list[Round]:
        """Return all rounds, the oldest first."""
        return rounds_in(self.path / "rounds")

    def recent_rounds(self) -> list[Round]:
        """Return all rounds in the order in which they count: a restored one after those that it replaced."""
        return by_recency(self.path / "rounds", self.rounds())

    def latest_round(self, finished: bool = True) -> Round | None:
        """Return the last round; with ``finished`` the last one that has a model which segments."""
        for found in reversed(self.recent_rounds()):
            if not finished or found.segments:
                return found
        return None

    def latest_pretraining(self) -> Round | None:
        """Return the last round that has a model which segments nothing."""
        return next((found for found in reversed(self.rounds()) if found.has_model and not found.segments), None)

    def latest_prediction(self, volume_id: str) -> StoredPrediction | None:
        """Return the newest prediction of a volume, of whichever round."""
        for found in reversed(self.recent_rounds()):
            prediction = found.prediction(volume_id)
            if prediction is not None:
                return prediction
        return None

    def restore_round(self, number: int) -> Round:
        """Have a round's prediction be the current one and the next training continue it, until that has a model.

        Raises
        ------
        InputError
            If there is no such round, or it has no model that segments.
        StorageError
        """
        self.refuse_if_read_only()
        found = restore(self.path / "rounds", self.rounds(), number)
        self.rounds_changed.emit()
        return found
