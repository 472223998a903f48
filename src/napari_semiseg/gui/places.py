"""Where sessions go unless told otherwise."""

from __future__ import annotations

import re
from pathlib import Path

from platformdirs import user_documents_path

SUFFIX = ".semiseg"


def default_place(name: str, folder: Path | None = None) -> Path:
    """Return a free folder for a session, named after its first volume.

    Parameters
    ----------
    name : str
        Name of the volume.
    folder : path, optional
        Parent folder; ``semiseg`` in the user's documents by default.
    """
    parent = folder or user_documents_path() / "semiseg"
    stem = re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "session"
    place = parent / f"{stem}{SUFFIX}"
    number = 2
    while place.exists():
        place = parent / f"{stem}-{number}{SUFFIX}"
        number += 1
    return place


def short(place: Path) -> str:
    """Return a path with the home folder as ``~``."""
    try:
        return str(Path("~") / place.relative_to(Path.home()))
    except ValueError:
        return str(place)
