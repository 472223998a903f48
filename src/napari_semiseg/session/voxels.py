"""Decoded images on the user's disk: a volume that was opened once opens at once the next time.

An image is kept as a plain array beside a note of what it was decoded from. It is mapped into memory, not read: only
the planes that are looked at cost time and memory. Whatever is in the folder can be deleted; it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.session.schema import VolumeRecord
from napari_semiseg.session.storage import read_json

LIMIT_BYTES = 16 * 2**30
"""All arrays together; the longest unused go first."""
FREE_SHARE = 0.1
"""This part of the disk stays free."""
_LAYOUT = 1
# The voxels of these lie in a second file, of which the first one's time stamp says nothing.
_PAIRS = (".hdr", ".img", ".nhdr", ".mhd")


def folder() -> Path:
    """Return where decoded images are kept: the user's cache, or ``$SEMISEG_CACHE``."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SEMISEG_CACHE") or user_cache_path("napari-semiseg", appauthor=False) / "voxels")


def recall(record: VolumeRecord) -> np.ndarray | None:
    """Return the decoded image of a volume, mapped into memory; None if it is not known, or its file was touched since.

    Returns
    -------
    ndarray, shape (planes, rows, columns), or None
        Read-only.
    """
    place = _place(record)
    try:
        known = read_json(place.with_suffix(".json"))
        if known["stamp"] != _stamp(record):
            return None
        array = np.load(place, mmap_mode="r", allow_pickle=False)
        os.utime(place)
    except (InputError, OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return np.asarray(array) if array.shape == record.geometry.shape else None


def keep(record: VolumeRecord, data: np.ndarray) -> bool:
    """Keep the decoded image of a volume for the next time, where there is room for it.

    Parameters
    ----------
    record : VolumeRecord
        Its file was compared with its hash just now.
    data : ndarray, shape (planes, rows, columns)

    Returns
    -------
    bool
        Whether it is kept; nobody depends on it.
    """
    stamp = _stamp(record)
    place = _place(record)
    beside = place.with_name(f".{uuid.uuid4().hex[:12]}.partial")
    if stamp is None:
        return False
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_room(place.parent, data.nbytes)
        disk = shutil.disk_usage(place.parent)
        if data.nbytes > LIMIT_BYTES or disk.free - data.nbytes < FREE_SHARE * disk.total:
            return False
        with beside.open("wb") as file:
            np.save(file, np.ascontiguousarray(data), allow_pickle=False)
        beside.replace(place)
        beside.write_text(json.dumps({"stamp": stamp, "source": str(record.source)}))
        beside.replace(place.with_suffix(".json"))
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        return False
    return True


def _place(record: VolumeRecord) -> Path:
    said = [_LAYOUT, record.hash, record.frame, record.series, record.axis, record.replace_nonfinite]
    return folder() / f"{hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()}.npy"


def _stamp(record: VolumeRecord) -> list[list[str | int]] | None:
    """Return size and time of every file of an image; None where they would not tell of every change."""
    source = record.source
    if record.geometry.format == "dicom" and not source.is_dir():
        source = source.parent
    if source.name.lower().removesuffix(".gz").endswith(_PAIRS):
        return None
    try:
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        status = [(path, path.stat()) for path in files]
    except OSError:
        return None
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in status]


def _make_room(place: Path, size: int) -> None:
    """Delete the arrays that were not used for longest, until there is room for another one."""
    found = sorted(((path.stat(), path) for path in place.glob("*.npy")), key=lambda item: item[0].st_mtime)
    total = sum(stat.st_size for stat, _ in found)
    for stat, path in found:
        if total + size <= LIMIT_BYTES:
            return
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        total -= stat.st_size
