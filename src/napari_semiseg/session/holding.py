"""Slices of a session that are set aside to judge models by: kept in ``slices.json``, noted in each round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from napari_semiseg.engine.holdout import choose_held_out
from napari_semiseg.errors import InputError
from napari_semiseg.session.annotation import UNSAID, Annotation
from napari_semiseg.session.choosing import chosen
from napari_semiseg.session.schema import SliceState

if TYPE_CHECKING:
    from napari_semiseg.session.rounds import Round
    from napari_semiseg.session.session import Session

COMPLETE = (SliceState.COMPLETE, SliceState.REVIEWED)
_UNREADABLE = (InputError, AttributeError, KeyError, TypeError, ValueError)


def settle(session: Session, volumes: Sequence[str] = ()) -> dict[str, list[int]]:
    """Choose the slices that are set aside, where the annotator did not decide; they are on disk afterwards.

    Parameters
    ----------
    session : Session
    volumes : sequence of str
        Ids or names; empty for all.

    Returns
    -------
    dict of str to list of int
        Planes by volume id.

    Raises
    ------
    InputError
        If there is no such volume.
    StorageError
    """
    rounds = session.rounds()
    settled: dict[str, list[int]] = {}
    for volume in chosen(session.volumes, volumes):
        # Of a damaged one the run will tell.
        with suppress(InputError), session.visiting(volume):
            settled[volume] = settle_volume(session, volume, rounds)
    return settled


def settle_volume(session: Session, volume: str, rounds: Iterable[Round] | None = None) -> list[int]:
    """Do so for one volume."""
    annotation = session.annotation(volume)
    annotated = annotation.annotated_planes()
    aside = choose_held_out(
        annotated,
        [plane for plane in annotated if annotation.states[plane] in COMPLETE],
        held=annotation.held_out,
        decided=annotation.decided,
        learned={plane for earlier in rounds or session.rounds() for plane in learned(earlier, volume)},
        shows={plane: _classes(annotation, plane) for plane in annotated},
    )
    for plane in annotation.held_out ^ aside:
        annotation.hold_out(plane, plane in aside, decided=False)
    annotation.flush()
    return sorted(aside)


def _classes(annotation: Annotation, plane: int) -> list[int]:
    """Return the ids of the classes that are painted on a plane."""
    counts = np.bincount(annotation.said[plane].ravel(), minlength=256)
    return [c for c in np.flatnonzero(counts).tolist() if 0 < c < UNSAID]


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
        return _recorded(round_, volume)
    except _UNREADABLE:
        return set()


def judged(rounds: Iterable[Round], round_: Round) -> Mapping[str, list[int]]:
    """Return the planes that a round sets aside and that none of the rounds it comes from has learned from.

    One whose record is gone or damaged may have learned from any of them.
    """
    held_out = round_.config.get("held_out", {})
    try:
        ancestors = _ancestors({found.number: found for found in rounds}, round_)
        seen = {volume: {p for earlier in ancestors for p in _recorded(earlier, volume)} for volume in held_out}
    except _UNREADABLE:
        return {volume: [] for volume in held_out}
    return {volume: [plane for plane in planes if plane not in seen[volume]] for volume, planes in held_out.items()}


def _ancestors(rounds: Mapping[int, Round], round_: Round) -> list[Round]:
    """Return the rounds that a round comes from and that learned from labels, whatever is left of their models."""
    found: list[Round] = []
    waiting = [round_]
    while waiting:
        config = waiting.pop().config
        names = (config.get("continues"), config.get("pretrained"))
        for number in (int(name) for name in names if name is not None and str(name).isdigit()):
            if rounds[number] not in found:
                found.append(rounds[number])
                waiting.append(rounds[number])
    return [earlier for earlier in found if earlier.segments or not earlier.has_model]


def _recorded(round_: Round, volume: str) -> set[int]:
    """Return the planes of a volume that a round learned from by its record, which may be damaged."""
    config = round_.config
    trained = config.get("plan", {}).get("volumes")
    if trained and volume not in trained:
        return set()
    annotated = {int(plane) for plane in config.get("digests", {}).get(volume, {})}
    return annotated - set(config.get("held_out", {}).get(volume, []))
