"""Write files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_semiseg.errors import StorageError


def write_files(folder: Path, contents: dict[str, bytes], check: Callable[[Path], None] | None = None) -> None:
    """Write several files that belong together.

    They are written to a folder beside their destination, brought to the disk and checked there, and then renamed one
    by one in the order of ``contents``; put the file that the others need first.

    Parameters
    ----------
    folder : Path
        Destination; it must exist.
    contents : dict of str to bytes
        File name and content.
    check : callable, optional
        ``check(temporary_folder)`` raises if what was written is not what was meant; nothing is renamed then.

    Raises
    ------
    StorageError
        If the folder is missing, the disk is full or permission is denied.
    """
    target = folder / next(reversed(contents))
    with storing(target):
        if not folder.is_dir():
            raise StorageError(
                f"'{target}' cannot be written: there is no folder '{folder}'. Create it or choose another."
            )
        for name in contents:
            if (folder / name).is_dir():
                raise StorageError(f"'{folder / name}' cannot be written: it is a folder. Choose another file name.")
        waiting = Path(tempfile.mkdtemp(prefix=".semiseg-", dir=folder))
        try:
            for name, content in contents.items():
                with (waiting / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if check is not None:
                check(waiting)
            for name in contents:
                (waiting / name).replace(folder / name)
            _sync_folder(folder)
        finally:
            shutil.rmtree(waiting, ignore_errors=True)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an `OSError` of writing to ``path`` into a `StorageError` sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full. Free some space or choose another disk"
        elif error.errno == errno.EROFS:
            reason = "the disk is read-only. Choose a folder on another disk"
        elif error.errno in (errno.EACCES, errno.EPERM):
            reason = "permission is denied. Choose a folder of your own"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            reason = f"the folder '{path.parent}' is not there. Create it or choose another"
        elif error.errno == errno.ENAMETOOLONG:
            reason = "the name is too long. Choose a shorter one"
        else:
            reason = f"{error.strerror or error}. Check the disk or choose another one"
        raise StorageError(f"'{path}' cannot be written: {reason}.") from error


def _sync_folder(folder: Path) -> None:
    """Bring the renaming itself to the disk, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives cannot
            raise
    finally:
        os.close(handle)
