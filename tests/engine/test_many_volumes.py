"""Volumes that differ in spacing, intensities and in which classes were looked for, in one training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.engine.events import Finished
from napari_semiseg.engine.guides import guide_of
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.maps import join
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import predict_volume, working_image
from napari_semiseg.engine.train import train

CALM = {"augmentation": "turns", "crop": 64, "labelled_batch": 4, "longest_side": 64, "learning_rate": 3e-3}


def two_structures(name: str, seed: int, *, side: int = 48, scale: float = 1.0, offset: float = 0.0):
    """A bright disc (1) and a brighter square (2), 40 mm wide, six planes; the image in units of its own."""
    rows, columns = np.indices((side, side)) * (48 / side)
    disc = np.hypot(rows - 14, columns - 14) < 8
    square = (np.abs(rows - 34) < 8) & (np.abs(columns - 34) < 8)
    truth = np.tile((disc + 2 * square).astype(np.uint8), (6, 1, 1))
    noise = np.random.default_rng(seed).normal(0, 0.1, truth.shape)
    image = (np.choose(truth, (0.0, 1.0, 2.0)) + noise) * scale + offset
    spacing = (4.0, 48 / side, 48 / side)
    return TrainingVolume(name, image.astype(np.float32), spacing, np.full_like(truth, UNSAID)), truth


def labelled(volume, truth, classes):
    """Planes 1 and 4 complete as somebody leaves them who looks for some classes only."""
    labels = volume.labels.copy()
    for plane in (1, 4):
        labels[plane] = np.where(np.isin(truth[plane], classes), truth[plane], 0)
    unsought = frozenset({1, 2} - set(classes))
    return TrainingVolume(volume.id, volume.image, volume.spacing, labels, unsought=unsought)


def dice(predicted: np.ndarray, truth: np.ndarray, c: int) -> float:
    return 2 * ((predicted == c) & (truth == c)).sum() / ((predicted == c).sum() + (truth == c).sum())


def learn(volumes, steps=120, method="supervised", **settings):
    keeper = MemoryKeeper()
    plan = Plan(method=method, steps=steps, settings={**CALM, **settings}, precision="float32", device="cpu", threads=1)
    events = list(train(volumes, (0, 1, 2), plan, keeper=keeper))
    assert isinstance(events[-1], Finished), events[-1]
    return keeper


def test_each_volume_brings_its_classes_its_spacing_and_its_intensities():
    first, truth = two_structures("discs only", 0)
    second, finer = two_structures("squares only", 1, side=96, scale=700.0, offset=-300.0)
    keeper = learn([labelled(first, truth, (1,)), labelled(second, finer, (2,))])
    for name, expected in (("discs only", truth), ("squares only", finer)):
        for c in (1, 2):
            assert dice(keeper.predictions[name].labels, expected, c) > 0.8, (name, c)


def test_without_telling_what_was_looked_for_it_would_be_background():
    first, truth = two_structures("discs only", 0)
    second, other = two_structures("squares only", 1)
    volumes = [labelled(first, truth, (1,)), labelled(second, other, (2,))]
    told = [TrainingVolume(v.id, v.image, v.spacing, v.labels) for v in volumes]
    assert dice(learn(told).predictions["discs only"].labels, truth, 2) < 0.8


def test_the_walk_says_nothing_about_classes_nobody_looked_for(tmp_path: Path):
    volume, truth = two_structures("guided", 0)
    other, _ = two_structures("other", 1)
    partial = labelled(volume, truth, (1,))
    keeper = learn([partial, labelled(other, truth, (1, 2))], 60, "walk_teaching")
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes(keeper.files[name])
    model = Model.load(tmp_path)
    maps = join([m for _, m in predict_volume(model, partial.image, partial.spacing, labels=partial.labels,
                                              unsought=partial.unsought)])  # fmt: skip
    assert dice(maps.labels[2:4], truth[2:4], 2) > 0.8
    assert dice(maps.labels[2:4], truth[2:4], 1) > 0.8
    total = maps.probabilities.astype(int).sum(axis=0)
    assert np.abs(total - 255).max() <= 2
    working = working_image(model, partial.image, partial.spacing)
    guide = guide_of(model, working, torch.from_numpy(partial.labels), partial.unsought)
    assert guide is not None
    assert guide.unsought == {2}
