from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from toy import Toy

from napari_semiseg import methods
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingGrid
from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl, Wish
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError
from napari_semiseg.methods.preparation import Progress, Targets


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    known = {**{name: methods.get(name) for name in methods.names()}, "toy": Toy}
    monkeypatch.setattr(methods, "_registry", lambda: known)


def plan(steps=6, **options):
    return Plan(**{"method": "toy", "steps": steps, "device": "cpu", "precision": "float32", "threads": 1, **options})


def losses(run):
    return [event.losses["supervised"] for event in run if isinstance(event, events.StepDone)]


def saved(tmp_path, files, name="model"):
    for file, content in files.items():
        (tmp_path / file.replace("model", name)).write_bytes(content)
    return tmp_path / f"{name}.json"


class Wishes:
    """Plays back one wish per step."""

    def __init__(self, *wishes):
        self.wishes = itertools.chain(wishes, itertools.repeat(wishes[-1]))

    def wish(self):
        return next(self.wishes)


def test_events_come_in_order(make_discs):
    volume, _ = make_discs()
    run = list(train([volume], (0, 1), plan()))
    assert isinstance(run[0], events.Started)
    assert run[0].labelled == 2
    assert run[0].unlabelled == 6
    assert [type(e).__name__ for e in run if isinstance(e, events.StepDone)] == ["StepDone"] * 6
    assert isinstance(run[-2], events.PredictionReady)
    assert isinstance(run[-1], events.Finished)
    assert run[-1].reason == "budget"
    assert [e.terminal for e in run].count(True) == 1


def test_learning_works(make_discs):
    volume, truth = make_discs()
    keeper = MemoryKeeper()
    curve = losses(train([volume], (0, 1), plan(steps=60), keeper=keeper))
    assert np.mean(curve[-10:]) < 0.5 * np.mean(curve[:5])
    predicted = keeper.predictions["discs"].labels
    assert 2 * ((predicted == 1) & (truth == 1)).sum() / ((predicted == 1).sum() + (truth == 1).sum()) > 0.85


def test_same_seed_same_curve_other_seed_other_curve(make_discs):
    volume, _ = make_discs()
    first, second = (losses(train([volume], (0, 1), plan(seed=3))) for _ in range(2))
    assert first == second
    assert losses(train([volume], (0, 1), plan(seed=4))) != first


def test_resuming_is_exact(make_discs, tmp_path):
    volume, _ = make_discs()
    whole_keeper = MemoryKeeper()
    whole = losses(train([volume], (0, 1), plan(steps=10), keeper=whole_keeper))
    keeper = MemoryKeeper()
    stop_after_four = Wishes(Wish(), *[Wish()] * 4, Wish(stop=True))
    begun = losses(train([volume], (0, 1), plan(steps=10), keeper=keeper, control=stop_after_four))
    assert len(begun) == 4
    interrupted = Model.load(saved(tmp_path, keeper.files))
    rest_keeper = MemoryKeeper()
    state = {name: keeper.files[name] for name in ("state.safetensors", "state.json")}
    rest = losses(train([volume], (0, 1), plan(steps=10), keeper=rest_keeper, start=interrupted, resume=state))
    assert begun + rest == whole
    assert rest_keeper.files["model.safetensors"] == whole_keeper.files["model.safetensors"]


def test_what_lies_under_255_changes_nothing(make_discs):
    """The image under unlabelled voxels matters, the truth there cannot."""
    volume, truth = make_discs()
    labels = volume.labels.copy()
    labels[2, :10] = 255
    one = TrainingVolume("v", volume.image, volume.spacing, labels)
    curve = losses(train([one], (0, 1), plan()))
    assert all(np.isfinite(curve))
    assert (truth[2, :10] != 255).all()


def test_stop_keeps_what_was_learned_and_skips_the_prediction(make_discs):
    volume, _ = make_discs()
    keeper = MemoryKeeper()
    run = list(
        train([volume], (0, 1), plan(steps=1000), keeper=keeper, control=Wishes(Wish(), Wish(), Wish(stop=True)))
    )
    assert run[-1].reason == "stopped"
    assert run[-1].steps >= 1
    assert "model.safetensors" in keeper.files
    assert not keeper.predictions


