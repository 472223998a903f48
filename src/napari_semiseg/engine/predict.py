"""From networks to label, probability and uncertainty maps on the grid of the volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.data.guide import Guide, with_guide
from napari_semiseg.data.sampling import neighbours
from napari_semiseg.data.working import resample_image, resample_labels
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.windows import Slab, count_windows, slide
from napari_semiseg.methods.volume import VolumeMethod
from napari_semiseg.regions.guidance import make_guide

_BLOCK_PIXELS = 4_000_000  # output pixels × classes computed at once: bounds the memory, feeds the progress bar


@dataclass(frozen=True)
class Maps:
    """Prediction of some planes, on the grid of the volume.

    Attributes
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class ids.
    entropy : ndarray of uint8, same shape
        Entropy divided by ln C; 255 ≙ 1.
    disagreement : ndarray of uint8, same shape, or None
        Total variation ½‖p₁−p₂‖₁ of two networks; 255 ≙ 1. None where one network predicts.
    probabilities : ndarray of uint8, shape (C, planes, rows, columns)
        255 ≙ 1.
    """

    labels: np.ndarray
    entropy: np.ndarray
    disagreement: np.ndarray | None
    probabilities: np.ndarray


Blend = tuple[Tensor, Tensor | None]
"""Probabilities of planes on the grid of the volume, (planes, C, rows, columns), and disagreement (planes, 1, …)."""


@dataclass(frozen=True)
class Advance:
    """How far the prediction of a volume is.

    Attributes
    ----------
    progress : float
        0 to 1.
    first : int
        The plane that the first one of ``maps`` is.
    maps : Maps or None
        Planes that are finished, None where none are since the last time.
    """

    progress: float
    first: int
    maps: Maps | None


def working_image(model: Model, image: np.ndarray, spacing: Sequence[float]) -> Tensor:
    """Bring an image to the model's grid and intensity scale.

    Parameters
    ----------
    model : Model
    image : ndarray, shape (planes, rows, columns)
    spacing : sequence of 3 floats
        mm; plane, row, column.
    """
    shape = model.grid.shape((image.shape[1], image.shape[2]), (spacing[1], spacing[2]))
    return resample_image(torch.from_numpy(model.rule.apply(image)), shape)


def guide_of(
    model: Model, working: Tensor, labels: Tensor, plane_spacing: float, unsought: frozenset[int] = frozenset()
) -> Guide | None:
    """Return the guide of a volume on the working grid, None where the model does without.

    Parameters
    ----------
    model : Model
    working : Tensor of float32, shape (planes, rows, columns)
    labels : Tensor of uint8, same shape
        Class indices, 255 not said.
    plane_spacing : float
        mm.
    unsought : frozenset of int
        Class indices for which a label of 0 may stand besides background.
    """
    if not model.method.guidance:
        return None
    closed = model.method.beyond == "background"
    guide = make_guide(working, labels, plane_spacing, model.setup.classes, closed=closed)
    return None if guide is None else replace(guide, unsought=unsought)


def predict_planes(
    model: Model,
    working: Tensor,
    planes: Sequence[int],
    shape: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    *,
    guide: Guide | None = None,
) -> Maps:
    """Predict planes of a volume that was brought to the working grid.

    Parameters
    ----------
    model : Model
    working : Tensor, shape (planes, rows, columns)
        As `working_image` returns.
    planes : sequence of int
    shape : tuple of 2 ints
        Rows and columns of the result.
    dtype : torch.dtype
        bfloat16 computes in mixed precision.
    guide : Guide, optional
        Of the volume, for models that were trained with guidance. The networks look at each plane with and without it,
        and where it covers a plane it has half of the say.
    """
    return _finished(model, predict_probabilities(model, working, planes, shape, dtype, guide=guide))


@torch.inference_mode()
def predict_probabilities(
    model: Model,
    working: Tensor,
    planes: Sequence[int],
    shape: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    *,
    guide: Guide | None = None,
) -> Blend:
    """Return probabilities as the networks give them, before calibration; parameters as in `predict_planes`.

    Returns
    -------
    probabilities : Tensor of float32, shape (planes, C, rows, columns)
    disagreement : Tensor of float32, shape (planes, 1, rows, columns), or None
    """
    if model.method.spatial_axes == 2:
        return _look(model, working, planes, shape, dtype, guide)
    steps = (step for plane in planes for step in _plane_blends(model, working, plane, shape, dtype))
    blends = [step for step in steps if step is not None]
    differing = [blend[1] for blend in blends if blend[1] is not None]
    return torch.cat([blend[0] for blend in blends]), torch.cat(differing) if differing else None


@torch.inference_mode()
def plane_steps(
    model: Model,
    working: Tensor,
    plane: int,
    shape: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    *,
    guide: Guide | None = None,
) -> Iterator[Maps | None]:
    """Predict one plane, with a turn for the caller after every window of methods that look at volumes.

    Parameters
    ----------
    model, working, shape, dtype, guide
        See `predict_planes`.
    plane : int

    Yields
    ------
    Maps or None
        None after a window; the plane at last.
    """
    if model.method.spatial_axes == 2:
        yield _finished(model, _look(model, working, [plane], shape, dtype, guide))
        return
    for blend in _plane_blends(model, working, plane, shape, dtype):
        yield None if blend is None else _finished(model, blend)


def _plane_blends(
    model: Model, working: Tensor, plane: int, shape: tuple[int, int], dtype: torch.dtype
) -> Iterator[Blend | None]:
    """Look at one plane by a method of volumes: at the slab around it, by windows that hardly overlap."""
    depth = model.method.patch(model.setup)[0]
    first = min(max(plane - depth // 2, 0), max(len(working) - depth, 0))
    for slab in _slabs(model, working[first : first + depth], dtype, overlap=0.0):
        yield None if slab is None else _blend(model, [p[plane - first][None] for p in slab.probabilities], shape)


def _look(
    model: Model,
    working: Tensor,
    planes: Sequence[int],
    shape: tuple[int, int],
    dtype: torch.dtype,
    guide: Guide | None,
) -> Blend:
    """Look at planes by a method of planes."""
    device = next(model.networks.parameters()).device
    channels = [neighbours(p, len(working), model.method.context) for p in planes]
    image = torch.stack([working[c] for c in channels])
    views = [None] if guide is None else [guide, None]
    extra = model.method.guide_channels(model.setup.classes)
    looks = [_probabilities(model, with_guide(image, view, planes, extra).to(device), dtype) for view in views]
    joined = [_joined(each, guide) for each in zip(*looks, strict=True)]
    return _blend(model, joined, shape, guide, planes)


def _slabs(model: Model, working: Tensor, dtype: torch.dtype, *, overlap: float) -> Iterator[Slab | None]:
    """Slide the window of a method of volumes over a part of the working grid."""
    device = next(model.networks.parameters()).device
    look = partial(_probabilities, model, dtype=dtype)
    return slide(look, working.to(device), model.method.patch(model.setup), overlap)


def _probabilities(model: Model, image: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Return the softmax of every network."""
    training = model.networks.training
    model.networks.eval()
    try:
        with torch.autocast(image.device.type, dtype) if dtype != torch.float32 else nullcontext():
            return [logits.float().softmax(dim=1) for logits in model.method.predictors(model.networks, image)]
    finally:
        model.networks.train(training)


