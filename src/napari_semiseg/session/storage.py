"""Reading and writing the files of the session folder; a crash leaves the old or the new content, never a half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_semiseg.errors import InputError
from napari_semiseg.io.atomic import storing, write_files

__all__ = ["read_json", "storing", "write_bytes", "write_json"]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises
    ------
    StorageError
    """
    write_files(path.parent, {path.name: content})


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically.

    Raises
    ------
    StorageError
    """
    write_bytes(path, json.dumps(content, indent=1, allow_nan=False).encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing; the session folder is incomplete.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the disk.") from None
    except ValueError:
        raise InputError(f"{path} is damaged (not JSON); restore it from a backup.") from None
