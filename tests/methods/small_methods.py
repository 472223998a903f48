from __future__ import annotations

import dataclasses

import numpy as np
import torch

from napari_semiseg import methods
from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.sampling import Batch, PlaneSampler
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.methods import Setup
from napari_semiseg.methods.preparation import completed

# Small enough for seconds: one crop size, few samples, narrow Transformer.
TINY = {
    "supervised": {"crop": 64, "labelled_batch": 2},
    "cross_teaching": {"crop": 64, "labelled_batch": 2, "unlabelled_batch": 2, "transformer_width": 12},
    "bcll": {"crop": 64, "labelled_batch": 2, "samples": 64},
    "mcsc": {"crop": 64, "labelled_batch": 2, "unlabelled_batch": 2, "transformer_width": 12},
    "mcscv2": {
        "crop": 64,
        "labelled_batch": 2,
        "unlabelled_batch": 2,
        "transformer_width": 12,
        "anchors": 64,
        "negatives": 32,
        "bank": 512,
        "confidence": 0.1,
    },
    "lrc": {"crop": 64, "unlabelled_batch": 6, "queue": 16},
}


def tiny(name: str, **settings) -> methods.Method:
    """A method small enough for tests."""
    return methods.get(name).preset("product", small=True, **{**TINY.get(name, {}), **settings})


def shapes(classes=3, planes=6, side=64, labelled=(1, 4), seed=0) -> TrainingVolume:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    truth = np.zeros((planes, side, side), np.uint8)
    for c in range(1, classes):
        truth[:, np.hypot(rows - side * c / classes, columns - side / 2) < side / (2.5 * classes)] = c
    image = (truth + rng.normal(0, 0.2, truth.shape)).astype(np.float32)
    labels = np.full_like(truth, UNSAID)
    labels[list(labelled)] = truth[list(labelled)]
    return TrainingVolume("shapes", image, (5.0, 1.0, 1.0), labels)


def draw_batch(method: methods.Method, volume: TrainingVolume, seed=0, *, plain=True) -> Batch:
    working = to_working([volume], WorkingGrid.of([volume], 512), IntensityRule.of([volume]))
    targets = completed(method.targets(working, [volume], lambda: False))
    working = [
        dataclasses.replace(v, extras={name: maps[i] for name, maps in targets.maps.items()})
        for i, v in enumerate(working)
    ]
    sampler = PlaneSampler(
        working,
        labelled=method.labelled_batch,
        unlabelled=method.unlabelled_batch if method.uses_unlabelled else 0,
        crop=method.crop,
        context=method.context,
        strength=Augmentation(turns=False, rotation=0) if plain else method.strength(),
        seed=seed,
    )
    return sampler.batch()


def built(method: methods.Method, classes=3, seed=0):
    torch.manual_seed(seed)
    return method.networks(Setup(classes=classes, channels=2 * method.context + 1, small=True)).train()
