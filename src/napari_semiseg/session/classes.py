"""The table of classes; pure functions, so that a change that cannot be made leaves the old table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import ValidationError

from napari_semiseg.errors import InputError
from napari_semiseg.session.schema import COLOURS, LabelClass

_WRONG = {
    "id": "The class id {} cannot be used; ids are whole numbers from 1 to 254.",
    "name": "The class name {} cannot be used; a name has 1 to 200 characters.",
    "colour": "The colour {} cannot be used; write it as #rrggbb, for instance #e69f00.",
    "key": "The shortcut key {} cannot be used; a key is a single character.",
}


def new_class(
    classes: Sequence[LabelClass], class_id: int, name: str, colour: str | None = None, key: str | None = None
) -> LabelClass:
    """Return a class to add to a table; colour and key are the first free ones unless they are given.

    Raises
    ------
    InputError
        If a value cannot be used, or id or name are taken.
    """
    if any(c.id == class_id for c in classes):
        raise InputError(f"There is a class {class_id} already; choose another id.")
    taken_colours, taken_keys = {c.colour.lower() for c in classes}, {c.key for c in classes}
    free_colour = next((c for c in COLOURS if c not in taken_colours), COLOURS[class_id % len(COLOURS)])
    free_key = next((k for k in "123456789" if k not in taken_keys), "")
    values = {
        "id": class_id,
        "name": _checked_name(classes, name, None),
        "colour": free_colour if colour is None else colour,
        "key": free_key if key is None else key,
    }
    return _validated(values)


def changed_classes(classes: Sequence[LabelClass], class_id: int, **changes: str | bool | None) -> list[LabelClass]:
    """Return a table with one class changed; a key that another class has moves over.

    Raises
    ------
    InputError
        If there is no such class, or a value cannot be used.
    """
    index = index_of(classes, class_id)
    given = {field: value for field, value in changes.items() if value is not None}
    if "name" in given:
        given["name"] = _checked_name(classes, str(given["name"]), class_id)
    changed = _validated({**classes[index].model_dump(), **given})
    table = [c.model_copy(update={"key": ""}) if changed.key and c.key == changed.key else c for c in classes]
    table[index] = changed
    return table


def free_id(classes: Sequence[LabelClass], used: Collection[int]) -> int:
    """Return the smallest id that no class has and, if possible, none ever had.

    Parameters
    ----------
    classes : sequence of LabelClass
    used : collection of int
        Ids that stored models and predictions know, for classes that may have been removed since.

    Raises
    ------
    InputError
        If there are 254 classes.
    """
    taken = {c.id for c in classes}
    free = [i for i in range(1, 255) if i not in taken]
    if not free:
        raise InputError("The session has 254 classes, the most there can be; remove one first.")
    return next((i for i in free if i not in used), free[0])


def index_of(classes: Sequence[LabelClass], class_id: int) -> int:
    """Return the place of a class in a table.

    Raises
    ------
    InputError
        If there is no such class.
    """
    for index, label_class in enumerate(classes):
        if label_class.id == class_id:
            return index
    known = ", ".join(str(c.id) for c in classes) or "none"
    raise InputError(f"The session has no class {class_id}; it has {known}.")


def with_ids(classes: Sequence[LabelClass], ids: Collection[int]) -> list[LabelClass]:
    """Return a table that has all ids of a mask; those that are missing are named after their number."""
    table = list(classes)
    for class_id in sorted(set(ids) - {c.id for c in table}):
        name, number = f"class {class_id}", 2
        while any(c.name == name for c in table):
            name, number = f"class {class_id} ({number})", number + 1
        table.append(new_class(table, class_id, name))
    return table


def _checked_name(classes: Sequence[LabelClass], name: str, own_id: int | None) -> str:
    name = name.strip()
    if not name:
        raise InputError("A class needs a name.")
    if any(c.name == name and c.id != own_id for c in classes):
        raise InputError(f"There is a class {name!r} already; choose another name.")
    return name


def _validated(values: dict[str, Any]) -> LabelClass:
    try:
        return LabelClass.model_validate(values)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise InputError(_WRONG[field].format(repr(values[field])[:80])) from None
