"""Which round counts as the newest: the last one, unless the annotator went back to an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_semiseg.errors import InputError
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.storage import read_json, write_json

_FILE = "restored.json"


def restore(folder: Path, rounds: Sequence[Round], number: int) -> Round:
    """Have a round count as the newest, until a later one is trained.

    Parameters
    ----------
    folder : Path
        That of the rounds.
    rounds : sequence of Round
    number : int

    Raises
    ------
    InputError
        If there is no such round, or it has no model that segments.
    StorageError
    """
    found = next((entry for entry in rounds if entry.number == number), None)
    if found is None or not found.segments:
        known = ", ".join(str(entry.number) for entry in rounds if entry.segments) or "none"
        raise InputError(f"There is no round {number} with a model that segments; rounds with one: {known}.")
    write_json(folder / _FILE, {"round": number, "instead_of": max(entry.number for entry in rounds)})
    return found


def by_recency(folder: Path, rounds: Sequence[Round]) -> list[Round]:
    """Return rounds, the oldest first, a restored one after all those that it replaced."""
    try:
        record = read_json(folder / _FILE)
        number, last = int(record["round"]), int(record["instead_of"])
    except (InputError, KeyError, TypeError, ValueError):
        return list(rounds)
    restored = [entry for entry in rounds if entry.number == number]
    others = [entry for entry in rounds if entry.number != number]
    return [
        *(entry for entry in others if entry.number <= last),
        *restored,
        *(entry for entry in others if entry.number > last),
    ]
