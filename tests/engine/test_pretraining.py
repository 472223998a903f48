"""From volumes without labels to a method that starts from what they taught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load

from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.working import WorkingGrid
from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl, Wish
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import predict_planes
from napari_semiseg.engine.pretraining import Pretrained
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError

SMALL = {"crop": 64, "unlabelled_batch": 3, "queue": 16}


def plan(method, steps=2, **settings):
    return Plan(method=method, steps=steps, device="cpu", precision="float32", threads=1, settings=settings)


def saved(keeper, folder):
    folder.mkdir(exist_ok=True)
    for name, content in keeper.files.items():
        (folder / name).write_bytes(content)
    return folder


def unlabelled(make_discs, **options):
    volume, truth = make_discs(**options)
    return dataclasses.replace(volume, labels=np.full_like(volume.labels, 255)), truth


@pytest.fixture
def pretrained(make_discs, tmp_path):
    keeper = MemoryKeeper()
    seen = list(train([unlabelled(make_discs)[0]], (0,), plan("lrc", **SMALL), keeper=keeper))
    return seen, keeper, Model.load(saved(keeper, tmp_path / "lrc"))


def test_volumes_without_labels_and_classes_are_enough_and_nothing_is_predicted(pretrained):
    seen, keeper, model = pretrained
    assert isinstance(seen[0], events.Started)
    assert (seen[0].labelled, seen[0].unlabelled) == (0, 8)
    assert isinstance(seen[-1], events.Finished)
    assert not keeper.predictions
    assert model.class_ids == (0,)
    assert b'"segments":false' in keeper.files["model.json"].replace(b" ", b"")


def test_labels_are_not_looked_at_and_labelled_slices_are_learned_from_too(make_discs):
    volume, truth = make_discs(labelled=range(8))
    curves = []
    for labels in (volume.labels, np.full_like(truth, 255)):
        seen = list(train([dataclasses.replace(volume, labels=labels)], (0, 1), plan("lrc", **SMALL)))
        assert seen[0].unlabelled == 8
        curves.append([e.losses for e in seen if isinstance(e, events.StepDone)])
    assert curves[0] == curves[1]


def test_a_plane_on_the_screen_and_a_wish_for_predictions_are_passed_over(make_discs):
    control = LocalControl()
    control.current = Wish(show=("discs", 3), predict=1)
    keeper = MemoryKeeper()
    list(train([unlabelled(make_discs)[0]], (0, 1), plan("lrc", **SMALL), control=control, keeper=keeper))
    assert not keeper.previews
    assert not keeper.predictions


def test_a_resumed_run_goes_on_exactly(make_discs, tmp_path):
    volume, _ = unlabelled(make_discs)
    whole, broken, resumed = MemoryKeeper(), MemoryKeeper(), MemoryKeeper()
    list(train([volume], (0,), plan("lrc", 4, **SMALL), keeper=whole))
    control = LocalControl()
    for event in train([volume], (0,), plan("lrc", 4, **SMALL), keeper=broken, control=control):
        if isinstance(event, events.StepDone) and event.step == 2:
            control.stop()
    start = Model.load(saved(broken, tmp_path / "broken"))
    torch.manual_seed(99)
    list(train([volume], (0,), plan("lrc", 4, **SMALL), keeper=resumed, start=start, resume=broken.files))
    assert resumed.files["model.safetensors"] == whole.files["model.safetensors"]
    assert broken.files["model.safetensors"] != whole.files["model.safetensors"]


def test_a_later_pre_training_continues_with_an_empty_queue(make_discs, pretrained):
    model = pretrained[2]
    assert int(model.networks["queue"].filled) > 3
    keeper = MemoryKeeper()
    list(train([unlabelled(make_discs)[0]], (0,), plan("lrc", 1, **SMALL), start=model, keeper=keeper))
    assert int(load(keeper.files["model.safetensors"])["queue.filled"]) == 3


@pytest.mark.parametrize(
    ("method", "network", "settings"),
    [
        ("supervised", "unet", {}),
        ("bcll", "unet", {"samples": 16}),
        ("cross_teaching", "cnn", {"transformer_width": 12, "unlabelled_batch": 1}),
        ("mcscv2", "cnn", {"transformer_width": 12, "unlabelled_batch": 1, "bank": 64}),
    ],
)
def test_networks_of_other_names_start_from_it(make_discs, pretrained, method, network, settings):
    model = pretrained[2]
    volume, _ = make_discs()
    keeper, control = MemoryKeeper(), LocalControl()
    control.stop()
    settings = {"crop": 64, "labelled_batch": 1, **settings}
    run = train(
        [volume],
        (0, 1),
        plan(method, **settings),
        pretrained=Pretrained(model, "round 1"),
        keeper=keeper,
        control=control,
    )
    started = next(run)
    list(run)
    assert f"{network} starts pre-trained from round 1" in started.reason
    from safetensors.torch import load

    weights, source = load(keeper.files["model.safetensors"]), model.networks["unet"].state_dict()
    body = [name for name in source if not name.startswith("head")]
    assert all(torch.equal(weights[f"{network}.{name}"], source[name]) for name in body)
    assert weights[f"{network}.head.weight"].shape[0] == 2


def test_a_head_stays_fresh_even_where_it_would_fit():
    build = lambda seed: (  # noqa: E731
        torch.manual_seed(seed),
        Model.build(method("supervised"), (0, 1), {}, WorkingGrid(1.0), IntensityRule(), small=True),
    )[1]
    source, target = build(0), build(1)
    before = target.networks["unet"].head.weight.clone()
    assert Pretrained(source, "round 1").give_to(target)
    assert torch.equal(target.networks["unet"].head.weight, before)
    assert torch.equal(target.networks["unet"].encoder[0][0].weight, source.networks["unet"].encoder[0][0].weight)


def method(name, **settings):
    from napari_semiseg import methods

    return methods.get(name).preset("product", small=True, **settings)


def test_networks_that_do_not_fit_are_named_or_refused(make_discs, pretrained):
    other = Model.build(method("supervised", context=1), (0, 1), {}, WorkingGrid(1.0), IntensityRule(), small=True)
    assert Pretrained(pretrained[2], "round 1").give_to(other)  # all but the first layer fits
    foreign = dataclasses.replace(pretrained[2], networks=torch.nn.ModuleDict({"unet": torch.nn.Linear(2, 2)}))
    assert Pretrained(foreign, "round 1").give_to(other) is None
    with pytest.raises(InputError, match=r"round 1 .* no layers in common"):
        Pretrained(foreign, "round 1", demanded=True).give_to(other)
    volume, _ = make_discs()
    seen = list(
        train([volume], (0, 1), plan("supervised", 1, crop=64, labelled_batch=1), pretrained=Pretrained(foreign, "x"))
    )
    assert any(isinstance(e, events.Notice) and "do not fit" in e.text for e in seen)


def test_a_continued_round_does_not_start_over_from_the_pre_training(make_discs, pretrained):
    volume, _ = make_discs()
    first = Model.build(
        method("supervised", crop=64), (0, 1), {}, WorkingGrid(1.0), IntensityRule.of([volume]), small=True
    )
    run = train(
        [volume],
        (0, 1),
        plan("supervised", 1, crop=64, labelled_batch=1),
        start=first,
        pretrained=Pretrained(pretrained[2], "round 1"),
    )
    assert "pre-trained" not in next(run).reason
    run.close()


def test_a_pre_trained_model_refuses_to_predict(pretrained):
    with pytest.raises(InputError, match="cannot segment"):
        predict_planes(pretrained[2], torch.zeros(1, 64, 64), [0], (64, 64), torch.float32)


def test_no_volume_is_refused():
    with pytest.raises(InputError, match="no volume"):
        list(train([], (0,), plan("lrc")))
