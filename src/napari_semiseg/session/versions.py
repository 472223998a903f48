"""Versions of the session's JSON files: how the content of an older one becomes that of today.

To change what a file holds, append a function to its steps and store a sample of the new version in
``tests/session/versions``. A step gets the content of one version and returns that of the next; the number itself is
counted here. Whoever only reads migrates in memory; the file changes when it is written next, and the old one is kept
beside it (``session.v1.json``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_semiseg.errors import InputError, NewerError
from napari_semiseg.session.storage import read_json, storing, write_bytes, write_json

Content = dict[str, Any]
Step = Callable[[Content], Content]
FIELD = "schema_version"


@dataclass(frozen=True)
class Schema:
    """The versions of one kind of file.

    Attributes
    ----------
    steps : tuple of callable
        The first turns version 1 into version 2, and so on.
    """

    steps: tuple[Step, ...] = ()

    @property
    def version(self) -> int:
        """The version that is written."""
        return len(self.steps) + 1

    def migrated(self, content: Any, place: Path) -> Content:
        """Return the content as a file of today's version has it.

        Parameters
        ----------
        content : object
            What was read.
        place : Path
            Where from, for the sentence.

        Raises
        ------
        InputError
            If it has no version, a newer one, or does not hold what its version says.
        """
        version = _version_of(content)
        if version is None:
            raise InputError(f"{place} is damaged (no schema version); restore it from a backup.")
        if version > self.version:
            raise NewerError(
                f"{place} was written by a newer napari-semiseg (schema {version}, this one knows {self.version}); "
                "update to open it."
            )
        try:
            for step in self.steps[version - 1 :]:
                content = step(content)
            return {**content, FIELD: self.version}
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise InputError(
                f"{place} is damaged ({error!r} in version {version}); restore it from a backup."
            ) from None

    def read(self, place: Path) -> Content:
        """Read a file of any version up to today's.

        Raises
        ------
        InputError
            If it is missing, damaged or newer.
        """
        return self.migrated(read_json(place), place)

    def write(self, place: Path, content: Mapping[str, Any]) -> None:
        """Write a file in today's version; one of an older version is kept beside it first.

        Raises
        ------
        StorageError
        """
        self._keep_older(place)
        write_json(place, {FIELD: self.version, **content})

    def _keep_older(self, place: Path) -> None:
        try:
            version = _version_of(read_json(place))
        except InputError:
            return  # there is none yet, or nothing that is worth keeping
        kept = place.with_name(f"{place.stem}.v{version}{place.suffix}")
        if version is not None and version < self.version and not kept.exists():
            with storing(kept):
                old = place.read_bytes()
            write_bytes(kept, old)


def _version_of(content: Any) -> int | None:
    version = content.get(FIELD) if isinstance(content, dict) else None
    return version if isinstance(version, int) and not isinstance(version, bool) and version >= 1 else None


def _looked_for(content: Content) -> Content:
    """Version 2 says in which volumes only some classes were looked for; before, all were in all."""
    volumes = [{**volume, "looked_for": None} for volume in content["volumes"]]
    return {**content, "volumes": volumes}


SESSION = Schema((_looked_for,))
"""``session.json``."""

SLICES = Schema((dict,))
"""``volumes/<id>/slices.json``; version 2 knows the state "proposed", which older programs cannot read."""

ROUND = Schema()
"""``rounds/N/config.json``."""
