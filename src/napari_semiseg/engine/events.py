"""What a run tells whoever watches it: small frozen events, one JSON object each.

Every run ends with exactly one terminal event: `Finished` or `Failed`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; ``time`` is seconds since the epoch."""

    terminal: ClassVar[bool] = False
    time: float = field(default_factory=time.time)

    def to_json(self) -> str:
        """Return the event as one line of JSON, its kind under ``"event"``."""
        return json.dumps({"event": type(self).__name__, **dataclasses.asdict(self)}, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The run begins: what was chosen, why, and how far it goes."""

    method: str
    reason: str
    networks: dict[str, int]
    """Trainable parameters of each network."""
    device: str
    precision: str
    steps: int | None
    """Planned number of steps, if steps were asked for."""
    seconds: float | None
    """Time budget in s, if one was given."""
    settings: dict[str, Any]
    labelled: int
    """Number of labelled planes."""
    unlabelled: int
    """Number of unlabelled planes."""


@dataclass(frozen=True, kw_only=True)
class Preparing(Event):
    """What the method does before its first step, and how far it is, 0 to 1."""

    task: str
    progress: float


@dataclass(frozen=True, kw_only=True)
class Registered(Event):
    """Volumes or slices were registered; how well, and which ones labels come from.

    Each pair has the fields of `napari_semiseg.registration.pairs.Pair`: ``to``, ``source``, ``to_plane``,
    ``source_plane``, ``quality`` (``cycle_rmse``, ``cycle_nmi``, ``direct_nmi``, or null where it failed), ``score``
    (lowest is best) and ``used``.
    """

    pairs: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """One optimisation step; the losses are those that were summed, weights included."""

    step: int
    progress: float
    """Part of the budget that is spent, 0 to 1."""
    remaining: float
    """Estimated seconds to the end of the training."""
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """Something the user should know, in one sentence."""

    text: str
    level: str = "info"
    """``"info"`` or ``"warning"``."""


@dataclass(frozen=True, kw_only=True)
class PreviewReady(Event):
    """The prediction of one plane as the networks stand now."""

    volume: str
    plane: int


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """Model and training state are on disk."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Predicting(Event):
    """Progress of predicting a whole volume, 0 to 1."""

    volume: str
    progress: float


@dataclass(frozen=True, kw_only=True)
class PredictionReady(Event):
    """The prediction of a whole volume is on disk."""

    volume: str
    mean_entropy: float


@dataclass(frozen=True, kw_only=True)
class Judged(Event):
    """The model was judged by the slices that are set aside, and calibrated on them."""

    held_out: dict[str, Any]
    """``slices`` (pairs of volume id and plane), ``dice`` (mean over the classes), ``low`` and ``high`` (95 %, None for
    one slice), ``classes`` (Dice by class id)."""
    calibration: dict[str, Any]
    """``temperature``, expected calibration error before and after (``ece_before``, ``ece_after``), and which part of
    the pixels with an entropy near ``entropy`` is ``wrong`` (None where too few)."""


@dataclass(frozen=True, kw_only=True)
class VolumeFailed(Event):
    """A volume could not be read or predicted; the run goes on with the others."""

    volume: str
    name: str
    """What people call it."""
    error: str
    """A sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The run waits; it tells so once, and `Resumed` when it goes on."""


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """The run goes on after a pause."""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run is over and its model can be used; ``reason`` is ``budget``, ``stopped`` or ``predicted``."""

    terminal: ClassVar[bool] = True
    reason: str
    steps: int
    seconds: float
    """Time spent on training steps, s."""


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run is over because of an error; ``error`` is a sentence for the user."""

    terminal: ClassVar[bool] = True
    error: str
    report: str = ""
    """Path of the report with the traceback; empty for errors in what was given."""


KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        Started,
        Preparing,
        Registered,
        StepDone,
        Notice,
        PreviewReady,
        CheckpointSaved,
        Predicting,
        PredictionReady,
        Judged,
        VolumeFailed,
        Paused,
        Resumed,
        Finished,
        Failed,
    )
}


def from_json(line: str) -> Event:
    """Read back one line written by `Event.to_json`; fields of newer versions are dropped.

    Raises
    ------
    ValueError
        If the line is no event.
    """
    content = json.loads(line)
    if not isinstance(content, dict) or content.get("event") not in KINDS:
        raise ValueError(f"not an event: {line[:80]!r}")
    kind = KINDS[content.pop("event")]
    known = {entry.name for entry in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in content.items() if name in known})
