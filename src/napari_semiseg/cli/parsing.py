"""Turning command-line text into values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from napari_semiseg.api import Source
from napari_semiseg.errors import InputError


def parse_volumes(arguments: Sequence[str]) -> list[Source]:
    """Read ``--volume A --labels MA --complete-slices 3,17 --volume B …`` in their order.

    Option parsers collect repeated options into one list each and lose which labels follow which volume.

    Raises
    ------
    InputError
        If ``--labels``, ``--complete-slices`` or ``--looked-for`` comes before any ``--volume``, or twice for one.
    """
    found: list[dict[str, Any]] = []
    for option, value in _pairs(arguments):
        if option == "--volume":
            found.append({"image": value})
            continue
        field = option.removeprefix("--").replace("-", "_")
        if not found:
            raise InputError(f"{option} {value} comes before any --volume; put it after the volume it belongs to.")
        if field in found[-1]:
            raise InputError(f"{option} was given twice for the volume {found[-1]['image']}; give it once.")
        found[-1][field] = _PARSERS.get(field, str)(value)
    return [Source(**source) for source in found]


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    wanted = ("--volume", "--labels", "--complete-slices", "--looked-for")
    pairs = []
    remaining = iter(arguments)
    for argument in remaining:
        option, joined, value = argument.partition("=")
        if option in wanted:
            pairs.append((option, value if joined else next(remaining, "")))
    return pairs


def parse_slices(text: str, option: str = "--complete-slices") -> tuple[int, ...]:
    """Read ``3,17``.

    Raises
    ------
    InputError
        For anything but non-negative whole numbers.
    """
    try:
        slices = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        slices = (-1,)
    if any(plane < 0 for plane in slices):
        raise InputError(f"{option} was given {text!r}; expected whole numbers from 0, such as 3,17.")
    return slices


def parse_looked_for(text: str) -> tuple[int, ...] | None:
    """Read ``1,2``, or ``all``.

    Raises
    ------
    InputError
        For anything else, and ids outside 1–254.
    """
    if text.strip() == "all":
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and 1 <= int(part) <= 254 for part in parts):
        raise InputError(f"--looked-for was given {text!r}; expected class ids such as 1,2, or all.")
    return tuple(int(part) for part in parts)


_PARSERS = {"complete_slices": parse_slices, "looked_for": parse_looked_for}


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read ``20,120``; whole numbers become int.

    Raises
    ------
    InputError
        For anything but numbers from 0.
    """
    try:
        numbers = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise InputError(f"{option} was given {text!r}; expected numbers from 0, such as 20,120.")
    return tuple(int(number) if number.is_integer() else number for number in numbers)


def parse_names(text: str | None) -> tuple[str, ...]:
    """Read names of volumes: ``a,b``."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def parse_classes(text: str | None) -> dict[int, str] | None:
    """Read ``1=left atrium,2=aorta``.

    Raises
    ------
    InputError
        For anything else, ids outside 1–254, or an id given twice.
    """
    if text is None:
        return None
    classes: dict[int, str] = {}
    for part in text.split(","):
        number, equals, name = part.partition("=")
        if not equals or not number.strip().isdigit() or not 1 <= int(number) <= 254 or not name.strip():
            raise InputError(
                f'--classes was given {part!r}; expected id=name with an id of 1 to 254, such as "1=left atrium".'
            )
        if int(number) in classes:
            raise InputError(f"--classes names the id {int(number)} twice; give each id once.")
        classes[int(number)] = name.strip()
    return classes


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``field=value`` pairs; values are JSON where they can be, else text.

    Raises
    ------
    InputError
        For a pair without ``=``.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set was given {pair!r}; expected field=value, such as crop=160.")
        try:
            settings[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            settings[name.strip()] = value
    return settings
