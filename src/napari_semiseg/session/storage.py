"""Reading and writing the files of the session folder; a crash leaves the old or the new content, never a half."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_semiseg.errors import InputError
from napari_semiseg.io.atomic import storing, write_files

__all__ = ["read_json", "storing", "write_bytes", "write_files", "write_json"]


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path : Path
    content : bytes
    durable : bool
        Wait until it is on the disk. Without, a power failure (not a crash of the program) may lose it.

    Raises
    ------
    StorageError
    """
    if durable:
        write_files(path.parent, {path.name: content})
        return
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with storing(path):
        try:
            beside.write_bytes(content)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write JSON atomically; parameters as in `write_bytes`.

    Raises
    ------
    StorageError
    """
    write_bytes(path, json.dumps(content, indent=1, allow_nan=False).encode(), durable=durable)


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
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged (not JSON); restore it from a backup.") from None
