"""The loop with methods that look at volumes: everything that the annotator relies on, as with planes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from toy3d import Toy3D, blobs

from napari_semiseg import methods
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.control import Wish
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.maps import join
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import plane_steps, predict_planes, predict_volume, volume_steps
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    known = {**{name: methods.get(name) for name in methods.names()}, "toy3d": Toy3D}
    monkeypatch.setattr(methods, "_registry", lambda: known)
    Toy3D.windows.clear()


class Wishes:
    """Plays back one wish after the other and repeats the last."""

    def __init__(self, *wishes):
        self.wishes = itertools.chain(wishes, itertools.repeat(wishes[-1]))

    def wish(self):
        return next(self.wishes)


def plan(steps=6, method="toy3d", **options):
    return Plan(**{"method": method, "steps": steps, "device": "cpu", "precision": "float32", "threads": 1, **options})


def ball(labelled=(3, 6, 8), name="ball", **options):
    image, truth, spacing = blobs(**options)
    labels = np.full_like(truth, UNSAID)
    labels[list(labelled)] = truth[list(labelled)]
    return TrainingVolume(name, image, spacing, labels), truth


def losses(run):
    return [event.losses for event in run if isinstance(event, events.StepDone)]


def texts(run):
    return [event.text for event in run if isinstance(event, events.Notice)]


def loaded(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Model.load(folder)


def test_learning_works_and_predicts_the_whole_volume():
    volume, truth = ball()
    keeper = MemoryKeeper()
    run = list(train([volume], (0, 1), plan(steps=60), keeper=keeper))
    assert run[0].labelled == 3
    assert run[0].unlabelled == 9
    predicted = keeper.predictions["ball"].labels
    assert predicted.shape == truth.shape
    assert 2 * ((predicted == 1) & (truth == 1)).sum() / ((predicted == 1).sum() + (truth == 1).sum()) > 0.85
    parts = [event.progress for event in run if isinstance(event, events.Predicting)]
    assert parts == sorted(parts)
    assert parts[-1] == 1


def test_resuming_is_exact(tmp_path):
    volume, _ = ball()
    whole_keeper, keeper, rest_keeper = MemoryKeeper(), MemoryKeeper(), MemoryKeeper()
    whole = losses(train([volume], (0, 1), plan(), keeper=whole_keeper))
    stop_after_two = Wishes(*[Wish()] * 3, Wish(stop=True))
    begun = losses(train([volume], (0, 1), plan(), keeper=keeper, control=stop_after_two))
    state = {name: keeper.files[name] for name in ("state.safetensors", "state.json")}
    interrupted = loaded(tmp_path, keeper.files)
    rest = losses(train([volume], (0, 1), plan(), keeper=rest_keeper, start=interrupted, resume=state))
    assert len(begun) == 2
    assert begun + rest == whole
    assert rest_keeper.files["model.safetensors"] == whole_keeper.files["model.safetensors"]


def test_a_loaded_model_predicts_what_it_did(tmp_path):
    volume, _ = ball()
    keeper = MemoryKeeper()
    list(train([volume], (0, 1), plan(method="mc_net", steps=2, settings=TINY), keeper=keeper))
    model = loaded(tmp_path, keeper.files)
    assert model.setup.spacing == (2.0, 1.0, 1.0)
    assert model.setup.planes == 12
    maps = join([block for _, block in predict_volume(model, volume.image, volume.spacing)])
    kept = keeper.predictions["ball"]
    assert np.array_equal(maps.labels, kept.labels)
    assert np.array_equal(maps.probabilities, kept.probabilities)
    assert np.array_equal(maps.disagreement, kept.disagreement)


TINY = {"crop": 32, "depth": 8, "width": 2, "longest_side": 64, "labelled_batch": 1, "unlabelled_batch": 1}


def test_a_warm_start_keeps_the_strides_that_the_weights_were_trained_with(tmp_path):
    """The next round has thicker planes as well; networks built by these would not fit the weights."""
    volume, _ = ball()
    keeper, again = MemoryKeeper(), MemoryKeeper()
    settings = {**TINY, "width": 4}
    list(train([volume], (0, 1), plan(method="mc_net", steps=2, settings=settings), keeper=keeper))
    earlier = loaded(tmp_path, keeper.files)
    thick, _ = ball(name="thick", spacing=(9.0, 1.0, 1.0))
    wanted = plan(method="mc_net", steps=1, settings=settings)
    run = list(train([thick], (0, 1), wanted, start=earlier, keeper=again))
    assert not any("afresh" in text for text in texts(run))
    assert b'"plane_spacing": 2.0' in again.files["model.json"]


@pytest.mark.parametrize(
    ("change", "why"),
    [({"width": 8}, "other sizes"), ({"dimensions": "2d", "crop": 64}, "looked at volumes, this one at planes")],
)
def test_a_model_that_does_not_fit_is_not_continued(tmp_path, change, why):
    """Counters and biases that happen to fit are no start."""
    volume, _ = ball()
    keeper = MemoryKeeper()
    settings = {**TINY, "width": 4}
    list(train([volume], (0, 1), plan(method="mc_net", steps=1, settings=settings), keeper=keeper))
    earlier = loaded(tmp_path, keeper.files)
    other = plan(method="mc_net", steps=1, settings={**settings, **change})
    run = list(train([volume], (0, 1), other, start=earlier))
    assert any("afresh" in text and why in text for text in texts(run))


def test_out_of_memory_halves_the_batch_and_then_names_the_patch(monkeypatch):
    volume, _ = ball()
    original = Toy3D.losses

    def hungry(self, networks, batch, progress):
        if len(batch.image) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, networks, batch, progress)

    monkeypatch.setattr(Toy3D, "losses", hungry)
    limit = 2
    run = list(train([volume], (0, 1), plan(steps=2)))
    assert any("1 labelled and 1 unlabelled" in text for text in texts(run))
    limit = 1
    with pytest.raises(InputError, match="single crop of 8×32×32 pixels"):
        list(train([volume], (0, 1), plan(steps=2)))


def test_the_shown_plane_needs_only_the_slab_around_it():
    volume, _ = ball(planes=40, labelled=(10, 20))
    keeper = MemoryKeeper()
    control = Wishes(Wish(), Wish(), *[Wish(show=("ball", 20))] * 6, Wish(stop=True))
    run = list(train([volume], (0, 1), plan(steps=50), keeper=keeper, control=control))
    assert [event.plane for event in run if isinstance(event, events.PreviewReady)] == [20]
    assert keeper.previews["ball", 20].labels.shape == (1, 48, 48)
    assert Toy3D.windows == [(8, 32, 32)] * 4


def test_a_preview_equals_a_prediction_by_the_same_windows():
    """Where one window covers the slab, the plane comes out as in the whole volume."""
    volume, _ = ball(side=32)
    model = Model.build(Toy3D(), (0, 1), {}, *grid_and_rule(volume), small=True)
    model.networks.eval()
    working = torch.from_numpy(model.rule.apply(volume.image))
    whole = join([maps for _, maps in predict_volume(model, volume.image, volume.spacing)])
    for plane in (0, 5, 11):
        maps = predict_planes(model, working, [plane], (32, 32))
        assert np.array_equal(maps.probabilities[:, 0], whole.probabilities[:, plane])
    assert len(predict_planes(model, working, [1, 7], (32, 32)).labels) == 2


def grid_and_rule(volume):
    from napari_semiseg.data.intensity import IntensityRule
    from napari_semiseg.data.working import WorkingGrid

    return WorkingGrid.of([volume], 512), IntensityRule.of([volume])


def test_a_stop_is_answered_after_the_window_under_way():
    volume, _ = ball(planes=60, labelled=(25, 30))
    control = Wishes(*[Wish()] * 5, Wish(predict=1), Wish(), Wish(stop=True))
    keeper = MemoryKeeper()
    run = list(train([volume], (0, 1), plan(steps=50), keeper=keeper, control=control))
    assert run[-1].reason == "stopped"
    assert not keeper.predictions
    assert len(Toy3D.windows) <= 3
    Toy3D.windows.clear()
    control = Wishes(Wish(), Wish(), Wish(show=("ball", 30)), Wish(stop=True))
    list(train([volume], (0, 1), plan(steps=50), keeper=keeper, control=control))
    assert len(Toy3D.windows) == 1
    assert not keeper.previews


def test_every_window_gives_the_caller_a_turn():
    volume, _ = ball(planes=40)
    model = Model.build(Toy3D(), (0, 1), {}, *grid_and_rule(volume), small=True)
    steps = list(volume_steps(model, volume.image, volume.spacing))
    assert sum(step.maps is None for step in steps) == len(Toy3D.windows)
    assert [step.progress for step in steps] == sorted(step.progress for step in steps)
    assert sum(len(step.maps.labels) for step in steps if step.maps) == 40
    assert sum(maps is None for maps in plane_steps(model, torch.zeros(40, 48, 48), 3, (48, 48))) == 4


@pytest.mark.parametrize("planes", [1, 3])
def test_a_volume_of_too_few_slices_is_refused_with_what_would_work(planes):
    volume, _ = ball(planes=planes, labelled=(0,))
    with pytest.raises(InputError, match=rf"at least 4 slices and 'ball' has {planes}; .* such as supervised"):
        list(train([volume], (0, 1), plan()))


@pytest.mark.parametrize(("planes", "spacing"), [(4, (1.0, 1.0, 1.0)), (9, (10.0, 1.4, 1.4)), (10, (5.0, 1.25, 1.0))])
def test_few_and_thick_slices_train(planes, spacing):
    """Such as ACDC's 8 to 10 slices of 5 to 10 mm."""
    volume, _ = ball(planes=planes, labelled=(1, 2), spacing=spacing)
    keeper = MemoryKeeper()
    run = list(train([volume], (0, 1), plan(method="mc_net", steps=2, settings=TINY), keeper=keeper))
    assert np.isfinite([list(each.values()) for each in losses(run)]).all()
    assert keeper.predictions["ball"].labels.shape == volume.image.shape


def test_a_model_of_volumes_predicts_one_slice():
    volume, _ = ball()
    model = Model.build(Toy3D(), (0, 1), {}, *grid_and_rule(volume), small=True)
    maps = join([m for _, m in predict_volume(model, volume.image[:1], volume.spacing)])
    assert maps.labels.shape == (1, 48, 48)


def test_hardly_any_label_is_said():
    volume, _ = ball(planes=12)
    few = np.full_like(volume.labels, UNSAID)
    few[5, 20:28, 20:28], few[5, 2:6, 2:6] = 1, 0
    scribbled = TrainingVolume("few", volume.image, volume.spacing, few)
    assert any("Less than 1 %" in text for text in texts(train([scribbled], (0, 1), plan(steps=1))))
    assert not any("Less than 1 %" in text for text in texts(train([volume], (0, 1), plan(steps=1))))


def test_planes_as_channels_are_refused():
    with pytest.raises(InputError, match="for methods that look at planes"):
        list(train([ball()[0]], (0, 1), plan(settings={"context": 1})))
