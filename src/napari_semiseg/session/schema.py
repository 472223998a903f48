"""What ``session.json`` and ``slices.json`` hold."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry
from napari_semiseg.session.versions import SESSION

_SAFE_ID = r"^[a-z0-9][a-z0-9_-]{0,63}$"

# Okabe and Ito's colours, which people with colour-blindness tell apart, then further ones of like brightness.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
    "#9a6324", "#42d4f4", "#bfef45", "#fabed4", "#aaffc3", "#dcbeff", "#fffac8",
)  # fmt: skip


class SliceState(StrEnum):
    """What the annotator says about a whole plane.

    What is painted on a proposed plane came from a tool (interpolation, copying) and says nothing until the annotator
    paints on it or confirms it.
    """

    UNLABELLED = "unlabelled"
    PROPOSED = "proposed"
    SCRIBBLED = "scribbled"
    COMPLETE = "complete"
    REVIEWED = "reviewed"


class LabelClass(BaseModel):
    """A structure that is looked for.

    Attributes
    ----------
    id : int
        1 to 254: its value in masks.
    name : str
    colour : str
        ``#rrggbb``.
    key : str
        Shortcut key, may be empty.
    locked : bool
        No tool overwrites or erases what is painted of it.
    """

    model_config = ConfigDict(frozen=True)

    id: int = Field(ge=1, le=254)
    name: str = Field(min_length=1, max_length=200)
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    key: str = Field("", max_length=1)
    locked: bool = False

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        return int(self.colour[1:3], 16), int(self.colour[3:5], 16), int(self.colour[5:7], 16)


class VolumeRecord(BaseModel):
    """A volume of the session: where its image is and how it lies.

    Attributes
    ----------
    id : str
        Name of its folder in the session.
    name : str
    source : Path
        Image file or DICOM folder; relative to the session folder in the file, absolute in memory.
    frame, series : int, str or None
    axis : int
        File axis along which planes run.
    hash : str
        SHA-256 of the image.
    geometry : Geometry
    notes : tuple of str
    replace_nonfinite : bool
    looked_for : tuple of int, or None
        Ids of the classes that are looked for in this volume; None for all, those to come as well. What is background
        on a complete slice may be one of the others.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    id: str = Field(pattern=_SAFE_ID)
    name: str
    source: Path
    frame: int | None = None
    series: str | None = None
    axis: int = Field(ge=0, le=2)
    hash: str
    geometry: Geometry
    notes: tuple[str, ...] = ()
    replace_nonfinite: bool = False
    looked_for: tuple[int, ...] | None = None

    def unsought(self, class_ids: Iterable[int]) -> frozenset[int]:
        """Return those of some class ids that are not looked for in this volume."""
        sought = self.looked_for
        return frozenset() if sought is None else frozenset(i for i in class_ids if i and i not in sought)

    @field_validator("geometry", mode="before")
    @classmethod
    def _geometry(cls, value: Any) -> Any:
        return Geometry.from_json(value) if isinstance(value, dict) else value

    def to_json(self, folder: Path, *, beside: bool = True) -> dict[str, Any]:
        """Return JSON-able values; see `stored_path` for how the image is named."""
        content = self.model_dump(mode="json", exclude={"geometry", "source"})
        return {**content, "source": stored_path(self.source, folder, beside), "geometry": self.geometry.to_json()}


def stored_path(source: Path, folder: Path, beside: bool = True) -> str:
    """Return a path relative to the session if the image lies in the session's folder, else absolute.

    With ``beside``, images in or below the folder that holds the session are relative too: they move together with it.
    """
    source, folder = source.absolute(), folder.absolute()
    if source.is_relative_to(folder.parent if beside else folder):
        return Path(os.path.relpath(source, folder)).as_posix()
    return str(source)


def restored_path(stored: str, folder: Path) -> Path:
    """Undo `stored_path`.

    Raises
    ------
    InputError
        If a relative path leads further than beside the session folder.
    """
    path = Path(stored)
    if path.is_absolute():
        return path
    resolved = Path(os.path.normpath(folder.absolute() / path))
    if not resolved.is_relative_to(folder.absolute().parent):
        raise InputError(
            f"{folder / 'session.json'} names the image {stored!r} outside its surroundings; repair the path."
        )
    return resolved


class SessionFile(BaseModel):
    """The content of ``session.json``."""

    classes: list[LabelClass]
    volumes: list[VolumeRecord]
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _no_id_twice(self) -> SessionFile:
        for kind, ids in (("class", [c.id for c in self.classes]), ("volume", [v.id for v in self.volumes])):
            if len(set(ids)) < len(ids):
                raise ValueError(f"a {kind} id occurs twice")
        return self


def parse_session(content: Any, folder: Path) -> SessionFile:
    """Check the content of ``session.json``.

    Raises
    ------
    InputError
        If it is damaged or of a newer version.
    """
    place = folder / "session.json"
    content = SESSION.migrated(content, place)
    try:
        for record in content["volumes"]:
            record["source"] = restored_path(str(record["source"]), folder)
        return SessionFile.model_validate(content)
    except InputError as error:
        raise InputError(f"{place} is damaged ({str(error).rstrip('.')}); restore it from a backup.") from None
    except (ValidationError, KeyError, TypeError, AttributeError, IndexError, OverflowError, ValueError) as error:
        what = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, what["loc"])) or "content"
        raise InputError(f"{place} is damaged ({where}: {what['msg']}); restore it from a backup.") from None


def safe_id(name: str, taken: Collection[str]) -> str:
    """Return a folder name made of a volume's name, unlike those that are taken."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48] or "volume"
    candidate, number = slug, 2
    while candidate in taken:
        candidate, number = f"{slug}-{number}", number + 1
    return candidate
