"""Hook of mkdocs: fills ``folder/*`` in the navigation with the pages of that folder that are not named beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Expand the navigation."""
    config.nav = expanded(config.nav, Path(config.docs_dir))
    return config


def expanded(entries: list[Any], folder: Path) -> list[Any]:
    """Return navigation entries with every ``folder/*`` replaced by its pages, in order of their names."""
    named = {page for entry in entries if isinstance(entry, dict) for page in entry.values() if isinstance(page, str)}
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            found.append({t: expanded(v, folder) if isinstance(v, list) else v for t, v in entry.items()})
        elif entry.endswith("/*"):
            pages = sorted(page.relative_to(folder).as_posix() for page in (folder / entry[:-2]).glob("*.md"))
            found += [page for page in pages if page not in named]
        else:
            found.append(entry)
    return found
