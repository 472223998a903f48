"""Training as the desk offers it: what is allowed, what would be chosen, starting a round."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_semiseg.engine import events as ev
from napari_semiseg.errors import InputError
from napari_semiseg.gui.forecast import auto_sentence, sees_gpu
from napari_semiseg.gui.outlook import NO_MODEL, Facts, clock, why_not_train
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.slices import annotated
from napari_semiseg.session import SliceState

# While the user scrolls, a run is told of the slice where they come to rest, not of every slice they pass.
REST_MS = 150

if TYPE_CHECKING:
    from napari_semiseg.engine.plan import Plan
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.session import Round


class Runs:
    """Starts rounds and resolves what the tabs allow."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self._resting = QTimer()
        self._resting.setSingleShot(True)
        self._resting.setInterval(REST_MS)
        self._resting.timeout.connect(self._show_plane)
        # A run hears which slice is shown as soon as there is one to tell.
        desk.training.changed.connect(self.show_plane)
        desk.training.noticed.connect(desk.tell)
        desk.training.ended.connect(self._tell_end)

    def _tell_end(self, event: ev.Event) -> None:
        """Say how a run ended, unless it was long ago: then whoever attached to it said so."""
        if self.desk.training.is_late(event):
            return
        match event:
            case ev.Failed():
                self.desk.tell(event.error, "error")
            case ev.Finished(reason="stopped"):
                self.desk.tell("The training was stopped; what was learned is kept.")
            case ev.Finished(reason="predicted"):
                self.desk.tell("All volumes are predicted.")
            case ev.Finished():
                self.desk.tell(f"The training is done: {event.steps} steps in {clock(event.seconds)}.")

    @told
    def start(self, plan: Plan, needs_labels: bool = True) -> None:
        """Start a round, once everything that was painted until now is on disk."""
        reason = why_not_train(self.facts(), needs_labels=needs_labels) or self.desk.removal.why_wait
        if reason is not None:
            raise InputError(reason)

        @told
        def begin(self: Runs) -> None:
            if self.desk.session is None:
                raise InputError("The session folder could not be created, so training cannot start.")
            if self.desk.keeper.refused:
                raise InputError(
                    "What you painted could not be saved, so training waits; make room for it, or press Save as…."
                )
            asked = plan.model_copy(update={"volumes": self.chosen()})
            self.desk.training.start(self.desk.session, asked, self.desk.disk)
            self.desk.show_overlay("labels")
            self.show_plane()

        self.desk.binder.create()
        self.desk.keeper.flush(lambda: begin(self))

    @told
    def predict_now(self) -> None:
        """Have the chosen volumes predicted: as the networks stand now, or with the model of the last round."""
        training, session = self.desk.training, self.desk.session
        if training.phase.active:
            training.predict_now()
            return
        if session is None:
            raise InputError(NO_MODEL)

        @told
        def predict(self: Runs, last: Round | None) -> None:
            if last is None:
                raise InputError(NO_MODEL)
            training.predict(session, last, self.chosen())

        self.desk.disk.run(session.latest_round, partial(predict, self))

    def chosen(self) -> tuple[str, ...]:
        """Return the ids of the volumes that are ticked in the list; none for all of them."""
        entries = self.desk.entries
        return () if all(e.chosen for e in entries) else tuple(e.id for e in entries if e.chosen and e.id is not None)

    def facts(self) -> Facts:
        """Return what decides about the buttons."""
        return Facts(
            volumes=len(self.desk.entries),
            annotated=sum(len(annotated(states)) for states in self.all_states(chosen=True)),
            phase=self.desk.training.phase,
            predicted=self.desk.review.has_prediction,
            chosen=sum(entry.chosen for entry in self.desk.entries),
            rounds=len(self.desk.history.rounds),
            read_only=self.desk.access.why_not,
        )

    def all_states(self, *, chosen: bool = False) -> list[list[SliceState]]:
        """Return the slice states of every volume, or of those that are trained on."""
        found = []
        for entry in (e for e in self.desk.entries if e.chosen or not chosen):
            if self.desk.sheet is not None and self.desk.sheet.entry is entry:
                found.append(self.desk.sheet.states)
            elif entry.states:
                found.append(entry.states)
        return found

    @property
    def has_gpu(self) -> bool:
        """Whether this machine seems to have a GPU that helps; torch, which knows, is not loaded here."""
        return sees_gpu()

    def auto_sentence(self) -> str:
        """Return what automatic choice of the method would pick now, and why."""
        states = self.all_states(chosen=True)
        if self.desk.sheet is not None and self.desk.sheet.states in states:
            # What is held out counts as unlabelled.
            shown, held = self.desk.sheet.states, self.desk.survey.held_out
            states[states.index(shown)] = [SliceState.UNLABELLED if p in held else s for p, s in enumerate(shown)]
        return auto_sentence(states, len(self.desk.classes.all()) + 1, small=not self.has_gpu)

    def show_plane(self) -> None:
        """Tell the run which slice is on the screen, once it has been there for a moment."""
        self._resting.start()

    def _show_plane(self) -> None:
        if self.desk.sheet is not None and self.desk.sheet.entry.id is not None:
            self.desk.training.show(self.desk.sheet.entry.id, self.desk.sheet.plane)
