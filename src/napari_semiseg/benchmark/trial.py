"""The annotator annotates, every peer segments what is left, and the reference judges, round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from napari_semiseg.benchmark.annotator import Annotator, wrong_pixels
from napari_semiseg.benchmark.cases import Case
from napari_semiseg.benchmark.design import Design, Trial, trials_of
from napari_semiseg.benchmark.peers import Outcome, Task, peer_of
from napari_semiseg.benchmark.record import Row
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.engine.device import choose_device
from napari_semiseg.engine.evaluate import evaluate
from napari_semiseg.engine.maps import Maps
from napari_semiseg.errors import InputError

Course = list[list[list[int]]]
"""Annotated planes by round and by annotated volume."""


def run(
    sets: Mapping[str, Sequence[Case]],
    design: Design,
    known: Iterable[Row] = (),
    tell: Callable[[str, float], object] = lambda what, part: None,
) -> Iterator[Row]:
    """Try everything that a design asks for and that is not known yet.

    Parameters
    ----------
    sets : mapping of str to sequence of Case
        Cases by the title of the data set.
    design : Design
    known : iterable of Row
        Of an earlier run: what peers did in trials that are complete among them is not repeated.
    tell : callable
        Hears what is done now and which part of everything is over, 0 to 1.

    Yields
    ------
    Row
        For every peer, round and volume.

    Raises
    ------
    InputError
        For peers or a device that do not exist, and cases that cannot be annotated as the design asks.
    """
    choose_device(design.device)
    for name in design.peers:
        peer_of(name)
    trials = list(trials_of(sets, design))
    courses = [_first(trial, design.annotator()) for trial in trials]
    known = list(known)
    total = len(trials) * len(design.peers)
    for index, (trial, course) in enumerate(zip(trials, courses, strict=True)):
        for turn, name in enumerate(design.peers):
            mine = [row for row in known if row.is_of(trial, design, name)]
            if len(mine) == design.rounds * len(trial.cases):
                course[:] = _course_of(mine, trial)
                continue
            begun = index * len(design.peers) + turn

            def progress(part: float, what: str = f"{name}, {trial.title}", begun: int = begun) -> None:
                tell(what, (begun + part) / total)

            yield from _attempt(trial, name, course, design, progress)


def _first(trial: Trial, annotator: Annotator) -> Course:
    return [[annotator.first(case, trial.slices, trial.seed) for case in trial.cases[: trial.annotated]]]


def _course_of(rows: Sequence[Row], trial: Trial) -> Course:
    """Return which planes were annotated in an earlier run."""
    slices = {(row.round, row.case): list(row.slices) for row in rows}
    rounds = range(1, 1 + max(row.round for row in rows))
    return [[slices[number, case.name] for case in trial.cases[: trial.annotated]] for number in rounds]


def _attempt(trial: Trial, name: str, course: Course, design: Design, tell: Callable[[float], object]) -> Iterator[Row]:
    """Let one peer segment the volumes of a trial in every round; the first peer's predictions extend the course."""
    annotator, peer = design.annotator(), peer_of(name)
    outcome, before = Outcome({}), [list[int]() for _ in course[0]]
    for number in range(1, design.rounds + 1):
        if len(course) < number:
            course.append(_next(trial, annotator, before, outcome.maps, design.added))
        now = course[number - 1]
        effort = _effort(trial, outcome.maps, before, now)
        task = Task(
            volumes=_volumes(trial, annotator, now, before if number > 1 else now),
            budget=design.budgets()[trial.budget],
            seed=trial.seed,
            start=None if design.fresh else outcome.model,
            options={"device": design.device, "threads": design.threads, "settings": design.settings},
            tell=lambda part, done=number - 1: tell((done + part) / design.rounds),  # type: ignore[misc]
        )
        began = time.perf_counter()
        outcome = _tried(peer, task)
        seconds = round(time.perf_counter() - began, 2)
        for index, case in enumerate(trial.cases):
            planes = now[index] if index < trial.annotated else []
            yield Row(
                set=trial.title,
                case=case.name,
                peer=name,
                where="annotated volumes" if planes else "other volumes",
                round=number,
                count=len(now[0]),
                slices=planes,
                budget=trial.budget,
                seed=trial.seed,
                seconds=seconds,
                scores=_judge(case, outcome, trial.ids, planes),
                corrected_pixels=effort.get(case.name),
                note=outcome.note,
                failed=outcome.failed,
                trial=trial.key(design),
            )
        before = now


def _tried(peer: Callable[[Task], Outcome], task: Task) -> Outcome:
    """Return what a peer made of a task; one in which it fails counts as one in which it found nothing."""
    try:
        return peer(task)
    except InputError as error:
        return Outcome({}, note=str(error), failed=True)


def _next(
    trial: Trial, annotator: Annotator, taken: Sequence[Sequence[int]], maps: Mapping[str, Maps], added: int
) -> list[list[int]]:
    """Return the annotated planes of the next round.

    Raises
    ------
    InputError
        If the policy follows predictions and there are none.
    """
    following = []
    for case, planes in zip(trial.cases, taken, strict=False):
        now = list(planes)
        for _ in range(added):
            plane = annotator.next(case, now, maps.get(case.name), trial.seed)
            now += [] if plane is None else [plane]
        following.append(sorted(now))
    return following


def _volumes(
    trial: Trial, annotator: Annotator, now: Sequence[Sequence[int]], before: Sequence[Sequence[int]]
) -> list[TrainingVolume]:
    """Return the volumes as they are annotated; planes that were not annotated before are corrections."""
    made = []
    for index, case in enumerate(trial.cases):
        planes, earlier = (now[index], before[index]) if index < trial.annotated else ([], [])
        labels = annotator.labels(case, planes, trial.seed)
        corrected = frozenset(planes) - frozenset(earlier)
        made.append(TrainingVolume(case.name, case.image, case.spacing, labels, corrected))
    return made


def _effort(
    trial: Trial, maps: Mapping[str, Maps], before: Sequence[Sequence[int]], now: Sequence[Sequence[int]]
) -> dict[str, int]:
    """Return by volume how many pixels of the prediction were wrong on the planes that were annotated after it."""
    efforts = {}
    for case, earlier, planes in zip(trial.cases, before, now, strict=False):
        if case.name in maps:
            wrong = wrong_pixels(maps[case.name].labels, case.reference)
            efforts[case.name] = int(wrong[sorted(set(planes) - set(earlier))].sum())
    return efforts


def _judge(
    case: Case, outcome: Outcome, ids: Sequence[int], annotated: Collection[int]
) -> dict[int, dict[str, float | None]]:
    """Return Dice, HD95 and ASD (mm) by class id, of the planes that were not annotated; see `Row`."""
    if case.name in outcome.maps:
        labels = outcome.maps[case.name].labels
    elif outcome.failed:
        labels = np.zeros_like(case.reference)
    else:
        return {}
    found = evaluate(labels, case.reference, case.spacing, skip_planes=annotated)
    return {
        ids[index]: {"dice": score.dice, "hd95_mm": score.hd95_mm, "asd_mm": score.asd_mm}
        for index, score in found.items()
        if score.dice is not None
    }
