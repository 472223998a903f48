"""What a benchmark leaves: one row for every peer, round and volume, and the file that holds them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_semiseg import __version__
from napari_semiseg.benchmark.design import Design, Trial
from napari_semiseg.errors import InputError
from napari_semiseg.io.atomic import write_files

METRICS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "ASD (mm)"}


class Row(BaseModel):
    """What one peer made of one volume in one round.

    Attributes
    ----------
    set, case, peer : str
    where : str
        ``annotated volumes``, judged on the slices that were not annotated, or ``other volumes``, of which none was.
    round, count : int
        ``count`` slices of every annotated volume were annotated.
    slices : list of int
        Which ones of this volume.
    budget : str
        Of peers that train.
    seed : int
    seconds : float
        From the annotation to the prediction of all volumes, preparation included.
    scores : dict of int to dict of str to (float or None)
        ``dice``, ``hd95_mm`` and ``asd_mm`` by class id, of classes that the reference or the prediction shows there.
        An empty prediction has no distance. Nothing where the peer cannot segment such a volume; a Dice of 0 where it
        should have and failed.
    corrected_pixels : int or None
        What was wrong in this peer's last prediction on the slices that were annotated after it.
    note : str
        What was chosen and why, or why it failed.
    failed : bool
    trial : dict
        What the row shares with those of no other trial.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: str
    case: str
    peer: str
    where: str
    round: int
    count: int
    slices: list[int]
    budget: str
    seed: int
    seconds: float
    scores: dict[int, dict[str, float | None]]
    corrected_pixels: int | None = None
    note: str = ""
    failed: bool = False
    trial: dict[str, Any]

    def replaces(self, other: Row) -> bool:
        """Return whether this is the other one measured again."""
        same = ("set", "case", "peer", "round", "budget", "seed", "trial")
        return all(getattr(self, name) == getattr(other, name) for name in same)

    def mean(self, metric: str = "dice") -> float | None:
        """Return the mean over the classes that have the metric, None where none has."""
        values = [score[metric] for score in self.scores.values()]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def is_of(self, trial: Trial, design: Design, peer: str) -> bool:
        """Return whether a peer made it in a trial, in one of the design's rounds."""
        return (
            (self.set, self.peer, self.budget, self.seed) == (trial.title, peer, trial.budget, trial.seed)
            and self.round <= design.rounds
            and self.trial == trial.key(design)
        )


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, none where there is no file.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    if not path.exists():
        return []
    try:
        return [Row.model_validate(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except (ValidationError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} holds no results of a benchmark; choose another folder, or move it away.") from None


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, and what they were measured on."""
    content = {
        "package": __version__,
        "processor": platform.processor() or platform.machine(),
        "rows": [row.model_dump(mode="json") for row in rows],
    }
    write_files(path.parent, {path.name: (json.dumps(content, indent=1) + "\n").encode()})


def mean_of(rows: Sequence[Row], metric: str = "dice") -> float | None:
    """Return the mean over volumes and seeds, None where no row has the metric."""
    values = [value for row in rows if (value := row.mean(metric)) is not None]
    return float(np.mean(values)) if values else None
