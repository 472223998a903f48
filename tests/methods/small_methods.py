from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from napari_semiseg import methods
from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.engine.model import setup_of
from napari_semiseg.engine.streams import sampler_of
from napari_semiseg.methods import Setup
from napari_semiseg.networks import NetworkOutput
from napari_semiseg.regions.guidance import make_guide
from napari_semiseg.steps import completed

PAIRS = {"crop": 64, "labelled_batch": 2, "unlabelled_batch": 2}
REGISTERED = {
    "registered_labels": 1.0,
    "registered_contrast": 1e-3,
    "registered_anchors": 64,
    "registered_negatives": 32,
    "registered_confidence": 0.1,
    "registered_scale": 4,
}
# Small enough for seconds: one crop size, few samples, narrow Transformer. After a comma, a variant of a method.
TINY = {
    "supervised": {"crop": 64, "labelled_batch": 2},
    "mean_teacher": PAIRS,
    "uamt": PAIRS,
    "ict": PAIRS,
    "walk_teaching": PAIRS,
    "dct": PAIRS,
    "cct": PAIRS,
    "cps": PAIRS,
    "uamt, registered": {**PAIRS, **REGISTERED},
    "cps, registered": {**PAIRS, **REGISTERED},
    "cross_teaching": {**PAIRS, "transformer_width": 12},
    "cross_teaching, swin_unet": {**PAIRS, "transformer_width": 12, "transformer": "swin_unet"},
    "bcll": {"crop": 64, "labelled_batch": 2, "samples": 64},
    "mcsc": {**PAIRS, "transformer_width": 12},
    "mcscv2": {**PAIRS, "transformer_width": 12, "anchors": 64, "negatives": 32, "bank": 512, "confidence": 0.1},
    "cct_r": {**PAIRS, **REGISTERED, "transformer_width": 12},
    "fba_net": {"crop": 32, "depth": 8, "width": 4},
    "mc_net": {"crop": 32, "depth": 8, "width": 4, "decoders": 3},
    "mcf": {"crop": 32, "depth": 8, "width": 2},
    "dual_stream": {"crop": 32, "depth": 8, "width": 2},
    "fba_net, 2d": {**PAIRS, "dimensions": "2d", "width": 4},
    "lrc": {"crop": 64, "unlabelled_batch": 6, "queue": 16},
}
CASES = [*methods.names(), *(case for case in TINY if "," in case)]
SEGMENTING = [case for case in CASES if methods.get(case.partition(",")[0]).needs_labels]


def tiny(case: str, **settings) -> methods.Method:
    """A method, or a variant of one, small enough for tests."""
    kind = methods.get(case.partition(",")[0])
    return kind.preset("product", small=True, **{**TINY.get(case, {}), **settings})


def muted(case: str) -> dict[str, float]:
    """Settings under which a method learns from labels only."""
    return {
        field: 0.0
        for field in (
            "consistency",
            "contrast",
            "correction",
            "unsupervised",
            "registered_labels",
            "registered_contrast",
        )
        if field in type(tiny(case)).model_fields
    }


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
    grid = WorkingGrid.of([volume], 512)
    classes = 1 + max(int(volume.labels[volume.labels != UNSAID].max(initial=0)), *volume.unsought, 0)
    working = to_working([volume], grid, IntensityRule.of([volume]))
    targets = completed(method.targets(working, [volume], lambda: False))
    working = [
        dataclasses.replace(
            v,
            extras={name: maps[i] for name, maps in targets.maps.items()},
            guide=make_guide(v.image, v.labels, classes, closed=method.closed) if method.walks else None,
        )
        for i, v in enumerate(working)
    ]
    strength = Augmentation(turns=False, rotation=0) if plain else method.strength()
    setup = setup_of(method, classes, grid, small=True)
    return sampler_of(
        method, setup, working, strength=strength, seed=seed, correspondences=targets.correspondences
    ).batch()


def cut(batch: Batch, height: int, width: int) -> Batch:
    """The batch with the last rows and columns cut off."""

    def smaller(value: torch.Tensor) -> torch.Tensor:
        return value[..., :height, :width] if value.shape[-2:] == batch.image.shape[-2:] else value

    return batch._changed(smaller)


def built(method: methods.Method, classes=3, seed=0):
    torch.manual_seed(seed)
    channels = method.channels
    setup = Setup(classes=classes, channels=channels, small=True, spacing=(5.0, 1.0, 1.0), planes=6)
    return method.networks(setup).train()


def has_gradient(module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def random_logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Says(nn.Module):
    """A network that answers with what it was told, and counts images and calls."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.images = answer, []

    def forward(self, image):
        self.images.append(image)
        answer = self.answer(image) if callable(self.answer) else self.answer
        return NetworkOutput(answer.expand(len(image), *answer.shape[1:]))


def sharp(networks, factor=50.0):
    """Make untrained networks sure of what they say."""
    for key, head in networks.named_modules():
        if key.endswith("head"):
            head.weight.data *= factor
    return networks