def test_pause_holds_the_run_and_resume_goes_on(make_discs):
    volume, _ = make_discs()
    control = Wishes(Wish(), Wish(), Wish(pause=True), Wish(pause=True), Wish())
    kinds = [type(e).__name__ for e in train([volume], (0, 1), plan(steps=3), control=control)]
    assert kinds.count("Paused") == kinds.count("Resumed") == 1
    assert kinds.index("Paused") < kinds.index("Resumed") < kinds.index("Finished")
    assert kinds.count("StepDone") == 3


def test_the_shown_plane_is_previewed_at_once_and_when_it_changes(make_discs):
    volume, _ = make_discs()
    keeper = MemoryKeeper()
    control = Wishes(Wish(), Wish(show=("discs", 3)), Wish(show=("discs", 3)), Wish(show=("discs", 4)))
    list(train([volume], (0, 1), plan(steps=4), keeper=keeper, control=control))
    assert set(keeper.previews) == {("discs", 3), ("discs", 4)}
    assert keeper.previews["discs", 3].labels.shape == (1, 48, 48)


def test_a_prediction_on_request_comes_while_training(make_discs):
    volume, _ = make_discs()
    control = Wishes(Wish(), Wish(predict=1))
    kinds = [type(e).__name__ for e in train([volume], (0, 1), plan(steps=5), control=control)]
    assert kinds.count("PredictionReady") == 2
    assert kinds.index("PredictionReady") < len(kinds) - 1 - kinds[::-1].index("StepDone")


def test_a_time_budget_ends_the_run(make_discs):
    volume, _ = make_discs()
    run = list(train([volume], (0, 1), plan(steps=None, minutes=0.5 / 60)))
    assert 0.5 <= run[-1].seconds < 3
    progress = [e.progress for e in run if isinstance(e, events.StepDone)]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_a_step_without_finite_loss_is_skipped_and_told(make_discs):
    volume, _ = make_discs()
    run = list(train([volume], (0, 1), plan(settings={"fail_at": 3})))
    assert any(isinstance(e, events.Notice) and "not finite" in e.text for e in run)
    assert isinstance(run[-1], events.Finished)
    tensors = [e for e in run if isinstance(e, events.StepDone)]
    assert all(np.isfinite(list(e.losses.values())).all() for e in tensors)


def test_out_of_memory_halves_the_batch_and_goes_on(make_discs, monkeypatch):
    volume, _ = make_discs()
    original = Toy.losses

    def hungry(self, networks, batch, progress):
        if len(batch.image) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, networks, batch, progress)

    monkeypatch.setattr(Toy, "losses", hungry)
    run = list(train([volume], (0, 1), plan()))
    assert any(isinstance(e, events.Notice) and "1 labelled and 1 unlabelled" in e.text for e in run)
    assert isinstance(run[-1], events.Finished)


def test_a_warm_start_adopts_weights_and_flushes_state(make_discs, tmp_path):
    volume, _ = make_discs()
    keeper = MemoryKeeper()
    list(train([volume], (0, 1), plan(steps=40), keeper=keeper))
    earlier = Model.load(saved(tmp_path, keeper.files))
    warm = losses(train([volume], (0, 1), plan(steps=3), start=earlier))
    cold = losses(train([volume], (0, 1), plan(steps=3)))
    assert warm[0] < 0.7 * cold[0]
    later = MemoryKeeper()
    list(train([volume], (0, 1), plan(steps=3), start=earlier, keeper=later))
    assert int(Model.load(saved(tmp_path, later.files, "later")).networks["counter"].count) == 3


def test_a_new_class_keeps_the_rows_of_the_old_ones(make_discs, tmp_path):
    volume, _ = make_discs()
    keeper = MemoryKeeper()
    list(train([volume], (0, 5), plan(steps=3), keeper=keeper))
    earlier = Model.load(saved(tmp_path, keeper.files))
    now = Model.build(Toy(), (0, 2, 5), {}, earlier.grid, earlier.rule, small=True)
    fresh = now.networks["net"][3].weight.clone()
    assert now.adopt(earlier) is None
    head = now.networks["net"][3].weight
    assert torch.equal(head[0], earlier.networks["net"][3].weight[0])
    assert torch.equal(head[2], earlier.networks["net"][3].weight[1])
    assert torch.equal(head[1], fresh[1])


