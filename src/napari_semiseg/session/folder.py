"""What ``session.json`` says, in memory and on disk: classes, volumes and settings of a session folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.session.classes import new_class
from napari_semiseg.session.damage import check_rounds, sweep
from napari_semiseg.session.lock import HeldError, SessionLock, holder_of
from napari_semiseg.session.moving import move_folder
from napari_semiseg.session.places import SUFFIX
from napari_semiseg.session.schema import LabelClass, SessionFile, VolumeRecord, parse_session
from napari_semiseg.session.storage import read_json, storing
from napari_semiseg.session.versions import SESSION


class SessionFolder:
    """The tables of a session; every change is on disk before it is in memory.

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
    """

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
        StorageError
            If nothing can be written there.
        """
        if self.lock is None:
            self.lock = SessionLock(
                self.path, lambda: self.be_read_only(str(HeldError(self.path, holder_of(self.path))))
            )
        self.be_read_only("")
        sweep(self.path / "volumes")
        for sentence in check_rounds(self.path):
            self._report(sentence)

    def be_read_only(self, why: str) -> None:
        """Refuse every change from now on, saying why; an empty text allows them again."""
        self.why_read_only = why
        self.access_changed.emit()

    def refuse_if_read_only(self) -> None:
        """Raise an `InputError` with the reason if this program may not change the session."""
        if self.why_read_only:
            raise InputError(self.why_read_only)

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.release()
        self.lock = None

    def _report(self, sentence: str) -> None:
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
        """Store tables and, only when they are on disk, take them over."""
        self.refuse_if_read_only()
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
