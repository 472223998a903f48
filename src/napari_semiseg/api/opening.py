"""Sessions that are given as a path or open already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from napari_semiseg.session import Session


def opened_session(session: str | Path | Session) -> Session:
    """Return a session that is open already, or open the one at a path.

    Raises
    ------
    InputError
        If there is none at the path.
    """
    from napari_semiseg.session import Session

    return session if isinstance(session, Session) else Session.open(Path(session))


@contextmanager
def changing(session: str | Path | Session) -> Iterator[Session]:
    """Open a session and hold it while it is changed; one that is open already is its owner's to hold.

    Raises
    ------
    HeldError
        If another program has it open.
    """
    opened = opened_session(session)
    if opened is session:
        yield opened
        return
    opened.hold()
    try:
        yield opened
    finally:
        opened.let_go()


def one_volume(session: Session, volume: str | None) -> str:
    """Return the id of the volume that is meant; it need not be named where there is one.

    Raises
    ------
    InputError
        If there are several and none is named, or there is no such volume.
    """
    if volume is None and len(session.volumes) == 1:
        return next(iter(session.volumes))
    if volume not in session.volumes:
        known = ", ".join(session.volumes) or "none"
        given = "No volume was named" if volume is None else f"The session has no volume {volume!r}"
        raise InputError(f"{given}; the session has {known}.")
    return volume
