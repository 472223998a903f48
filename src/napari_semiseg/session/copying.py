"""Writing a session anew at another place, from memory and from what can still be read of its folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from napari_semiseg.errors import InputError, SemisegError
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.lock import NAME
from napari_semiseg.session.session import Session
from napari_semiseg.session.storage import storing
from napari_semiseg.session.versions import SESSION

_NOT_COPIED = shutil.ignore_patterns(".*", f"{NAME}*", "*process.json", "*control.json")


def copy_session(session: Session, place: Path) -> tuple[Session, list[str]]:
    """Write a session at another place: its disk is full or gone, its media read-only, or somebody else has it open.

    Classes, volumes and everything that was painted come from memory, rounds from the folder as far as it can be read.
    The old folder is not touched.

    Parameters
    ----------
    session : Session
    place : Path
        Must not exist yet, or be an empty folder.

    Returns
    -------
    copy : Session
        Open, and held by this program.
    missing : list of str
        What could not be copied.

    Raises
    ------
    InputError
        If there is something at the place, or it lies inside the old folder.
    StorageError
        If it cannot be written there; nothing is left behind then.
    """
    place = place.absolute()
    if place.is_relative_to(session.path):
        raise InputError(f"{place} lies inside the session {session.path}; choose a place outside.")
    with storing(place):
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise InputError(f"{place} exists already; choose another name.")
        place.mkdir(parents=True, exist_ok=True)
    try:
        missing = _copy_readable(session.path, place)
        for volume_id in session.volumes:
            if not _write_annotation(session, volume_id, place):
                missing.append(f"what was painted on {session.volumes[volume_id].name}")
        records = {
            volume_id: record.model_copy(update={"source": place / record.source.relative_to(session.path)})
            if record.source.is_relative_to(session.path)
            else record
            for volume_id, record in session.volumes.items()
        }
        SESSION.write(place / "session.json", session.content_at(place, records))
        copy = Session.open(place)
        copy.hold()
        return copy, missing
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _copy_readable(old: Path, place: Path) -> list[str]:
    """Copy what can be read, but what is written anew anyway; returns what cannot be read."""
    missing: list[str] = []
    for name in ("volumes", "rounds", "damaged"):
        if not _exists(old / name):
            if name == "rounds" and not _exists(old):
                missing.append("the rounds")
            continue
        try:
            shutil.copytree(old / name, place / name, ignore=_NOT_COPIED, dirs_exist_ok=True)
        except shutil.Error as error:
            # copytree collects what went wrong as (source, destination, reason) and copies the rest.
            missing += [_relative(source, old) for source, *_ in _entries(error)]
        except OSError:
            missing.append(name)
    return missing


def _exists(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _entries(error: shutil.Error) -> Iterable[tuple[str, ...]]:
    return [entry for entry in error.args[0] if isinstance(entry, tuple)]


def _relative(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _write_annotation(session: Session, volume_id: str, place: Path) -> bool:
    """Write what is painted on a volume: as it is in memory, which may be newer than the disk; False if it is gone."""
    folder = place / "volumes" / volume_id
    try:
        with session.visiting(volume_id) as found:
            annotation = found
    except SemisegError:
        return (folder / "slices.json").exists()  # not in memory: what was copied of it is all there is
    for name in ("annotation.zarr", "slices.json"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    shape = session.volumes[volume_id].geometry.shape
    Annotation.create(folder, shape, said=annotation.said, record=annotation.record())
    return True
