"""What a session knows about its rounds and volumes, put together for whoever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from napari_semiseg.engine.learning_curve import Point
from napari_semiseg.engine.suggest import Suggestion, Wording, equidistant_planes, rank_planes
from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry
from napari_semiseg.regions.comparison import Change, changes
from napari_semiseg.regions.measures import Measures, measure
from napari_semiseg.session.export import Source, mask_of
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.session import Session

DIRECTIONS = {
    "R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior",
}  # fmt: skip


@dataclass(frozen=True)
class RoundSummary:
    """One line about a round.

    Attributes
    ----------
    number : int
    status : str
    method : str
        Empty before it began.
    time : float or None
        When it began, seconds since the epoch.
    minutes : float or None
        Spent on training steps.
    slices : int
        Annotated when it began, over all volumes.
    held_out : dict
        See `engine.events.Judged`; empty where nothing was held out.
    calibration : dict
    segments : bool
        Whether there is a model that predicts, so that it can be shown and restored.
    """

    number: int
    status: str
    method: str
    time: float | None
    minutes: float | None
    slices: int
    held_out: dict[str, Any]
    calibration: dict[str, Any]
    segments: bool

    @classmethod
    def of(cls, round_: Round) -> RoundSummary:
        """Read what a round's folder says."""
        started = round_.started()
        metrics = round_.metrics()
        try:
            slices = sum(len(planes) for planes in round_.digests.values())
        except (InputError, AttributeError):
            slices = 0
        return cls(
            number=round_.number,
            status=round_.status,
            method="" if started is None else started.method,
            time=None if started is None else started.time,
            minutes=metrics["seconds"] / 60 if "seconds" in metrics else None,
            slices=slices,
            held_out=metrics.get("held_out") or {},
            calibration=metrics.get("calibration") or {},
            segments=round_.segments,
        )

    def point(self) -> Point | None:
        """Return the round's place on the curve of Dice against slices, None where nothing was held out."""
        if self.held_out.get("dice") is None:
            return None
        return Point(self.slices, self.held_out["dice"], self.held_out["low"], self.held_out["high"])

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON-able dict."""
        return asdict(self)


def dice_text(held_out: dict[str, Any]) -> str:
    """Return "0.91 (0.88–0.93)", without brackets for a single slice, and nothing where nothing was held out."""
    if held_out.get("dice") is None:
        return ""
    if held_out.get("low") is None:
        return f"{held_out['dice']:.2f}"
    return f"{held_out['dice']:.2f} ({held_out['low']:.2f}–{held_out['high']:.2f})"


def judgement_text(held_out: dict[str, Any], calibration: dict[str, Any]) -> str:
    """Return what held-out slices say of a model, in one sentence."""
    if not calibration:
        return "Nothing was held out: no Dice, and the uncertainty is uncalibrated."
    count = len(held_out["slices"])
    return (
        f"Dice {dice_text(held_out) or 'undefined'} on {count} held-out slice{'s' * (count > 1)}; temperature "
        f"{calibration['temperature']:.2f}, calibration error {calibration['ece_before']:.3f} before and "
        f"{calibration['ece_after']:.3f} after."
    )


def suggestions(
    session: Session,
    volume: str,
    *,
    annotated: Sequence[int] | None = None,
    prediction: StoredPrediction | None = None,
    count: int = 3,
) -> tuple[list[Suggestion], list[Suggestion]]:
    """Return the slices of a volume to annotate next.

    Parameters
    ----------
    session : Session
    volume : str
    annotated : sequence of int, optional
        Those of the session by default.
    prediction : StoredPrediction, optional
        The newest one by default.
    count : int

    Returns
    -------
    ranked, equidistant : list of Suggestion
        Best first; the former is empty where nothing is predicted.
    """
    geometry = session.volumes[volume].geometry
    done = session.annotation(volume).annotated_planes() if annotated is None else list(annotated)
    stored = prediction or session.latest_prediction(volume)
    if stored is None:
        return [], equidistant_planes(geometry.shape[0], annotated=done, count=count)
    facts = stored.facts()
    latest = session.latest_round()
    ranked = rank_planes(
        stored.labels,
        stored.entropy,
        disagreement=stored.disagreement,
        facts=facts,
        annotated=done,
        spacing=geometry.spacing[0],
        wording=Wording(
            {c.id: c.name for c in session.classes},
            ends_of(geometry),
            "two predictions" if latest is None else latest.sources,
        ),
        count=count,
    )
    predicted = [plane for plane, value in enumerate(facts.entropy) if value == value]  # NaN: nothing is predicted
    return ranked, equidistant_planes(geometry.shape[0], annotated=done, predicted=predicted, count=count)


def ends_of(geometry: Geometry) -> tuple[str, str]:
    """Return what lies at the first and the last plane, such as ("inferior", "superior")."""
    unknown = Wording().ends
    if not geometry.letters:
        return unknown
    low, high = geometry.letters[0]
    return DIRECTIONS.get(low, unknown[0]), DIRECTIONS.get(high, unknown[1])


def measures(session: Session, volume: str, source: Source = "merged") -> list[Measures]:
    """Measure the structures of a volume's mask as it is exported.

    Raises
    ------
    InputError
        If the prediction is needed and there is none.
    """
    spacing = session.volumes[volume].geometry.spacing
    return measure(mask_of(session, volume, source), spacing, session.class_ids)


def round_changes(session: Session, volume: str, earlier: int, later: int) -> list[Change]:
    """Compare the predictions of two rounds.

    Raises
    ------
    InputError
        If a round does not exist or has no prediction of the volume.
    """
    pair = [stored_of(session, volume, number) for number in (earlier, later)]
    spacing = session.volumes[volume].geometry.spacing
    return changes(pair[0].labels, pair[1].labels, spacing, session.class_ids)


def stored_of(session: Session, volume: str, number: int) -> StoredPrediction:
    """Return a round's prediction of a volume.

    Raises
    ------
    InputError
        If there is none.
    """
    found = next((entry for entry in session.rounds() if entry.number == number), None)
    if found is None:
        known = ", ".join(str(entry.number) for entry in session.rounds()) or "none"
        raise InputError(f"There is no round {number}; the session has {known}.")
    stored = found.prediction(volume)
    if stored is None:
        raise InputError(
            f"Round {number} has no prediction of {session.volumes[volume].name}; it was stopped before, or the volume "
            "came later."
        )
    return stored
