"""Runs that outlived the panel: one that still trains is followed, one that ended meanwhile is told of."""

from __future__ import annotations

from dataclasses import dataclass

from napari_semiseg.engine import events
from napari_semiseg.gui.outlook import clock
from napari_semiseg.session import Round, Session


@dataclass(frozen=True)
class Outlived:
    """What became of the last run while no panel watched.

    Attributes
    ----------
    round : Round
    running : bool
    sentence : str
    severity : str
        ``"info"``, ``"warning"`` or ``"error"``.
    """

    round: Round
    running: bool
    sentence: str
    severity: str = "info"


def outlived(session: Session) -> Outlived | None:
    """Look for a run to attach to; reads files, so it runs on the disk lane.

    Returns
    -------
    Outlived or None
        The newest run that is under way, else the newest round if nobody was told yet how it ended.
    """
    rounds = session.rounds()
    for found in reversed(rounds):
        if found.status == "running":
            return Outlived(found, True, _progress(found))
    if rounds and not rounds[-1].was_seen:
        return _ended(rounds[-1])
    return None


def _progress(round_: Round) -> str:
    steps = [event for event in round_.events() if isinstance(event, events.StepDone)]
    done = ""
    if steps:
        left = "" if steps[-1].remaining is None else f", {clock(steps[-1].remaining)} left"
        done = f" ({steps[-1].progress:.0%}{left})"
    return f"Round {round_.number} is still training{done}; it is followed here."


def _ended(round_: Round) -> Outlived | None:
    last = round_.last_event()
    number = round_.number
    match last:
        case events.Finished(reason="stopped"):
            how = "was stopped"
        case events.Finished():
            how = "finished"
        case events.Failed():
            return Outlived(round_, False, f"Round {number} failed while this panel was closed: {last.error}", "error")
        case _:
            gone = round_.epitaph()
            assert isinstance(gone, events.Failed)
            return Outlived(round_, False, gone.error, "error")
    return Outlived(
        round_, False, f"Round {number} {how} while this panel was closed: {last.steps} steps in {clock(last.seconds)}."
    )
