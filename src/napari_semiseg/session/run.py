"""Running a round: from the session folder through the engine and back."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.control import Control, Wish
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError, SemisegError, StorageError
from napari_semiseg.session.choosing import chosen
from napari_semiseg.session.predictions import StoringWriter
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.session import Session
from napari_semiseg.session.storage import write_bytes, write_files, write_json

if TYPE_CHECKING:
    import torch

    from napari_semiseg.engine.keeper import PredictionWriter
    from napari_semiseg.engine.maps import Maps
    from napari_semiseg.engine.model import Model
    from napari_semiseg.engine.pretraining import Pretrained


def train_round(
    session: Session, plan: Plan, *, control: Control | None = None, beside: bool = False
) -> Iterator[Event]:
    """Train a new round in this process.

    Parameters
    ----------
    session : Session
    plan : Plan
    control : Control, optional
        Heard beside the round's own control file.
    beside : bool
        Train although another program has the session open: nothing but a new round is written.

    Yields
    ------
    Event
        The last one is `Finished` or `Failed`; errors are events, not exceptions.

    Raises
    ------
    HeldError
        If another program has the session open and ``beside`` is false.
    """
    if session.lock is not None or beside:
        round_ = session.new_round(plan)
    else:
        # Only to begin with: whoever opens a viewer while it trains shall be able to paint.
        session.hold()
        try:
            round_ = session.new_round(plan)
        finally:
            session.let_go()
    yield from run_round(session, round_, control=control)


def run_round(
    session: Session, round_: Round, *, control: Control | None = None, threads: int = 0, worker: bool = False
) -> Iterator[Event]:
    """Train a round that `Session.new_round` made, or go on with one that was interrupted.

    Parameters
    ----------
    session : Session
    round_ : Round
    control : Control, optional
        Heard beside the round's own control file.
    threads : int
        CPU threads where the plan leaves the choice; 0 takes all.
    worker : bool
        Whether this is a process that may be ended for certain.
    """
    yield from _recorded(round_, _train(session, round_, _Both(round_.control, control), threads), worker)
    session.rounds_changed.emit()


def predict_round(
    session: Session, round_: Round, *, control: Control | None = None, threads: int = 0, worker: bool = False
) -> Iterator[Event]:
    """Predict the wanted volumes, or all, with the model of a round.

    Parameters
    ----------
    session : Session
    round_ : Round
        What `Round.predicting` returned.
    control, threads, worker
        See `run_round`.
    """
    yield from _recorded(round_, _predict(session, round_, _Both(round_.control, control), threads), worker)
    session.rounds_changed.emit()


def _recorded(round_: Round, run: Iterator[Event], worker: bool) -> Iterator[Event]:
    """Pass events on and write each down; whatever happens, the last one is terminal."""
    try:
        round_.claim(worker=worker)
        for event in run:
            round_.append(event)
            yield event
    except GeneratorExit:
        # Whoever iterated has gone: the run ends here, and the record says so.
        with contextlib.suppress(StorageError):
            round_.append(events.Failed(error="The run was abandoned; its last checkpoint is kept."))
        raise
    except BaseException as error:
        event = failure(round_, error)
        with contextlib.suppress(StorageError):
            round_.append(event)
        yield event
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
    finally:
        round_.release()


def failure(round_: Round, error: BaseException) -> Event:
    """Return the last event of a run that an exception ended; an internal one leaves a report beside the events."""
    if isinstance(error, SemisegError):
        return events.Failed(error=str(error))
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return events.Failed(error="The run was interrupted; its last checkpoint is kept.")
    if isinstance(error, MemoryError):
        return events.Failed(error="The computer ran out of memory; close other programs or choose a smaller crop.")
    report = round_.path / f"{round_.run}report.txt"
    text = f"{sys.version}\n\n{traceback.format_exc()}"
    with contextlib.suppress(SemisegError):
        write_bytes(report, text.encode())
    return events.Failed(
        error=f"The run failed because of an internal error ({type(error).__name__}).", report=str(report)
    )


def _train(session: Session, round_: Round, control: Control, threads: int) -> Iterator[Event]:
    from napari_semiseg.engine.model import Model
    from napari_semiseg.engine.train import train

    config = round_.config
    plan = Plan.model_validate(config["plan"])
    plan = plan.model_copy(update={"threads": plan.threads or threads})
    earlier = _earlier(session, config.get("continues"))
    class_ids, names = _classes(session, round_)
    resume = round_.state_files() if round_.has_model else None
    volumes: list[TrainingVolume] = []
    yield from _readable(
        session,
        plan.volumes,
        lambda volume: volumes.append(session.training_volume(volume, earlier, class_ids, round_=round_)),
    )
    learned = {volume.id: session.annotation(volume.id).digests() for volume in volumes}
    round_.read_labels(learned, further=resume is not None)
    yield from _warnings(session, [volume.id for volume in volumes])
    yield from _flattered(volumes)
    added = [c.name for c in session.classes if c.id not in class_ids]
    if added:
        yield events.Notice(
            text=f"The class {', '.join(map(repr, added))} was added after this round began, which goes on without; "
            "train a new round to learn it.",
            level="warning",
        )
    start = Model.load(round_.path) if resume else None
    if earlier is not None and not resume:
        try:
            start = Model.load(earlier.path)
        except InputError as error:
            yield events.Notice(text=f"This round starts afresh: {error}", level="warning")
    pretrained = None if resume else _pretrained(session, plan, config.get("pretrained"))
    keeper = SessionKeeper(round_, class_ids)
    for event in train(
        volumes,
        class_ids,
        plan,
        class_names=names,
        control=control,
        keeper=keeper,
        start=start,
        pretrained=pretrained,
        resume=resume,
    ):
        match event:
            case events.Started():
                round_.forget_metrics()
            case events.Finished():
                _measure(round_, keeper, event)
            case events.PredictionReady():
                keeper.mean_entropy[event.volume] = event.mean_entropy
            case events.Judged():
                keeper.judged = {"held_out": event.held_out, "calibration": event.calibration}
            case events.StepDone():
                keeper.judged = {}  # those were other weights
            case events.VolumeFailed():
                event = replace(event, name=session.volumes[event.volume].name)
        yield event


def _classes(session: Session, round_: Round) -> tuple[tuple[int, ...], dict[int, str]]:
    """Return ids and names of the classes that a round learns: those that the session had when it began.

    Raises
    ------
    InputError
        If one of them was removed since.
    """
    names = {int(c["id"]): str(c["name"]) for c in round_.config["classes"]}
    gone = [name for class_id, name in names.items() if class_id not in session.class_ids]
    if gone:
        raise InputError(
            f"Round {round_.number} learns the class {', '.join(map(repr, gone))}, which was removed since; "
            "train a new round."
        )
    return round_.class_ids, names


def _readable(session: Session, wanted: Sequence[str], read: Callable[[str], object]) -> Iterator[Event]:
    """Read the wanted volumes, all if none is named; those that cannot be read are told, and left out.

    Raises
    ------
    InputError
        If none of them can be read.
    """
    failed: list[str] = []
    volumes = chosen(session.volumes, wanted)
    for volume in volumes:
        try:
            read(volume)
        except InputError as error:
            failed.append(str(error))
            yield events.VolumeFailed(volume=volume, name=session.volumes[volume].name, error=str(error))
    if failed and len(failed) == len(volumes):
        raise InputError(failed[0] if len(failed) == 1 else f"No volume can be trained on. {failed[0]}")


def _predict(session: Session, round_: Round, control: Control, threads: int) -> Iterator[Event]:
    import torch

    from napari_semiseg.engine.delivery import attempted, predict_to_keeper
    from napari_semiseg.engine.device import choose_device, choose_precision, choose_threads
    from napari_semiseg.engine.model import Model

    if not round_.has_model:
        raise InputError(f"Round {round_.number} has no model to predict with; train first.")
    if not round_.segments:
        raise InputError(f"Round {round_.number} is a pre-training and predicts nothing; train with another method.")
    plan = Plan.model_validate(round_.config["plan"])
    torch.set_num_threads(choose_threads(plan.threads or threads))
    device = choose_device(plan.device)
    model = Model.load(round_.path, device)
    dtype = choose_precision(plan.precision, device, spatial_axes=model.method.spatial_axes)
    keeper = SessionKeeper(round_, model.class_ids)
    yield from _judge_now(session, round_, model, dtype)
    failed: list[str] = []
    for volume_id in (volumes := chosen(session.volumes, round_.wanted)):

        def predicted(volume_id: str = volume_id) -> Iterator[Event]:
            # One at a time, so that many need no more memory than one.
            with session.visiting(volume_id):
                volume = session.training_volume(volume_id, class_ids=model.class_ids)
            yield from predict_to_keeper(model, volume, keeper, control, dtype)

        for event in attempted(volume_id, session.volumes[volume_id].name, predicted()):
            failed += [event.error] if isinstance(event, events.VolumeFailed) else []
            yield event
        if control.wish().stop:
            break
    if failed and len(failed) == len(volumes):
        raise InputError(failed[0] if len(failed) == 1 else f"No volume could be predicted. {failed[0]}")
    reason = "stopped" if control.wish().stop else "predicted"
    yield events.Finished(reason=reason, steps=0, seconds=0.0)


def _pretrained(session: Session, plan: Plan, name: str | None) -> Pretrained | None:
    """Load the networks to start from: those of a round, or of a model file."""
    from napari_semiseg.engine.model import Model
    from napari_semiseg.engine.pretraining import Pretrained

    if not name:
        return None
    if not name.isdigit():
        return Pretrained(Model.load(name), f"the model {name}", demanded=True)
    found = _earlier(session, int(name))
    if found is None:
        raise InputError(f"Round {name}, which this round was to start from, is gone; train again.")
    return Pretrained(Model.load(found.path), f"round {name}", demanded=bool(plan.pretrained))


def _earlier(session: Session, number: int | None) -> Round | None:
    return next((r for r in session.rounds() if r.number == number and r.has_model), None)


def _warnings(session: Session, volumes: Sequence[str]) -> Iterator[Event]:
    for sentence in session.reports:  # what was found damaged when it was opened
        yield events.Notice(text=sentence, level="warning")
    scribbled = [
        (volume, plane)
        for volume in volumes
        for plane, state in enumerate(session.annotation(volume).states)
        if state == SliceState.SCRIBBLED
    ]
    if scribbled and not any((session.annotation(v).said[p] == 0).any() for v, p in scribbled):
        yield events.Notice(
            text="The scribbled slices have no background strokes; without them the prediction spreads over the "
            "background.",
            level="warning",
        )


def _flattered(volumes: Sequence[TrainingVolume]) -> Iterator[Event]:
    """Tell of slices that are set aside although an earlier round, which this one continues, learned from them."""
    planes = sorted(plane for volume in volumes for plane in volume.held_out.keys() - volume.judged)
    if planes:
        yield events.Notice(
            text=f"Held-out slice {', '.join(map(str, planes))} was learned from by an earlier round that this one "
            "continues, so it does not count in the Dice; train afresh to judge by it.",
            level="warning",
        )


def _judge_now(session: Session, round_: Round, model: Model, dtype: torch.dtype) -> Iterator[Event]:
    """Judge the model of a round that was stopped before it could be."""
    from napari_semiseg.engine.judge import judge_later

    if round_.metrics().get("held_out") or not any(round_.config.get("held_out", {}).values()):
        return
    ids = [volume for volume in session.volumes if round_.config["held_out"].get(volume)]

    def volumes() -> Iterator[TrainingVolume]:
        # One at a time, so that many need no more memory than one. Of those that cannot be read the run will tell.
        for volume in ids:
            with contextlib.suppress(InputError):
                yield session.training_volume(volume, class_ids=model.class_ids, round_=round_)

    judged = judge_later(model, volumes(), dtype)
    if judged is not None:
        measured = {"held_out": judged.held_out, "calibration": judged.calibration}
        write_json(round_.path / "metrics.json", {**round_.metrics(), **measured})
        write_bytes(round_.path / "model.json", model.files()["model.json"])
        yield judged


def _measure(round_: Round, keeper: SessionKeeper, event: events.Finished) -> None:
    content = {
        "reason": event.reason,
        "steps": event.steps,
        "seconds": round(event.seconds, 2),
        "mean_entropy": keeper.mean_entropy,
        **keeper.judged,
    }
    write_json(round_.path / "metrics.json", content)


class SessionKeeper:
    """Stores what a run produces in the folder of its round."""

    def __init__(self, round_: Round, class_ids: tuple[int, ...]) -> None:
        self.round = round_
        self.class_ids = tuple(class_ids)
        self.mean_entropy: dict[str, float] = {}
        self.judged: dict[str, Any] = {}

    def save(self, files: Mapping[str, bytes]) -> None:
        """Store model and training state together, so that a crash does not leave one newer than the other."""
        write_files(self.round.path, dict(files))

    def preview(self, volume: str, plane: int, maps: Maps) -> None:
        """Store the prediction of one plane."""
        self.round.save_preview(volume, plane, maps)

    def prediction(self, volume: TrainingVolume, classes: int, disagreement: bool) -> PredictionWriter:
        """Return the writer of a volume's prediction."""
        return StoringWriter(self.round.prediction_path(volume.id), volume.image.shape, self.class_ids, disagreement)


class _Both:
    """The wishes of the control file and of a control in this process, together."""

    def __init__(self, file: Control, local: Control | None) -> None:
        self.file, self.local = file, local

    def wish(self) -> Wish:
        wish = self.file.wish()
        if self.local is None:
            return wish
        mine = self.local.wish()
        return replace(wish, stop=wish.stop or mine.stop, pause=wish.pause or mine.pause, show=mine.show or wish.show)
