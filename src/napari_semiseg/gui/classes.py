"""The classes as the panel shows them: drafts until the first stroke creates the session, then the session's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_semiseg.errors import InputError, SemisegError
from napari_semiseg.session import LabelClass
from napari_semiseg.session.schema import COLOURS

if TYPE_CHECKING:
    from napari_semiseg.session import Session

BACKGROUND_ID = 255
BACKGROUND_KEY = "B"
BACKGROUND_COLOUR = "#9aa5b1"
"""Colour of background strokes: a grey that no class has."""


FIRST = LabelClass(id=1, name="Structure 1", colour=COLOURS[0], key="1")
"""What there is to paint with before anybody named a class."""


def next_colour(taken: Sequence[str]) -> str:
    """Return the first colour of the palette that no class has; they repeat when all are taken."""
    free = [colour for colour in COLOURS if colour not in {entry.lower() for entry in taken}]
    return free[0] if free else COLOURS[len(taken) % len(COLOURS)]


def next_key(taken: Sequence[str]) -> str:
    """Return the first free digit key from 1 to 9, or nothing."""
    return next((key for key in "123456789" if key not in taken), "")


class ClassBook:
    """Names, colours and keys of the classes.

    Signals
    -------
    changed()
        A class was added, changed or removed, or another session was adopted.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._session: Session | None = None
        self._drafts = [FIRST]
        self.touched = False
        """Whether the drafts were changed by the user."""

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self.all())

    def all(self) -> list[LabelClass]:
        """Return the classes in the order in which they are shown; there is always one."""
        return list(self._drafts if self._session is None else self._session.classes) or [FIRST]

    def get(self, class_id: int) -> LabelClass | None:
        """Return the class of an id."""
        return next((entry for entry in self.all() if entry.id == class_id), None)

    def names(self) -> dict[int, str]:
        """Return names by id."""
        return {entry.id: entry.name for entry in self.all()}

    def suggest(self, names: dict[int, str]) -> None:
        """Take class names that come with a sample volume as drafts, unless the user has named classes already."""
        if self._session is not None or self.touched or not names:
            return
        self._drafts = []
        for class_id, name in sorted(names.items()):
            if 1 <= class_id <= 254:
                self._append_draft(class_id, name)
        self.changed.emit()

    def carry_over(self, session: Session, taken: Sequence[LabelClass]) -> None:
        """Give a session that was created with some classes what became of them meanwhile."""
        if self._session is None and self._drafts != list(taken):
            session.set_classes(self._drafts)

    def adopt(self, session: Session | None) -> None:
        """Show the classes of a session from now on."""
        if self._session is not None:
            self._session.classes_changed.disconnect(self.changed.emit)
        self._session = session
        if session is not None:
            with suppress(SemisegError):  # of a folder that cannot be written it is told elsewhere
                self._ensure_one()
            session.classes_changed.connect(self.changed.emit)
        self.changed.emit()

    def _ensure_one(self) -> None:
        """Give a session that was made without classes a first one."""
        if self._session is not None and not self._session.classes:
            self._session.add_class(FIRST.name, colour=FIRST.colour, key=FIRST.key)

    def add(self, name: str | None = None) -> LabelClass:
        """Add a class with the next free colour and key."""
        self._ensure_one()
        taken = self.all()
        class_id = max((entry.id for entry in taken), default=0) + 1
        name = name or f"Structure {class_id}"
        if self._session is not None:
            added = self._session.add_class(
                name, colour=next_colour([e.colour for e in taken]), key=next_key([e.key for e in taken])
            )
        else:
            if class_id > 254:
                raise InputError("A session holds at most 254 classes.")
            added = self._append_draft(class_id, name)
            self._touch()
        return added

    def update(self, class_id: int, **changes: Any) -> None:
        """Change ``name``, ``colour``, ``key`` or ``locked`` of a class.

        Raises
        ------
        InputError
            Empty name, or a name or key that another class has.
        """
        self._ensure_one()
        others = [entry for entry in self.all() if entry.id != class_id]
        if "name" in changes:
            changes["name"] = changes["name"].strip()
            if not changes["name"]:
                raise InputError("A class needs a name.")
            if changes["name"] in {entry.name for entry in others}:
                raise InputError(f"There is a class {changes['name']!r} already; choose another name.")
        key = changes.get("key")
        if key and (key == BACKGROUND_KEY or key in {entry.key for entry in others}):
            owner = next((entry.name for entry in others if entry.key == key), "the background")
            raise InputError(f"The key {key} belongs to {owner}; choose another one.")
        if self._session is not None:
            self._session.update_class(class_id, **changes)
        else:
            self._drafts = [
                entry.model_copy(update=changes) if entry.id == class_id else entry for entry in self._drafts
            ]
            self._touch()

    def remove(self, class_id: int) -> None:
        """Remove a class of which nothing is painted any more; see `Removal`."""
        if self._session is not None:
            self._session.drop_class(class_id)
        else:
            self._drafts = [entry for entry in self._drafts if entry.id != class_id]
            self._touch()

    def _touch(self) -> None:
        self.touched = True
        self.changed.emit()

    def _append_draft(self, class_id: int, name: str) -> LabelClass:
        entry = LabelClass(
            id=class_id,
            name=name,
            colour=next_colour([e.colour for e in self._drafts]),
            key=next_key([e.key for e in self._drafts]),
        )
        self._drafts.append(entry)
        return entry
