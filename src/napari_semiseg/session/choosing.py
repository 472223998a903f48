"""Which volumes of a session are meant, and which classes are looked for in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from napari_semiseg.errors import InputError
from napari_semiseg.session.schema import LabelClass, VolumeRecord


def chosen(volumes: Mapping[str, VolumeRecord], wanted: Sequence[str]) -> list[str]:
    """Return the ids of the volumes that are wanted, by id or by name, in the order of the session.

    Parameters
    ----------
    volumes : mapping of str to VolumeRecord
        Those of the session, by id.
    wanted : sequence of str
        Empty for all.

    Raises
    ------
    InputError
        If there is no such volume, or several have the name.
    """
    found: set[str] = set()
    for name in wanted:
        same = [name] if name in volumes else [i for i, record in volumes.items() if record.name == name]
        if not same:
            raise InputError(f"The session has no volume {name!r}; it has {', '.join(volumes) or 'none'}.")
        if len(same) > 1:
            raise InputError(f"{len(same)} volumes have the name {name!r}; choose by id: {', '.join(same)}.")
        found.add(same[0])
    return [volume for volume in volumes if volume in found or not wanted]


def looking_for(record: VolumeRecord, class_ids: Collection[int] | None, classes: Sequence[LabelClass]) -> VolumeRecord:
    """Return a volume in which only some classes are looked for, or all (None).

    Raises
    ------
    InputError
        If none is named, or one that does not exist.
    """
    if class_ids is None:
        return record.model_copy(update={"looked_for": None})
    known = {entry.id: entry.name for entry in classes}
    unknown = sorted(set(class_ids) - set(known))
    if unknown or not class_ids:
        listed = ", ".join(f"{i} ({name})" for i, name in known.items()) or "none yet"
        given = f"there is no class {unknown[0]}" if unknown else "no class was named"
        raise InputError(f"What is looked for in {record.name} was not changed: {given}; the classes are {listed}.")
    return record.model_copy(update={"looked_for": tuple(sorted(set(class_ids)))})


def without_class(volumes: Mapping[str, VolumeRecord], class_id: int) -> dict[str, VolumeRecord]:
    """Return the volumes after a class was removed: nobody looks for it any more."""
    return {
        i: record
        if record.looked_for is None
        else record.model_copy(update={"looked_for": tuple(c for c in record.looked_for if c != class_id)})
        for i, record in volumes.items()
    }
