"""What is tried: who annotates how many slices of which volumes, and what everybody gets to learn from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_semiseg.benchmark.annotator import Annotator, Policy
from napari_semiseg.benchmark.cases import Case
from napari_semiseg.benchmark.peers import DEFAULT_PEERS
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.errors import InputError


class Design(BaseModel):
    """What is tried.

    Attributes
    ----------
    peers : tuple of str
        The annotator sees the predictions of the first one: where a policy follows them, they choose the slices for
        all.
    slices : tuple of int
        Annotated slices to begin with, of every annotated volume; each is a trial of its own.
    rounds, added : int
        After every round the annotator annotates so many further slices of each volume, and everybody goes on from
        what they learned (or begins anew, with ``fresh``).
    seconds, steps : tuple of float, tuple of int
        Budgets of peers that train, each a trial of its own; one of the two. Runs are repeatable by steps only.
    seeds : tuple of int
        Of the annotator and of the networks; with ``annotated``, also which volumes are annotated.
    annotated : int or None
        So many volumes of a set are annotated together and the others never are; None tries every volume alone.
    policy, jitter_mm, missed_mm2, scribbles
        See `Annotator`.
    fresh : bool
    device, threads, settings
        Of peers that train; see `engine.plan.Plan`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peers: tuple[str, ...] = Field(DEFAULT_PEERS, min_length=1)
    slices: tuple[int, ...] = Field((3, 5, 9), min_length=1)
    rounds: int = Field(1, ge=1, le=100)
    added: int = Field(1, ge=1, le=100)
    seconds: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    annotated: int | None = Field(None, ge=1)
    policy: Policy = "equidistant"
    jitter_mm: float = Field(0.0, ge=0, le=100)
    missed_mm2: float = Field(0.0, ge=0)
    scribbles: bool = False
    fresh: bool = False
    device: str = "auto"
    threads: int = Field(0, ge=0, le=1024)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Design:
        if self.seconds and self.steps:
            raise ValueError("give budgets in seconds or in steps, not both")
        if any(count < 1 for count in self.slices):
            raise ValueError("at least one slice must be annotated")
        if any(budget <= 0 for budget in (*self.seconds, *self.steps)):
            raise ValueError("budgets must be larger than 0")
        return self

    def annotator(self) -> Annotator:
        """Return who annotates."""
        return Annotator(self.policy, self.jitter_mm, self.missed_mm2, self.scribbles)

    def budgets(self) -> dict[str, dict[str, float]]:
        """Return the budgets by what tables call them; two minutes where none was given."""
        if self.steps:
            return {f"{steps} steps": {"steps": steps} for steps in self.steps}
        return {f"{seconds:g} s": {"minutes": seconds / 60} for seconds in self.seconds or (120.0,)}


@dataclass(frozen=True)
class Trial:
    """Some volumes of a data set, of which the first ones are annotated.

    Attributes
    ----------
    title : str
        Data set.
    cases : sequence of Case
        Their references hold indices of ``ids`` instead of class ids.
    ids : tuple of int
        Class id of each index; the first is 0, background.
    annotated : int
    slices : int
        Annotated slices to begin with.
    budget : str
    seed : int
    """

    title: str
    cases: Sequence[Case]
    ids: tuple[int, ...]
    annotated: int
    slices: int
    budget: str
    seed: int

    def key(self, design: Design) -> dict[str, Any]:
        """Return, JSON-able, what its rows have in common and share with those of no other trial."""
        return {
            "volumes": [case.name for case in self.cases],
            "annotated": self.annotated,
            "first": self.slices,
            "annotator": dataclasses.asdict(design.annotator()),
            "added": design.added,
            "fresh": design.fresh,
            "settings": design.settings,
        }


def trials_of(sets: Mapping[str, Sequence[Case]], design: Design) -> Iterator[Trial]:
    """Yield the trials of a design, seed by seed.

    Parameters
    ----------
    sets : mapping of str to sequence of Case
        Cases by the title of the data set.
    design : Design

    Raises
    ------
    InputError
        If a set has no volume that is left without annotation although some should be, or two volumes of one name.
    """
    for title, cases in sets.items():
        _check(title, cases, design)
        for seed in design.seeds:
            # Every seed annotates others.
            order = np.random.default_rng(seed).permutation(len(cases))
            groups = [[case] for case in cases] if design.annotated is None else [[cases[i] for i in order]]
            for slices in design.slices:
                for budget in design.budgets():
                    for group in groups:
                        yield Trial(title, *_by_index(group), design.annotated or 1, slices, budget, seed)


def _check(title: str, cases: Sequence[Case], design: Design) -> None:
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two volumes of {title} are called {twice[0]}; rename one of the files.")
    if design.annotated is not None and design.annotated >= len(cases):
        raise InputError(
            f"{design.annotated} volumes were to be annotated and {title} has {len(cases)}; at least one must be left "
            "without annotation, so give more volumes or annotate fewer."
        )


def _by_index(cases: Sequence[Case]) -> tuple[list[Case], tuple[int, ...]]:
    """Return the cases with references of class indices, and the class id of each index."""
    ids = (0, *sorted({i for case in cases for i in case.classes()}))
    table = np.full(256, UNSAID, np.uint8)
    table[list(ids)] = np.arange(len(ids))
    return [dataclasses.replace(case, reference=table[case.reference]) for case in cases], ids
