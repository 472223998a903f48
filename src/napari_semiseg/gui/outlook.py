"""What the Train and Review tabs say and allow, resolved from plain facts. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_semiseg.gui.training import Phase


@dataclass(frozen=True)
class Facts:
    """What decides about the buttons.

    Attributes
    ----------
    volumes : int
    annotated : int
        Annotated slices of the chosen volumes.
    chosen : int
        Volumes that are trained on and predicted.
    phase : Phase
    predicted : bool
        The shown volume has a prediction.
    rounds : int
        As far as they are read already.
    read_only : str
        Why the session cannot be changed; empty if it can.
    """

    volumes: int
    annotated: int
    chosen: int
    phase: Phase
    predicted: bool
    rounds: int
    read_only: str = ""


NO_MODEL = "There is no model yet: train first."
NONE_CHOSEN = "No volume is ticked in the Volumes tab: tick those to train on and to predict."


def which_volumes(facts: Facts) -> str:
    """Return a sentence about the volumes that are trained on; empty where there is no choice."""
    if facts.volumes < 2:
        return ""
    if facts.chosen == facts.volumes:
        return f"On all {facts.volumes} volumes."
    return f"On {facts.chosen} of {facts.volumes} volumes (ticked under Volumes)."


def why_not_train(facts: Facts, *, needs_labels: bool = True) -> str | None:
    """Return why training cannot start, or None; pre-training needs no labels."""
    if facts.read_only:
        return facts.read_only
    if facts.volumes == 0:
        return "Open a volume and annotate some slices first."
    if facts.phase.active:
        return "A training is under way; stop it first."
    if facts.chosen == 0:
        return NONE_CHOSEN
    if facts.annotated == 0 and needs_labels:
        some = "" if facts.chosen == facts.volumes else " of a volume that is ticked in the Volumes tab"
        return f"Annotate at least one slice first{some} (Label tab)."
    return None


def why_not_stop(facts: Facts) -> str | None:
    """Return why there is nothing to stop, or None."""
    if facts.read_only and facts.phase.active:
        return facts.read_only
    if facts.phase is Phase.STOPPING:
        return "It is stopping already."
    return None if facts.phase.active else "No training is under way."


def why_not_pause(facts: Facts) -> str | None:
    """Return why a run cannot be held or resumed, or None."""
    if facts.read_only and facts.phase.active:
        return facts.read_only
    if facts.phase in (Phase.TRAINING, Phase.PAUSED):
        return None
    return "It can be paused while it trains." if facts.phase.active else "No training is under way."


def why_not_predict(facts: Facts) -> str | None:
    """Return why the whole volume cannot be predicted now, or None."""
    if facts.read_only:
        return facts.read_only
    if facts.phase is Phase.IDLE and facts.rounds and facts.chosen == 0:
        return NONE_CHOSEN
    if facts.phase is Phase.TRAINING or (facts.phase is Phase.IDLE and facts.rounds):
        return None
    if facts.phase.active:
        return "Wait until it trains."
    return NO_MODEL


def why_not_accept(facts: Facts) -> str | None:
    """Return why there is nothing to accept, or None."""
    if facts.read_only:
        return facts.read_only
    return None if facts.predicted else "There is no prediction of this volume yet: press Train first."


def entropy_legend(legend: str, calibration: Mapping[str, Any], predicted: bool) -> str:
    """Return what the entropy map means, in words where it is calibrated.

    Parameters
    ----------
    legend : str
    calibration : mapping
        See `engine.events.Judged`; empty where no slice was held out.
    predicted : bool
    """
    if not predicted:
        return legend
    if not calibration:
        return f"{legend}. Uncalibrated: no slice was held out"
    error = f"calibration error {calibration['ece_before']:.3f} → {calibration['ece_after']:.3f}"
    wrong = calibration.get("wrong")
    if wrong is None:
        return f"{legend}. Calibrated ({error})"
    meaning = f"about 1 pixel in {round(1 / wrong)} is wrong" if wrong >= 0.002 else "hardly a pixel is wrong"
    return f"{legend}. Calibrated: at {calibration['entropy']:g}, {meaning} ({error})"


def start_title(facts: Facts) -> str:
    """Return the text of the button that starts a run."""
    return "Retrain" if facts.rounds else "Train"


def clock(seconds: float) -> str:
    """Return a duration such as "1:05" or "2:00:10"."""
    total = max(0, math.ceil(seconds))
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress_text(phase: Phase, progress: float, remaining: float | None, task: str = "") -> str:
    """Return what the progress bar says; ``task`` is what a method prepares, or the volume that is predicted."""
    match phase:
        case Phase.IDLE:
            return ""
        case Phase.STARTING:
            return "starting …"
        case Phase.PREPARING:
            return f"{task}, {progress:.0%}"
        case Phase.STOPPING:
            return "stopping, what was learned is kept …"
        case Phase.PREDICTING:
            return f"predicting {task or 'the volumes'}, {progress:.0%}"
        case Phase.PAUSED:
            return f"paused at {progress:.0%}"
    left = "" if remaining is None else f", {clock(remaining)} left"
    return f"{progress:.0%}{left}"


def why_not_export_model(facts: Facts) -> str | None:
    """Return why there is no model to write, or None."""
    if facts.phase.active:
        return "Wait until the training is over, or stop it."
    return None if facts.rounds else "No model was trained in this session yet."
