"""Moving a session folder, also to another disk, so that it is always complete in one of the two places."""

from __future__ import annotations

import errno
import shutil
import uuid
from pathlib import Path

from napari_semiseg.errors import InputError
from napari_semiseg.session.storage import storing


def move_folder(old: Path, new: Path) -> None:
    """Move a folder.

    Parameters
    ----------
    old, new : Path
        Absolute; ``new`` must not exist yet, or be an empty folder.

    Raises
    ------
    InputError
        If there is something at the new place, or it lies inside the old one.
    StorageError
        If it cannot be moved; the old folder is as it was then.
    """
    if new.is_relative_to(old):
        raise InputError(f"{new} lies inside the session {old}; choose a place outside.")
    with storing(new):
        if new.is_dir() and not any(new.iterdir()):
            new.rmdir()
        if new.exists():
            raise InputError(f"{new} exists already; choose another name.")
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            old.rename(new)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        beside = new.with_name(f".{new.name}.{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(old, beside)
            beside.rename(new)
        except shutil.Error as error:
            # copytree collects what went wrong as (source, destination, reason).
            raise OSError(errno.EIO, str(error.args[0][0][2])) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
