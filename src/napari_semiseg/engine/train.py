"""The one training loop, for all methods."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

import torch

from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.sampling import MEMORY_ORDER, PlaneSampler
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.engine import events
from napari_semiseg.engine.agreement import agreement
from napari_semiseg.engine.auto import method_of
from napari_semiseg.engine.budget import Budget
from napari_semiseg.engine.checks import FEW_LABELS, check, labelled_share
from napari_semiseg.engine.control import Control, LocalControl, Wish
from napari_semiseg.engine.delivery import attempted, predict_to_keeper
from napari_semiseg.engine.device import choose_device, choose_precision, choose_threads, is_small
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.judge import judge
from napari_semiseg.engine.keeper import Keeper, MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.optimisation import Optimisation
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import plane_steps
from napari_semiseg.engine.preparing import carrying, preparing
from napari_semiseg.engine.pretraining import Pretrained
from napari_semiseg.engine.streams import sampler_of
from napari_semiseg.errors import InputError

_PREVIEW_EVERY = 5.0  # s; the panel promises a fresh plane at least every 10 s
_CHECKPOINT_EVERY = 20.0  # s; a killed run loses at most this much learning
_PATIENCE = 5  # steps in a row without a finite loss before the run gives up


def train(
    volumes: Sequence[TrainingVolume],
    class_ids: Sequence[int],
    plan: Plan,
    *,
    class_names: Mapping[int, str] | None = None,
    control: Control | None = None,
    keeper: Keeper | None = None,
    start: Model | None = None,
    pretrained: Pretrained | None = None,
    resume: Mapping[str, bytes] | None = None,
) -> Iterator[Event]:
    """Train on partly labelled volumes and predict all of them at the end; pre-training predicts nothing.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        At least one plane of one of them is labelled, unless the method needs no labels.
    class_ids : sequence of int
        Class id of each class index in the labels; the first is 0, background.
    plan : Plan
    class_names : mapping of int to str, optional
    control : Control, optional
        Stop, pause, plane on the screen; looked at between steps.
    keeper : Keeper, optional
        Receives checkpoints, previews and predictions.
    start : Model, optional
        Model of an earlier round to continue from (methods.md 12-H).
    pretrained : Pretrained, optional
        Networks to start from where there is no ``start``, or one of another method.
    resume : mapping of str to bytes, optional
        Contents of ``state.safetensors`` and ``state.json`` of an interrupted run, whose model is ``start``: the run
        goes on exactly as if it had not been interrupted.

    Yields
    ------
    Event
        `Started` first, then `Preparing` where the method prepares something; `Finished` last.

    Raises
    ------
    InputError
        For volumes or a plan that cannot be trained with.
    """
    run = _Run(volumes, class_ids, plan, class_names or {}, control or LocalControl(), keeper or MemoryKeeper())
    yield from run.prepare(start, pretrained, resume)
    if run.stopped:
        # Nothing was learned, so there is no model: one that continues an earlier round is that round's.
        yield events.Finished(reason="stopped", steps=0, seconds=0.0)
        return
    yield from run.learn()
    yield from run.conclude()


class _Run:
    """The state of one run; its methods are the chapters of `train`."""

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        class_ids: Sequence[int],
        plan: Plan,
        class_names: Mapping[int, str],
        control: Control,
        keeper: Keeper,
    ) -> None:
        self.volumes, self.class_ids, self.plan, self.control, self.keeper = volumes, class_ids, plan, control, keeper
        torch.set_num_threads(choose_threads(plan.threads))
        self.device = choose_device(plan.device)
        self.method, self.reason = method_of(plan, volumes, len(class_ids), small=is_small(self.device))
        check(volumes, class_ids, class_names, self.method)
        torch.manual_seed(plan.seed)
        self.class_names = class_names
        grid = WorkingGrid.of(volumes, self.method.longest_side)
        self.model = self._build(grid, IntensityRule.of(volumes))
        self.dtype = choose_precision(plan.precision, self.device, spatial_axes=self.method.spatial_axes)
        self.budget = Budget(plan.steps, None if plan.minutes is None else 60.0 * plan.minutes)
        self.stopped = False
        self.correspondences: Correspondences | None = None
        self._shown: tuple[str, int] | None = None
        self._preview_at = self._checkpoint_at = time.perf_counter()
        self._predicted = control.wish().predict
        self._failures = 0
        self._baseline: float | None = None

    def prepare(
        self, start: Model | None, pretrained: Pretrained | None, resume: Mapping[str, bytes] | None
    ) -> Iterator[Event]:
        if start is not None and resume is not None:
            self.model = dataclasses.replace(start, method=self.method, temperature=1.0)
            warm, notices = False, list[str]()
        else:
            warm, notices = self._begin(start, pretrained)
        self.working = to_working(self.volumes, self.model.grid, self.model.rule)
        if not self.method.needs_labels:
            self.working = [dataclasses.replace(v, labels=torch.full_like(v.labels, UNSAID)) for v in self.working]
        self.sampler = self._sampler(self.method.labelled_batch, self.method.unlabelled_batch)
        yield self._started()
        for text in notices:
            yield events.Notice(text=text)
        yield from self._complete()
        if self.stopped:
            return
        order = MEMORY_ORDER[self.method.spatial_axes]
        self.model.networks.to(self.device, memory_format=order)  # type: ignore[call-overload]
        self.optimisation = Optimisation(self.method, self.model.networks, self.dtype, warm=warm)
        if resume is not None:
            record = self.optimisation.restore(resume)
            self.sampler.restore(record["sampler"])
            self.budget.done, self.budget.spent = record["done"], record["spent"]
            self.optimisation.warm = record["warm"]
        for text in self._remarks():
            yield events.Notice(text=text)
        if warm and self.method.needs_labels:
            self._baseline = agreement(self.model, self.working, self.dtype)

    def _started(self) -> Event:
        return events.Started(
            method=self.method.name,
            reason=self.reason,
            networks={
                name: sum(p.numel() for p in module.parameters() if p.requires_grad)
                for name, module in self.model.networks.items()
            },
            device=_device_name(self.device),
            precision=str(self.dtype).removeprefix("torch."),
            steps=self.plan.steps,
            seconds=self.budget.seconds,
            settings=self.method.model_dump(),
            labelled=len(self.sampler.labelled_planes),
            unlabelled=len(self.sampler.unlabelled_planes),
        )

    def _remarks(self) -> Iterator[str]:
        """Say what nobody would expect of what is labelled."""
        if self.method.uses_unlabelled and not self.sampler.unlabelled_planes:
            yield "Every slice is labelled, so the terms for unlabelled slices are off."
        if self.method.spatial_axes == 3 and labelled_share(self.volumes) < FEW_LABELS:
            yield "Less than 1 % of the voxels are labelled; of so few, planes teach more than volumes."
        ended = [volume.guide.ends for volume in self.working if volume.guide and volume.guide.ends != (None, None)]
        if ended:
            yield _where_it_ends(ended)

    def _complete(self) -> Iterator[Event]:
        """Add to the volumes what the method prepares and what guides; a stop is answered meanwhile."""
        targets = yield from preparing(self.method, self.working, self.volumes, self.control)
        guides = None if targets is None else (yield from carrying(self.model, self.working, self.control))
        if targets is None or guides is None:
            self.stopped = True
            return
        self.working = [
            dataclasses.replace(volume, extras={name: maps[i] for name, maps in targets.maps.items()}, guide=guides[i])
            for i, volume in enumerate(self.working)
        ]
        self.by_id = {volume.id: (volume, source) for volume, source in zip(self.working, self.volumes, strict=True)}
        if targets.correspondences is not None:
            self.correspondences = targets.correspondences.to(self.device)
        self.sampler = self._sampler(self.method.labelled_batch, self.method.unlabelled_batch)

    def _build(self, grid: WorkingGrid, rule: IntensityRule) -> Model:
        small = is_small(self.device)
        return Model.build(self.method, self.class_ids, self.class_names, grid, rule, small=small)

    def _begin(self, start: Model | None, pretrained: Pretrained | None) -> tuple[bool, list[str]]:
        """Give the networks their first weights; return whether they continue a round, and what to tell."""
        notices: list[str] = []
        if start is not None:
            # The grid, by which networks of volumes are built, and the intensity scale are part of what weights know.
            continued = self._build(start.grid, start.rule)
            refusal = continued.adopt(start)
            if refusal is None:
                self.model = continued
                return True, []
            notices.append(f"This round starts afresh, because {refusal}.")
        if pretrained is not None:
            given = pretrained.give_to(self.model)
            if given is None:
                notices.append(f"The pre-trained networks of {pretrained.origin} do not fit those of this method.")
            else:
                self.reason += f"; {given}"
        return False, notices

    def learn(self) -> Iterator[Event]:
        while not self.budget.is_spent:
            wish = self.control.wish()
            if wish.pause and not wish.stop:
                yield events.Paused()
                wish = self._wait()
                if not wish.stop:
                    yield events.Resumed()
            if wish.stop:
                self.stopped = True
                return
            yield from self._step()
            yield from self._attend(wish)

    def conclude(self) -> Iterator[Event]:
        yield self._checkpoint()
        if not self.stopped:
            yield from self._judge()
            yield from self._predict_all()
        yield events.Finished(
            reason="stopped" if self.stopped else "budget",
            steps=self.optimisation.steps,
            seconds=self.budget.spent,
        )

    def _sampler(self, labelled: int, unlabelled: int) -> PlaneSampler:
        return sampler_of(
            self.method,
            self.model.setup,
            self.working,
            labelled=labelled,
            unlabelled=unlabelled,
            seed=self.plan.seed,
            correspondences=self.correspondences,
        )

    def _step(self) -> Iterator[Event]:
        try:
            with self.budget:
                batch = self.sampler.batch().to(self.device)
                losses = self.optimisation.step(batch, self.budget.progress)
                self.model.temperature = 1.0  # one that was fitted meanwhile fits the weights before this step
        except torch.OutOfMemoryError:
            yield self._halve_batch()
            return
        except FloatingPointError as error:
            self._failures += 1
            if self._failures >= _PATIENCE:
                raise InputError(
                    f"Training diverged ({error}); try a lower learning rate or precision float32."
                ) from error
            yield events.Notice(text=f"A step was skipped: {error}.", level="warning")
            return
        self._failures = 0
        yield events.StepDone(
            step=self.optimisation.steps,
            progress=self.budget.progress,
            remaining=self.budget.remaining,
            losses=losses,
        )

    def _halve_batch(self) -> Event:
        labelled, unlabelled = self.sampler.n_labelled, self.sampler.n_unlabelled
        if labelled <= 1 and unlabelled <= 1:
            size = "×".join(map(str, self.method.patch(self.model.setup)))
            raise InputError(
                f"The device {self.device} has too little memory for a single crop of {size} pixels; "
                "choose a smaller crop or the device cpu."
            )
        torch.cuda.empty_cache()
        state = self.sampler.state()
        self.sampler = self._sampler(*(max(1, count // 2) if count else 0 for count in (labelled, unlabelled)))
        self.sampler.restore(state)
        return events.Notice(
            text=f"The device ran out of memory: the batch is now {self.sampler.n_labelled} labelled and "
            f"{self.sampler.n_unlabelled} unlabelled crops.",
            level="warning",
        )

    def _wait(self) -> Wish:
        while (wish := self.control.wish()).pause and not wish.stop:
            time.sleep(0.05)
        return wish

    def _attend(self, wish: Wish) -> Iterator[Event]:
        """Do what the watcher waits for: the shown plane, a checkpoint, a prediction of everything."""
        now = time.perf_counter()
        if (
            self.method.needs_labels
            and wish.show is not None
            and wish.show[0] in self.by_id
            and (now - self._preview_at >= _PREVIEW_EVERY or wish.show != self._shown)
        ):
            yield from self._preview(*wish.show)
        if now - self._checkpoint_at >= _CHECKPOINT_EVERY:
            yield self._checkpoint()
        if wish.predict > self._predicted:
            self._predicted = wish.predict
            yield from self._predict_all()

    def _preview(self, volume: str, plane: int) -> Iterator[Event]:
        working, source = self.by_id[volume]
        plane = min(max(plane, 0), len(source.image) - 1)
        shape = (source.image.shape[1], source.image.shape[2])
        for maps in plane_steps(self.model, working.image, plane, shape, self.dtype, guide=working.guide):
            if maps is not None:
                self.keeper.preview(volume, plane, maps)
            elif self.control.wish().stop:
                return
        self._shown, self._preview_at = (volume, plane), time.perf_counter()
        yield events.PreviewReady(volume=volume, plane=plane)

    def _checkpoint(self) -> Event:
        state = self.optimisation.files(
            {
                "sampler": self.sampler.state(),
                "done": self.budget.done,
                "spent": self.budget.spent,
                "warm": self.optimisation.warm,
            }
        )
        self.keeper.save({**self.model.files(), **state})
        self._checkpoint_at = time.perf_counter()
        return events.CheckpointSaved(step=self.optimisation.steps)

    def _predict_all(self) -> Iterator[Event]:
        if not self.method.needs_labels:
            return
        judged = judge(self.model, self.by_id.values(), self.dtype)
        if judged is not None:
            yield judged
            yield self._checkpoint()  # the temperature is part of the model
        for volume in self.volumes:
            run = predict_to_keeper(self.model, volume, self.keeper, self.control, self.dtype)
            yield from attempted(volume.id, volume.id, run)

    def _judge(self) -> Iterator[Event]:
        """Tell when a warm start got worse where it had been right (methods.md 12-H); both rounds are kept."""
        if self._baseline is None:
            return
        now = agreement(self.model, self.working, self.dtype)
        if now is not None and now < self._baseline - 0.02:
            yield events.Notice(
                text=f"On slices that were not corrected the mean Dice fell from {self._baseline:.2f} to {now:.2f}; "
                "the earlier round is kept and can be used instead.",
                level="warning",
            )


def _where_it_ends(ends: Sequence[tuple[int | None, int | None]]) -> str:
    if len(ends) > 1:
        where = f"the outermost annotated slices of {len(ends)} volumes"
    else:
        where = " and ".join(f"slice {plane}" for plane in ends[0] if plane is not None)
    return f"Structures are taken to end at {where}; annotate a slice beyond if they go on."


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"cpu ({count} thread{'s' * (count > 1)})"
    return str(device)