def _joined(looks: Sequence[Tensor], guide: Guide | None) -> Tensor:
    """Average the looks with and without the guide, which says nothing about the classes nobody looked for."""
    if guide is None:
        return looks[0]
    guided, bare = looks
    return 0.5 * (_shared_out(guided, bare, guide.unsought) + bare)


def _shared_out(probabilities: Tensor, by: Tensor, unsought: frozenset[int]) -> Tensor:
    """Share the mass of background and the unsought classes out among them as other probabilities do."""
    if not unsought:
        return probabilities
    group = [0, *sorted(unsought)]
    share = by[:, group] + 1e-6
    shared = probabilities.clone()
    shared[:, group] = probabilities[:, group].sum(dim=1, keepdim=True) * share / share.sum(dim=1, keepdim=True)
    return shared


def _blend(
    model: Model,
    probabilities: Sequence[Tensor],
    shape: tuple[int, int],
    guide: Guide | None = None,
    planes: Sequence[int] = (),
) -> Blend:
    """Blend the networks' probabilities of some planes, each (planes, C, rows, columns), and the guide's."""
    # Networks without a share in the prediction still count in the disagreement.
    weighted = [p * share for p, share in zip(probabilities, model.method.shares(), strict=True)]
    mean = torch.stack(weighted).sum(dim=0)
    disagreement = None
    if len(probabilities) > 1:
        disagreement = _difference(probabilities[0], probabilities[1])
    elif model.method.guidance:
        disagreement = torch.zeros_like(mean[:, :1])
    if guide is not None:
        mean, disagreement = _vote(mean, disagreement, guide, planes)
    return _enlarge(mean, shape), None if disagreement is None else _enlarge(disagreement, shape)