def test_a_layer_with_as_many_channels_as_there_are_classes_is_not_taken_for_one_of_classes(make_discs):
    volume, _ = make_discs()
    grid, rule = WorkingGrid.of([volume], 512), IntensityRule.of([volume])
    earlier = Model.build(Toy(), tuple(range(8)), {}, grid, rule, small=True)  # the toy has 8 channels
    now = Model.build(Toy(), (0, *range(2, 9)), {}, grid, rule, small=True)  # class 1 went, class 8 came
    assert now.adopt(earlier) is None
    hidden, head = now.networks["net"][0].weight, now.networks["net"][3].weight
    assert torch.equal(hidden, earlier.networks["net"][0].weight)
    assert torch.equal(head[1:7], earlier.networks["net"][3].weight[2:])


def test_another_method_starts_afresh_and_says_so(make_discs, tmp_path):
    volume, _ = make_discs()
    keeper = MemoryKeeper()
    list(train([volume], (0, 1), plan(steps=1), keeper=keeper))
    earlier = Model.load(saved(tmp_path, keeper.files))
    run = list(train([volume], (0, 1), plan(method="supervised", steps=1, settings={"crop": 32}), start=earlier))
    assert any(isinstance(e, events.Notice) and "starts afresh" in e.text for e in run)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v.labels.fill(255), "No slice is labelled"),
        (lambda v: v.labels.__setitem__(v.labels == 1, 0), "Nothing is painted of 'class 7'"),
        (lambda v: v.labels.__setitem__(v.labels == 0, 255), "Nothing is labelled as background"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(make_discs, change, sentence):
    volume, _ = make_discs()
    change(volume)
    with pytest.raises(InputError, match=sentence):
        list(train([volume], (0, 7), plan()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "unheard"}, "choose one of auto, supervised"),
        ({"settings": {"crop": 7}}, "'crop' of toy cannot be 7"),
        ({"settings": {"corp": 64}}, "Its settings are crop"),
        ({"device": "cuda:9"}, "cuda:9"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(make_discs, options, sentence):
    volume, _ = make_discs()
    with pytest.raises(InputError, match=sentence):
        list(train([volume], (0, 1), plan(**options)))


def test_volumes_of_other_sizes_train_together(make_discs):
    small, _ = make_discs(side=40, name="small")
    large, _ = make_discs(side=72, name="large", labelled=())
    keeper = MemoryKeeper()
    run = list(train([small, large], (0, 1), plan(), keeper=keeper, control=LocalControl()))
    assert isinstance(run[-1], events.Finished)
    assert keeper.predictions["large"].labels.shape == (8, 72, 72)


def test_every_event_survives_a_line_of_json(make_discs):
    volume, _ = make_discs()
    for event in train([volume], (0, 1), plan(steps=2)):
        assert events.from_json(event.to_json()) == event


class Preparing(Toy):
    """Prepares in three steps, and what it prepares comes with each crop."""

    name = "preparing"

    def targets(self, volumes, sources, stopped):
        for done in range(3):
            yield Progress("thinking", done / 3)
        return Targets({"seen": [torch.full(v.image.shape, len(sources), dtype=torch.uint8) for v in volumes]})

    def losses(self, networks, batch, progress):
        assert bool((batch.extras["seen"] == 1)[batch.inside].all())
        return super().losses(networks, batch, progress)


def test_preparation_is_told_between_start_and_first_step(make_discs, monkeypatch):
    monkeypatch.setattr(methods, "_registry", lambda: {"preparing": Preparing})
    volume, _ = make_discs()
    run = list(train([volume], (0, 1), plan(method="preparing", steps=1)))
    kinds = [type(e).__name__ for e in run]
    assert kinds[:6] == ["Started", "Preparing", "Preparing", "Preparing", "StepDone", "CheckpointSaved"]
    assert [e.progress for e in run[1:4]] == pytest.approx([0, 1 / 3, 2 / 3])
    assert run[1].task == "thinking"


def test_stop_while_preparing_learns_nothing_and_leaves_no_model(make_discs, monkeypatch):
    monkeypatch.setattr(methods, "_registry", lambda: {"preparing": Preparing})
    volume, _ = make_discs()
    control, keeper = LocalControl(), MemoryKeeper()
    kinds = []
    for event in train([volume], (0, 1), plan(method="preparing"), control=control, keeper=keeper):
        kinds.append(type(event).__name__)
        if isinstance(event, events.Preparing):
            control.stop()
    assert kinds == ["Started", "Preparing", "Finished"]
    assert event.reason == "stopped"
    assert keeper.files == {}
