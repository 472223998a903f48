"""Slices of a session that are set aside to judge models by: kept in ``slices.json``, noted in each round."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_semiseg.engine.holdout import choose_held_out
from napari_semiseg.errors import InputError
from napari_semiseg.session.annotation import UNSAID, Annotation
from napari_semiseg.session.schema import SliceState

if TYPE_CHECKING:
    from napari_semiseg.session.rounds import Round
    from napari_semiseg.session.session import Session

COMPLETE = (SliceState.COMPLETE, SliceState.REVIEWED)


def settle(session: Session) -> dict[str, list[int]]:
    """Choose the slices that are set aside, where the annotator did not decide; they are on disk afterwards.

    Returns
    -------
    dict of str to list of int
        Planes by volume id.

    Raises
    ------
    StorageError
    """
    rounds = session.rounds()
    chosen: dict[str, list[int]] = {}
    for volume in session.volumes:
        # Of a damaged one the run will tell.
        with suppress(InputError), session.visiting(volume):
            chosen[volume] = settle_volume(session, volume, rounds)
    return chosen


def settle_volume(session: Session, volume: str, rounds: Iterable[Round] | None = None) -> list[int]:
    """Do so for one volume."""
    annotation = session.annotation(volume)
    annotated = annotation.annotated_planes()
    chosen = choose_held_out(
        annotated,
        [plane for plane in dispensable(annotation, annotated) if annotation.states[plane] in COMPLETE],
        held=annotation.held_out,
        decided=annotation.decided,
        learned={plane for earlier in rounds or session.rounds() for plane in learned(earlier, volume)},
    )
    for plane in annotation.held_out ^ chosen:
        annotation.hold_out(plane, plane in chosen, decided=False)
    annotation.flush()
    return sorted(chosen)


def dispensable(annotation: Annotation, annotated: Collection[int]) -> list[int]:
    """Return the annotated planes without which every class still is painted on two others, or on as many as now."""
    shown = {plane: np.bincount(annotation.said[plane].ravel(), minlength=256)[1:UNSAID] > 0 for plane in annotated}
    counts = np.sum(list(shown.values()), axis=0) if shown else np.zeros(UNSAID - 1, int)
    return [plane for plane in annotated if not (shown[plane] & (counts < 3)).any()]


def hold_out(session: Session, volume: str, plane: int, held: bool = True) -> None:
    """Set a slice aside, or have it learned from, because the annotator says so.

    Raises
    ------
    InputError
        If there is no such slice, or nothing is said about it.
    StorageError
    """
    session.refuse_if_read_only()
    annotation = session.annotation(volume)
    planes = len(annotation.states)
    if not 0 <= plane < planes:
        raise InputError(f"{session.volumes[volume].name} has slices 0 to {planes - 1}, but no slice {plane}.")
    if held and annotation.states[plane] not in COMPLETE:
        raise InputError(
            f"Slice {plane} is {annotation.states[plane]}; only complete slices can be held out, since models are "
            "judged by them."
        )
    annotation.hold_out(plane, held)
    annotation.flush()


def learned(round_: Round, volume: str) -> set[int]:
    """Return the planes of a volume that a round learned from; none if it learned nothing or its record is damaged."""
    if not round_.has_model or not round_.segments:
        return set()
    try:
        config = round_.config
        annotated = {int(plane) for plane in config.get("digests", {}).get(volume, {})}
        return annotated - set(config.get("held_out", {}).get(volume, []))
    except (InputError, AttributeError, TypeError, ValueError):
        return set()


def judged(rounds: Iterable[Round], round_: Round) -> Mapping[str, list[int]]:
    """Return the planes that a round sets aside and that none of the rounds it comes from has learned from."""
    by_number = {found.number: found for found in rounds}
    ancestors: list[Round] = []
    waiting = [round_]
    while waiting:
        config = waiting.pop().config
        names = (config.get("continues"), config.get("pretrained"))
        for number in (int(name) for name in names if name is not None and str(name).isdigit()):
            if number in by_number and by_number[number] not in ancestors:
                ancestors.append(by_number[number])
                waiting.append(by_number[number])
    return {
        volume: [plane for plane in planes if not any(plane in learned(earlier, volume) for earlier in ancestors)]
        for volume, planes in round_.config.get("held_out", {}).items()
    }