def _finished(model: Model, blend: Blend) -> Maps:
    """Calibrate and turn into maps."""
    return _maps(model, tempered(blend[0], model.temperature), blend[1])


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Return probabilities at another temperature, p^(1/T) normalised over the classes (dimension 1)."""
    if temperature == 1.0:
        return probabilities
    return (probabilities.clamp(min=1e-7).log() / temperature).softmax(dim=1)


def _vote(mean: Tensor, disagreement: Tensor | None, guide: Guide, planes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Average networks and guide on the planes that it covers; where they differ is the disagreement there."""
    chosen = list(planes)
    carried = _shared_out(guide.probabilities[chosen].to(mean.device, torch.float32) / 255, mean, guide.unsought)
    covered = guide.covers[chosen].to(mean.device)[:, None, None, None]
    apart = _difference(mean, carried)
    return (
        torch.where(covered, 0.5 * (mean + carried), mean),
        torch.where(covered, apart, torch.zeros_like(apart) if disagreement is None else disagreement),
    )


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Total variation ½‖p₁−p₂‖₁, shape (B, 1, rows, columns)."""
    return 0.5 * (one - other).abs().sum(dim=1, keepdim=True)


def predict_volume(
    model: Model,
    image: np.ndarray,
    spacing: Sequence[float],
    dtype: torch.dtype = torch.float32,
    *,
    labels: np.ndarray | None = None,
    unsought: frozenset[int] = frozenset(),
) -> Iterator[tuple[int, Maps]]:
    """Predict a whole volume block by block.

    Parameters
    ----------
    model : Model
    image : ndarray, shape (planes, rows, columns)
    spacing : sequence of 3 floats
        mm; plane, row, column.
    dtype : torch.dtype
        bfloat16 computes in mixed precision.
    labels : ndarray of uint8, same shape, optional
        What is annotated (class indices, 255 not said), for models that were trained with guidance.
    unsought : frozenset of int
        Class indices that nobody looked for, where it is annotated.

    Yields
    ------
    first plane of the block, Maps
    """
    for step in volume_steps(model, image, spacing, dtype, labels=labels, unsought=unsought):
        if step.maps is not None:
            yield step.first, step.maps


@torch.inference_mode()
def volume_steps(
    model: Model,
    image: np.ndarray,
    spacing: Sequence[float],
    dtype: torch.dtype = torch.float32,
    *,
    labels: np.ndarray | None = None,
    unsought: frozenset[int] = frozenset(),
) -> Iterator[Advance]:
    """Predict a whole volume as `predict_volume` does, with a turn for the caller whenever some of it is done."""
    shape = (image.shape[1], image.shape[2])
    working = working_image(model, image, spacing)
    block = max(1, math.floor(_BLOCK_PIXELS / (shape[0] * shape[1] * model.setup.classes)))
    if model.method.spatial_axes == 3:
        yield from _window_steps(model, working, shape, dtype, block)
        return
    guide = None
    if labels is not None:
        seeds = resample_labels(torch.from_numpy(np.ascontiguousarray(labels)), (working.shape[1], working.shape[2]))
        guide = guide_of(model, working, seeds, spacing[0], unsought)
    for first in range(0, len(image), block):
        planes = range(first, min(first + block, len(image)))
        yield Advance(
            planes.stop / len(image), first, _finished(model, _look(model, working, planes, shape, dtype, guide))
        )


def _window_steps(
    model: Model, working: Tensor, shape: tuple[int, int], dtype: torch.dtype, block: int
) -> Iterator[Advance]:
    assert isinstance(model.method, VolumeMethod)
    overlap = model.method.overlap
    windows = count_windows(working.shape, model.method.patch(model.setup), overlap)
    seen = first = 0
    for slab in _slabs(model, working, dtype, overlap=overlap):
        if slab is None:
            seen += 1
            yield Advance(seen / windows, first, None)
            continue
        for start in range(0, len(slab.probabilities[0]), block):
            part = [p[start : start + block] for p in slab.probabilities]
            yield Advance(seen / windows, slab.first + start, _finished(model, _blend(model, part, shape)))
        first = slab.first + len(slab.probabilities[0])


def join(blocks: Sequence[Maps]) -> Maps:
    """Join consecutive blocks of planes."""
    differing = [block.disagreement for block in blocks if block.disagreement is not None]
    return Maps(
        labels=np.concatenate([block.labels for block in blocks]),
        entropy=np.concatenate([block.entropy for block in blocks]),
        disagreement=np.concatenate(differing) if differing else None,
        probabilities=np.concatenate([block.probabilities for block in blocks], axis=1),
    )


def _enlarge(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(shape):
        return maps
    return functional.interpolate(maps, size=shape, mode="bilinear", align_corners=False)


def _maps(model: Model, probabilities: Tensor, disagreement: Tensor | None) -> Maps:
    ids = torch.tensor(model.class_ids, dtype=torch.uint8, device=probabilities.device)
    entropy = torch.special.entr(probabilities).sum(dim=1) / math.log(model.setup.classes)
    return Maps(
        labels=ids[probabilities.argmax(dim=1)].cpu().numpy(),
        entropy=_bytes(entropy),
        disagreement=None if disagreement is None else _bytes(disagreement[:, 0]),
        probabilities=_bytes(probabilities.transpose(0, 1)),
    )


def _bytes(values: Tensor) -> np.ndarray:
    """Return values of 0…1 as uint8, 255 ≙ 1."""
    return values.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8).cpu().numpy()
