"""Registrations on disk, found by what the images contain (docs/decisions/0011)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import torch

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.errors import StorageError
from napari_semiseg.io.atomic import storing, write_files
from napari_semiseg.registration.images import Image

_VERSION = 1  # of the way registrations are estimated: others are not found again
_LIMIT = 1_000_000_000  # bytes; beyond it the files that were not used for longest go


def default_folder() -> Path:
    """Return where registrations are kept: the user's cache folder, or ``$SEMISEG_CACHE``."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("SEMISEG_CACHE") or user_cache_path("napari-semiseg", appauthor=False)) / "registrations"


class Cache:
    """Keeps maps between images; a file that is damaged, or a disk that is full, costs time and nothing else.

    Parameters
    ----------
    folder : Path, optional
        `default_folder` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def path(self, fixed: Image, moving: Image, *, deformable: bool) -> Path:
        """Return the file of a registration: a hash of both images' content and the settings."""
        key = f"{_VERSION} {fixed.digest} {moving.digest} {'splines' if deformable else 'affine'}"
        return self.folder / f"{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}.npz"

    def load(self, path: Path) -> PointMap | None:
        """Return what a file holds, None where there is none or it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: np.asarray(arrays[name], dtype=np.float32) for name in arrays.files}
            os.utime(path)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        offset, matrix = found.get("offset"), found.get("matrix")
        if offset is None or matrix is None or matrix.shape != (len(offset),) * 2 or len(offset) not in (2, 3):
            return None
        field, step = found.get("displacement"), found.get("step", np.zeros(0))
        if field is not None and (
            field.ndim != len(offset) + 1 or len(field) != len(offset) or len(step) != len(offset)
        ):
            return None
        if not all(np.isfinite(values).all() for values in found.values()):
            return None
        displacement = None if field is None else torch.from_numpy(field)
        return PointMap(torch.from_numpy(matrix), torch.from_numpy(offset), displacement, tuple(step.tolist()))

    def store(self, path: Path, phi: PointMap) -> None:
        """Keep a registration, if the disk lets us."""
        arrays = {"matrix": phi.matrix.numpy(), "offset": phi.offset.numpy()}
        if phi.displacement is not None:
            arrays |= {"displacement": phi.displacement.numpy(), "step": np.array(phi.step)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with contextlib.suppress(StorageError):
            with storing(path):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_files(self.folder, {path.name: buffer.getvalue()})

    def trim(self, limit: int = _LIMIT) -> None:
        """Remove the files that were not used for longest until the rest is smaller than ``limit`` bytes."""
        with contextlib.suppress(OSError):
            files = sorted(self.folder.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
            used = 0
            for file in files:
                used += file.stat().st_size
                if used > limit:
                    file.unlink(missing_ok=True)
