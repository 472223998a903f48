"""Held-out slices: never learned from, judged by, calibrated on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from discs import discs
from toy import Toy

from napari_semiseg import methods
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.engine import calibration, events
from napari_semiseg.engine.judge import judge_later
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    real = methods.get
    monkeypatch.setattr(methods, "get", lambda name: Toy if name == "toy" else real(name))


def aside(volume, truth, *planes):
    """Set planes of a volume aside."""
    labels = volume.labels.copy()
    labels[list(planes)] = UNSAID
    held = {plane: truth[plane] for plane in planes}
    return dataclasses.replace(volume, labels=labels, held_out=held, judged=frozenset(planes))


def run(volume, steps=60, **options):
    keeper = MemoryKeeper()
    plan = Plan(method="toy", steps=steps, device="cpu", precision="float32", threads=1)
    return list(train([volume], range(2), plan, keeper=keeper, **options)), keeper


def saved(keeper, folder) -> Model:
    for name in ("model.json", "model.safetensors"):
        (folder / name).write_bytes(keeper.files[name])
    return Model.load(folder)


def test_held_out_slices_are_judged_but_not_learned_from(tmp_path):
    volume, truth = discs(labelled=(1, 4, 6))
    found, keeper = run(aside(volume, truth, 3))
    (judged,) = [event for event in found if isinstance(event, events.Judged)]
    assert found[0].labelled == 3, "of four annotated slices one is set aside"
    assert judged.held_out["slices"] == [["discs", 3]]
    predicted = keeper.predictions["discs"].labels[3]
    dice = 2 * np.sum((predicted == 1) & (truth[3] == 1)) / (np.sum(predicted == 1) + np.sum(truth[3] == 1))
    assert judged.held_out["dice"] == pytest.approx(dice, abs=1e-6)
    assert judged.held_out["classes"] == {"1": judged.held_out["dice"]}
    assert judged.held_out["low"] is None, "one slice has no interval"
    assert events.from_json(judged.to_json()) == judged
    kinds = [type(event).__name__ for event in found]
    assert kinds.index("Judged") < kinds.index("PredictionReady"), "the prediction is calibrated"


def test_what_is_said_on_held_out_slices_changes_no_weight(tmp_path):
    volume, truth = discs(labelled=(1, 4))
    lies = np.zeros_like(truth)
    honest, lying = run(aside(volume, truth, 3), 5)[1], run(aside(volume, lies, 3), 5)[1]
    assert honest.files["model.safetensors"] == lying.files["model.safetensors"]


def test_the_temperature_is_kept_with_the_model_and_applied(tmp_path):
    volume, truth = discs(labelled=(1, 4, 6))
    found, keeper = run(aside(volume, truth, 2, 3, 5))
    (judged,) = [event for event in found if isinstance(event, events.Judged)]
    assert judged.held_out["low"] <= judged.held_out["dice"] <= judged.held_out["high"]
    temperature = judged.calibration["temperature"]
    model = saved(keeper, tmp_path)
    assert model.temperature == temperature
    assert temperature != 1.0
    assert judged.calibration["ece_after"] <= judged.calibration["ece_before"] + 1e-3
    from napari_semiseg.engine.maps import join
    from napari_semiseg.engine.predict import predict_volume

    def probabilities(temperature):
        model.temperature = temperature
        blocks = predict_volume(model, volume.image, volume.spacing)
        return join([block for _, block in blocks]).probabilities[:, 2].reshape(2, -1).T / 255

    plain, after = probabilities(1.0), probabilities(temperature)
    sure = (plain > 0.02).all(axis=1)  # stored in steps of 1/255
    np.testing.assert_allclose(after[sure], calibration.temper(plain[sure], temperature), atol=0.05)
    stored = keeper.predictions["discs"].probabilities[:, 2].reshape(2, -1).T / 255
    np.testing.assert_allclose(stored, after, atol=0.01)


def test_without_held_out_slices_nothing_is_judged(tmp_path):
    volume, _ = discs()
    found, keeper = run(volume, 3)
    assert not any(isinstance(event, events.Judged) for event in found)
    assert saved(keeper, tmp_path).temperature == 1.0
    assert judge_later(saved(keeper, tmp_path), [volume], None) is None


def test_a_model_can_be_judged_later(tmp_path):
    import torch

    volume, truth = discs(labelled=(1, 4, 6))
    found, keeper = run(aside(volume, truth, 3))
    (judged,) = [event for event in found if isinstance(event, events.Judged)]
    later = judge_later(saved(keeper, tmp_path), [aside(volume, truth, 3)], torch.float32)
    assert later.held_out["dice"] == pytest.approx(judged.held_out["dice"], abs=1e-3)
    assert later.calibration["temperature"] == pytest.approx(judged.calibration["temperature"], rel=0.02)


def test_a_structure_on_held_out_slices_only_is_refused_with_the_way_out():
    volume, truth = discs(labelled=(1, 4))
    labels = np.where(volume.labels == 1, 0, volume.labels)
    with pytest.raises(InputError, match="held-out slices only"):
        run(aside(dataclasses.replace(volume, labels=labels), truth, 3))
