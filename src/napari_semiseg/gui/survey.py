"""What is known of each slice of the shown volume beside its state: held out, suggested, how unsure the model is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_semiseg.engine.suggest import Suggestion
from napari_semiseg.errors import InputError
from napari_semiseg.gui.background import Lane
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.slices import COMPLETE_STATES, annotated
from napari_semiseg.session import Session, SliceState, StoredPrediction
from napari_semiseg.session.holding import hold_out, settle_volume
from napari_semiseg.session.summaries import suggestions

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

COUNT = 5
"""How many slices are suggested."""
REST_MS = 300
STEP_KEYS = {"annotated": "A", "suggested": "N", "unreviewed": "U"}
HOLD_OUT_KEY = "H"


@dataclass(frozen=True)
class Findings:
    """What was found about a volume.

    Attributes
    ----------
    ranked, equidistant : tuple of Suggestion
        Best first.
    entropy : ndarray of float, shape (planes,), or None
        Mean uncertainty around the prediction, 0 to 1; NaN where nothing is predicted. None without a prediction.
    """

    ranked: tuple[Suggestion, ...] = ()
    equidistant: tuple[Suggestion, ...] = ()
    entropy: np.ndarray | None = None


@dataclass(frozen=True)
class SliceLine:
    """What the strip shows of one slice."""

    state: str
    held_out: bool = False
    suggestion: str = ""
    entropy: float | None = None


def steps_to(kind: str, states: Sequence[SliceState], suggested: Collection[int]) -> list[int]:
    """Return the planes that a key steps through.

    Parameters
    ----------
    kind : str
        ``annotated``, ``suggested`` or ``unreviewed``.
    states : sequence of SliceState
    suggested : collection of int
    """
    if kind == "suggested":
        return sorted(set(suggested))
    if kind == "annotated":
        return annotated(states)
    return [plane for plane, state in enumerate(states) if state is not SliceState.REVIEWED]


def next_of(planes: Collection[int], plane: int, direction: int) -> int | None:
    """Return the nearest of some planes before (−1) or after (1) a plane, going round at the ends."""
    ordered = sorted(planes)
    if direction > 0:
        return next((p for p in ordered if p > plane), ordered[0] if ordered else None)
    return next((p for p in reversed(ordered) if p < plane), ordered[-1] if ordered else None)


class Survey:
    """Keeps that up to date, off the UI thread.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.lane = Lane("semiseg-survey", desk.problem)
        self.found = Findings()
        self.held_out: frozenset[int] = frozenset()
        self._unsettled = True
        self._generation = 0
        self._resting = QTimer()
        self._resting.setSingleShot(True)
        self._resting.setInterval(REST_MS)
        self._resting.timeout.connect(self._look)
        desk.volume_changed.connect(self._on_volume)
        desk.session_changed.connect(self._on_volume)
        desk.prediction_changed.connect(lambda: self._resting.start())
        desk.slices_changed.connect(self._on_slices)
        desk.keeper.saved.connect(self._settle_if_needed)
        desk.training.ended.connect(lambda _: self._settle())

    def close(self) -> None:
        """Let go of the thread."""
        self._resting.stop()
        self.lane.close(wait=False)

    @property
    def suggested(self) -> dict[int, Suggestion]:
        """The ranked suggestions by plane."""
        return {suggestion.plane: suggestion for suggestion in self.found.ranked}

    @told
    def hold_out(self, plane: int | None = None) -> None:
        """Set a slice (the shown one by default) aside, or have it learned from again."""
        sheet, session = self.desk.sheet, self.desk.session
        if sheet is None or session is None or sheet.entry.id is None:
            raise InputError("Nothing is annotated yet, so there is no slice to hold out.")
        volume = sheet.entry.id
        chosen = sheet.plane if plane is None else plane
        held = chosen not in self.held_out
        if held and sheet.states[chosen] not in COMPLETE_STATES:
            raise InputError(
                f"Slice {chosen} is {sheet.states[chosen]}; only complete slices can be held out, since models are "
                "judged by them."
            )

        def work() -> list[int]:
            hold_out(session, volume, chosen, held)
            return settle_volume(session, volume)

        def arrived(planes: list[int]) -> None:
            self._take_held_out(sheet, planes)
            verb = "held out: the next round is judged by it" if held else "learned from in the next round"
            self.desk.tell(f"Slice {chosen} is {verb}.")

        # What was painted goes to the disk first, or the session would not know yet that the slice is complete.
        self.desk.keeper.flush(lambda: self.desk.disk.run(work, arrived))

    def step(self, kind: str, direction: int) -> None:
        """Show the next (1) or previous (−1) slice that is annotated, suggested or not reviewed."""
        sheet = self.desk.sheet
        if sheet is None:
            return
        planes = [p for p in steps_to(kind, sheet.states, self.suggested) if p != sheet.plane]
        target = next_of(planes, sheet.plane, direction)
        if target is None:
            self.desk.tell(f"There is no other {kind} slice.")
            return
        sheet.go_to(target)
        if kind == "suggested":
            self.desk.tell(self.suggested[target].reason)

    def lines(self) -> list[SliceLine]:
        """Return what is known of every slice of the shown volume."""
        sheet = self.desk.sheet
        if sheet is None:
            return []
        suggested, entropy = self.suggested, self.found.entropy
        return [
            SliceLine(
                state=str(state),
                held_out=plane in self.held_out,
                suggestion=suggested[plane].reason if plane in suggested else "",
                entropy=None if entropy is None or np.isnan(entropy[plane]) else float(entropy[plane]),
            )
            for plane, state in enumerate(sheet.states)
        ]

    def _on_volume(self) -> None:
        self.found, self.held_out = Findings(), frozenset()
        self._generation += 1
        self._settle()
        self._resting.start()
        self.changed.emit()

    def _on_slices(self) -> None:
        self._unsettled = True
        self._resting.start()
        self.changed.emit()

    def _settle_if_needed(self) -> None:
        if self._unsettled:
            self._settle()

    def _settle(self) -> None:
        """Have the held-out slices chosen from what is on the disk; they are shown before the next round begins."""
        sheet, session = self.desk.sheet, self.desk.session
        if self.desk.closed or sheet is None or session is None or sheet.entry.id is None:
            return
        self._unsettled = False
        volume = sheet.entry.id
        self.desk.disk.run(lambda: settle_volume(session, volume), lambda planes: self._take_held_out(sheet, planes))

    def _take_held_out(self, sheet: Any, planes: list[int]) -> None:
        if self.desk.sheet is sheet and frozenset(planes) != self.held_out:
            self.held_out = frozenset(planes)
            self.changed.emit()

    def _look(self) -> None:
        """Have the slices ranked anew."""
        sheet, session = self.desk.sheet, self.desk.session
        if self.desk.closed or sheet is None or session is None or sheet.entry.id is None:
            return
        self._generation += 1
        generation, volume = self._generation, sheet.entry.id
        annotated, stored = self.desk.marks.annotated(), sheet.overlays.stored

        def arrived(found: Findings) -> None:
            if generation == self._generation and self.desk.sheet is sheet:
                self.found = found
                self.changed.emit()

        self.lane.run(lambda: _survey(session, volume, annotated, stored), arrived)


def _survey(session: Session, volume: str, annotated: list[int], stored: Any) -> Findings:
    """Rank the slices of a volume by a stored prediction; runs in the background."""
    prediction = stored if isinstance(stored, StoredPrediction) else None
    ranked, equidistant = suggestions(session, volume, annotated=annotated, prediction=prediction, count=COUNT)
    prediction = prediction or session.latest_prediction(volume)
    entropy = None if prediction is None else prediction.facts().entropy
    return Findings(tuple(ranked), tuple(equidistant), entropy)
