"""Folders as people read them."""

from __future__ import annotations

from pathlib import Path


def short(place: Path) -> str:
    """Return a path with the home folder as ``~``."""
    try:
        return str(Path("~") / place.relative_to(Path.home()))
    except ValueError:
        return str(place)
