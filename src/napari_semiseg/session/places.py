"""Where sessions are created unless the annotator chooses a place."""

from __future__ import annotations

import os
from pathlib import Path

from napari_semiseg.session.schema import safe_id

SUFFIX = ".semiseg"


def default_folder() -> Path:
    """Return where sessions are created: ``napari-semiseg`` in the user's documents."""
    from platformdirs import user_documents_path

    return Path(os.environ.get("SEMISEG_SESSIONS", user_documents_path() / "napari-semiseg"))


def default_path(name: str) -> Path:
    """Return a place for a new session of a name that is not taken yet."""
    folder = default_folder()
    stem = safe_id(name, ())
    number = 1
    while (path := folder / f"{stem}{'' if number == 1 else f'-{number}'}{SUFFIX}").exists():
        number += 1
    return path
