"""The rounds of the session: shown, compared, gone back to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_semiseg.engine.events import Finished
from napari_semiseg.engine.learning_curve import verdict
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError
from napari_semiseg.gui.problems import told
from napari_semiseg.regions.comparison import Change, difference
from napari_semiseg.session.summaries import RoundSummary, dice_text, judgement_text, round_changes, stored_of

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.session import Round, Session


class DifferenceStack:
    """Where the label volumes of two rounds differ, computed plane by plane when it is asked for.

    Parameters
    ----------
    earlier, later : array-like of uint8, shape (planes, rows, columns)
    """

    def __init__(self, earlier: Any, later: Any):
        self._pair = earlier, later
        self.shape = tuple(later.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        earlier, later = (np.asarray(volume[key]) for volume in self._pair)
        return difference(earlier, later)


@dataclass(frozen=True)
class Comparison:
    """Two rounds that are compared, and how the volume of every class changed."""

    earlier: int
    later: int
    changes: tuple[Change, ...]


def changes_text(comparison: Comparison, names: dict[int, str]) -> str:
    """Return one line per class, such as "atrium: 61.2 → 63.0 ml (+3.1 −1.3)"."""
    lines = [
        f"{names.get(c.class_id, c.class_id)}: {c.before_ml:.2f} → {c.after_ml:.2f} ml "
        f"(+{c.gained_ml:.2f} −{c.lost_ml:.2f})"
        for c in comparison.changes
    ]
    return f"Round {comparison.earlier} → {comparison.later}\n" + "\n".join(lines)


@dataclass(frozen=True)
class Records:
    """What the folders of the rounds say.

    Attributes
    ----------
    rounds : list of RoundSummary
        The oldest first.
    current : int or None
        The round whose prediction counts.
    last_plan : dict or None
        What the last round was asked for; None where there is none, or its record is damaged.
    """

    rounds: list[RoundSummary]
    current: int | None
    last_plan: dict[str, Any] | None


class History:
    """Knows the rounds; reading their records is left to a thread.

    Attributes
    ----------
    records : Records
        As they were read last.
    shown : int or None
        The round whose prediction is shown instead.
    comparison : Comparison or None

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.records = Records([], None, None)
        self.shown: int | None = None
        self.comparison: Comparison | None = None
        self._known: dict[int, RoundSummary] = {}
        self._announce = False
        desk.session_changed.connect(self._forget)
        desk.volume_changed.connect(self._on_volume)
        desk.training.ended.connect(self._on_ended)
        desk.training.changed.connect(self.read)

    def read(self) -> None:
        """Read the records of the rounds."""
        session = self.desk.session
        if session is None or self.desk.closed:
            return
        known = self._known

        def arrived(found: Records) -> None:
            if self.desk.session is session:
                self.records = found
                self.changed.emit()
                self._offer_final_training()

        self.desk.survey.lane.run(lambda: _read(session, known), arrived)

    @property
    def rounds(self) -> list[RoundSummary]:
        """Of the session, the oldest first."""
        return self.records.rounds

    @property
    def current(self) -> int | None:
        """The round whose prediction counts."""
        return self.records.current

    @property
    def verdict(self) -> str:
        """One sentence: do more slices still help?"""
        return verdict([point for summary in self.rounds if (point := summary.point()) is not None])

    @property
    def calibration(self) -> dict[str, Any]:
        """Calibration of the round whose prediction is shown; empty where it is uncalibrated."""
        shown = self.current if self.shown is None else self.shown
        return next((dict(entry.calibration) for entry in self.rounds if entry.number == shown), {})

    @told
    def show(self, number: int) -> None:
        """Show the prediction of a round, without going back to it."""
        self._rest_on(number, f"The prediction of round {number} is shown; the current one is round {self.current}.")

    @told
    def restore(self, number: int) -> None:
        """Go back to a round: its prediction counts, and the next training continues it."""
        session = self._session()
        if self.desk.training.phase.active:
            raise InputError("Stop the training before going back to an earlier round.")

        def restored(_: Round) -> None:
            self._rest_on(number, f"Round {number} is the current one; the next training continues it.")
            self.read()

        self.desk.disk.run(lambda: session.restore_round(number), restored)

    @told
    def compare(self, one: int, other: int) -> None:
        """Show where the predictions of two rounds differ, and how the volume of every class changed."""
        session, sheet = self._session(), self.desk.sheet
        if sheet is None or sheet.entry.id is None:
            raise InputError("Open the volume in which the rounds are to be compared.")
        volume, (earlier, later) = sheet.entry.id, sorted((one, other))

        def work() -> tuple[DifferenceStack, list[Change]]:
            pair = [stored_of(session, volume, number).labels for number in (earlier, later)]
            return DifferenceStack(*pair), round_changes(session, volume, earlier, later)

        def arrived(found: tuple[DifferenceStack, list[Change]]) -> None:
            if self.desk.sheet is not sheet:
                return
            self.comparison = Comparison(earlier, later, tuple(found[1]))
            sheet.overlays.rest("difference", found[0])
            self.desk.show_overlay("difference")
            self.changed.emit()
            self.desk.tell(f"“Difference” shows where round {later} differs from round {earlier}.")

        self.desk.tell(f"Comparing rounds {earlier} and {later} …")
        self.desk.survey.lane.run(work, arrived)

    def _rest_on(self, number: int, sentence: str) -> None:
        session, sheet = self._session(), self.desk.sheet
        if sheet is None or sheet.entry.id is None:
            raise InputError("Open the volume whose prediction is to be shown.")
        volume = sheet.entry.id

        def arrived(stored: Any) -> None:
            if self.desk.sheet is sheet:
                sheet.overlays.rest_on(stored)
                self.shown = number
                self.changed.emit()
                self.desk.show_overlay("labels")
                self.desk.prediction_changed.emit()
                self.desk.regions.update()
                self.desk.tell(sentence)

        self.desk.survey.lane.run(lambda: stored_of(session, volume, number), arrived)

    def _session(self) -> Session:
        if self.desk.session is None:
            raise InputError("No round was trained yet.")
        return self.desk.session

    def _on_ended(self, event: Any) -> None:
        trained = isinstance(event, Finished) and event.reason == "budget"
        self._announce = trained and not self.desk.training.is_late(event)
        self.shown = None
        self.read()

    def _offer_final_training(self) -> None:
        """Tell the Dice of a round that just ended, and offer to train on the held-out slices as well."""
        last, last_plan = self.rounds[-1] if self.rounds else None, self.records.last_plan
        if not self._announce or last is None or last_plan is None or not dice_text(last.held_out):
            return
        self._announce = False
        plan = Plan.model_validate({**last_plan, "hold_out": False})
        self.desk.offer.emit(
            f"Round {last.number}: {judgement_text(last.held_out, last.calibration)}",
            "Final training on all slices",
            lambda: self.desk.runs.start(plan),
        )

    def _on_volume(self) -> None:
        self.comparison = self.shown = None
        self.changed.emit()

    def _forget(self) -> None:
        self.records, self.comparison, self._known = Records([], None, None), None, {}
        self.changed.emit()
        self.read()


def _read(session: Session, known: dict[int, RoundSummary]) -> Records:
    """Summarise the rounds; complete summaries are kept in ``known``."""
    found, rounds = [], session.rounds()
    for round_ in rounds:
        summary = known.get(round_.number) or RoundSummary.of(round_)
        if summary.status != "running" and summary.held_out:
            # One without a judgement may get it when it predicts.
            known[round_.number] = summary
        found.append(summary)
    latest, plan = session.latest_round(), None
    with suppress(InputError, IndexError, KeyError):
        plan = rounds[-1].config["plan"]
    return Records(found, None if latest is None else latest.number, plan)
