"""One training run as the panel follows it: a state, progress, loss curves, and the buttons that act on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.qt.threading import thread_worker
from psygnal import Signal

from napari_semiseg.engine import events as ev
from napari_semiseg.gui.background import Lane
from napari_semiseg.gui.curves import LossHistory
from napari_semiseg.gui.problems import explain

if TYPE_CHECKING:
    from napari_semiseg.engine.plan import Plan
    from napari_semiseg.session import Round, Session
    from napari_semiseg.session.supervisor import Supervisor


class Phase(Enum):
    """Where a run stands."""

    IDLE = "idle"
    STARTING = "starting"
    PREPARING = "preparing"
    TRAINING = "training"
    PAUSED = "paused"
    PREDICTING = "predicting"
    STOPPING = "stopping"

    @property
    def active(self) -> bool:
        """Whether a run is under way."""
        return self is not Phase.IDLE


def guarded(events: Iterable[ev.Event]) -> Iterator[ev.Event]:
    """Yield events and turn whatever is raised into a last `Failed`.

    napari's generator workers tell nothing of a RuntimeError, and torch's out-of-memory is one.
    """
    last: ev.Event | None = None
    try:
        for last in events:
            yield last
    except Exception as error:  # whatever it is, the watcher must hear of the end
        last = ev.Failed(error=explain(error))
        yield last
    if last is None or not last.terminal:
        yield ev.Failed(error="The training ended without a word; what it saved last is kept.")


class Training:
    """Starts, follows and stops runs.

    Signals
    -------
    changed()
        The phase or the run changed.
    progressed()
        `history`, `progress` or `remaining` changed.
    noticed(text, severity)
        A sentence for the user.
    preview_ready(volume id, plane)
    prediction_ready(volume id), predicting(volume id, progress)
    volume_failed(event)
        A volume was left out; the run goes on.
    began()
        A run is about to begin.
    ended(event)
        The terminal event.
    """

    changed = Signal()
    progressed = Signal()
    noticed = Signal(str, str)
    preview_ready = Signal(str, int)
    prediction_ready = Signal(str)
    predicting = Signal(str, float)
    volume_failed = Signal(object)
    began = Signal()
    ended = Signal(object)

    def __init__(self, lane: Lane, make_supervisor: Callable[[], Supervisor]):
        self.lane = lane
        self._make_supervisor = make_supervisor
        self._supervisor: Supervisor | None = None
        self._worker: Any = None
        self._closing = False
        self._followed_since = 0.0
        self._late: dict[tuple[str, int], None] = {}
        self.only_watch = False
        """Somebody else has the session open: the run is followed, and nothing is asked of it."""
        self.phase = Phase.IDLE
        self.round: Round | None = None
        self.history = LossHistory()
        self.progress = 0.0
        self.remaining: float | None = None
        self.task = ""
        self.volume = ""
        self.registered: list[dict[str, Any]] = []
        self.started: ev.Started | None = None
        self.notices: list[tuple[str, str]] = []
        self.pressed_at = 0.0
        self.first_step_after: float | None = None

    def warm(self) -> None:
        """Have the worker process started and torch imported there, so that Train answers at once."""
        if self._supervisor is None and not self._closing:
            self._supervisor = self._make_supervisor()
            self.lane.run(self._supervisor.start)

    def start(self, session: Session, plan: Plan, disk: Lane) -> None:
        """Start a round, which is created on the lane that writes the session; call it when all edits are on disk."""
        if self.phase is not Phase.IDLE:
            return
        self.pressed_at = time.monotonic()
        self._reset()
        self._set(Phase.STARTING)
        self.warm()
        supervisor = self._supervisor
        assert supervisor is not None

        def create() -> Round:
            return disk.run(lambda: session.new_round(plan), failed=lambda _: None).result()

        self.lane.run(lambda: supervisor.train(session, plan, create=create), self.follow, self._broke)

    def predict(self, session: Session, round_: Round, volumes: Sequence[str] = ()) -> None:
        """Have volumes, all by default, predicted with the model of an ended round."""
        if self.phase is not Phase.IDLE:
            return
        self._reset()
        self._set(Phase.STARTING)
        self.warm()
        supervisor = self._supervisor
        assert supervisor is not None
        self.lane.run(lambda: supervisor.predict(session, round_, volumes), self.follow, self._broke)

    def follow(self, round_: Round) -> None:
        """Follow a round from its first event on: one that was just started, one that outlived the panel that started
        it, or one that ended meanwhile.
        """
        if self._closing:
            return
        if self.phase is Phase.IDLE:
            self._reset()
        self.round = round_
        self._followed_since = time.time()
        self._late.clear()
        if self.phase is not Phase.STOPPING:
            self._set(Phase.STARTING)
        worker: Any = thread_worker(guarded)(round_.tail(stop=lambda: self._closing))
        worker.yielded.connect(self.take)
        self._worker = worker
        worker.start()

    def pause(self) -> None:
        """Hold the run, or let it go on."""
        if self.round is None or self.only_watch:
            return
        control = self.round.control
        self._wish(control.resume if self.phase is Phase.PAUSED else control.pause)

    def stop(self) -> None:
        """End the run and keep what was learned."""
        if self.round is None or not self.phase.active or self.only_watch:
            return
        before = self.phase
        self._set(Phase.STOPPING)
        if self._supervisor is None:
            self._supervisor = self._make_supervisor()
        supervisor, round_ = self._supervisor, self.round
        # Also a worker that outlived another panel is ended for certain; somebody's command line is only asked.
        self.lane.run(lambda: supervisor.stop(round_), failed=lambda error: self._goes_on(before, error))

    def _goes_on(self, phase: Phase, error: BaseException) -> None:
        if self.phase is Phase.STOPPING:
            self._set(phase)
        self.lane.failed(error)

    def predict_now(self) -> None:
        """Have all volumes predicted as the networks stand now."""
        if self.round is not None and self.phase.active and not self.only_watch:
            self._wish(self.round.control.predict)

    def show(self, volume_id: str, plane: int) -> None:
        """Tell the run which slice is on the screen; its prediction is refreshed while the run goes on."""
        if self.round is not None and self.phase.active and not self.only_watch:
            self._wish(partial(self.round.control.show, volume_id, plane))

    def _wish(self, write: Callable[[], None]) -> None:
        """Write a wish where nobody waits for the disk; a failure is told."""
        self.lane.run(write)

    def close(self) -> None:
        """Let go: the run goes on by itself, and its worker leaves when it is done."""
        self._closing = True
        if self._worker is not None:
            self._worker.quit()
        if self._supervisor is not None:
            self._supervisor.close()

    def take(self, event: ev.Event) -> None:
        """Take one event of the run."""
        if self._closing:
            return
        if event.terminal or not self.is_late(event):
            self._catch_up()
        match event:
            case ev.Started():
                self.started = event
                self._set(Phase.TRAINING)
            case ev.Preparing():
                self._take_preparing(event)
            case ev.Registered():
                self.registered = event.pairs
                self.changed.emit()
            case ev.StepDone():
                self._take_step(event)
            case ev.Notice():
                self.notices.append((event.text, event.level))
                if not self.is_late(event):
                    self.noticed.emit(event.text, event.level)
                self.changed.emit()
            case ev.PreviewReady() if self.is_late(event):
                self._late[event.volume, event.plane] = None
            case ev.PreviewReady():
                self.preview_ready.emit(event.volume, event.plane)
            case ev.Predicting():
                self.progress, self.remaining, self.volume = event.progress, None, event.volume
                # First, for a change of the phase may have the next events handled before it returns.
                self.predicting.emit(event.volume, event.progress)
                if self.phase is not Phase.STOPPING:
                    self._set(Phase.PREDICTING)
                self.progressed.emit()
            case ev.VolumeFailed():
                self.notices.append((f"{event.name} was left out: {event.error}", "warning"))
                self.noticed.emit(*self.notices[-1])
                self.volume_failed.emit(event)
            case ev.PredictionReady():
                self.prediction_ready.emit(event.volume)
            case ev.Paused():
                self._set(Phase.PAUSED)
            case ev.Resumed():
                self._set(Phase.TRAINING)
            case ev.Finished() | ev.Failed():
                self._end(event)

    def _take_preparing(self, event: ev.Preparing) -> None:
        self.task, self.progress, self.remaining = event.task, event.progress, None
        if self.phase is not Phase.STOPPING:
            self._set(Phase.PREPARING)
        self.progressed.emit()

    def is_late(self, event: ev.Event) -> bool:
        """Whether an event happened before this panel followed the run."""
        return event.time < self._followed_since

    def _catch_up(self) -> None:
        """Tell of the previews from before this panel followed the run, once for each slice."""
        late, self._late = self._late, {}
        for volume_id, plane in late:
            self.preview_ready.emit(volume_id, plane)

    def _take_step(self, event: ev.StepDone) -> None:
        if self.first_step_after is None:
            self.first_step_after = time.monotonic() - self.pressed_at
        self.history.add(event.step, event.losses)
        self.progress, self.remaining = event.progress, event.remaining
        if self.phase in (Phase.STARTING, Phase.PREPARING, Phase.PREDICTING):
            self._set(Phase.TRAINING)
        self.progressed.emit()

    def _end(self, event: ev.Event) -> None:
        self._worker = None
        self.remaining = None
        if self.round is not None and not self.only_watch:
            self.lane.run(self.round.mark_seen)
        self.progress = 1.0 if isinstance(event, ev.Finished) else 0.0
        self._set(Phase.IDLE)
        self.progressed.emit()
        self.ended.emit(event)

    def _broke(self, error: BaseException) -> None:
        self._end(ev.Failed(error=explain(error)))

    def _reset(self) -> None:
        self.history.clear()
        self.progress, self.remaining = 0.0, None
        self.started = None
        self.registered = []
        self.notices.clear()
        self.first_step_after = None
        self.volume = ""
        self.began.emit()

    def _set(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.changed.emit()
