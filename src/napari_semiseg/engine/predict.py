"""From networks to label, probability and uncertainty maps on the grid of the volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from napari_semiseg.data.guide import Guide
from napari_semiseg.data.sampling import neighbours
from napari_semiseg.data.working import resample_image, resample_labels
from napari_semiseg.engine.blending import Blend, blended
from napari_semiseg.engine.guides import guide_of
from napari_semiseg.engine.maps import Maps, finished
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.windows import Slab, count_windows, slide
from napari_semiseg.methods.volume import VolumeMethod

_BLOCK_PIXELS = 4_000_000  # output pixels × classes computed at once: bounds the memory, feeds the progress bar


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
        Of the volume, for methods that a random walk teaches: where it covers a plane it has half of the say.
    """
    return finished(model, predict_probabilities(model, working, planes, shape, dtype, guide=guide))


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
        yield finished(model, _look(model, working, [plane], shape, dtype, guide))
        return
    for blend in _plane_blends(model, working, plane, shape, dtype):
        yield None if blend is None else finished(model, blend)


def _plane_blends(
    model: Model, working: Tensor, plane: int, shape: tuple[int, int], dtype: torch.dtype
) -> Iterator[Blend | None]:
    """Look at one plane by a method of volumes: at the slab around it, by windows that hardly overlap."""
    depth = model.method.patch(model.setup)[0]
    first = min(max(plane - depth // 2, 0), max(len(working) - depth, 0))
    for slab in _slabs(model, working[first : first + depth], dtype, overlap=0.0):
        yield None if slab is None else blended(model, [p[plane - first][None] for p in slab.probabilities], shape)


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
    return blended(model, _probabilities(model, image.to(device), dtype), shape, guide, planes)


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
        What is annotated (class indices, 255 not said), for methods that a random walk teaches.
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
        guide = guide_of(model, working, seeds, unsought)
    for first in range(0, len(image), block):
        planes = range(first, min(first + block, len(image)))
        yield Advance(
            planes.stop / len(image), first, finished(model, _look(model, working, planes, shape, dtype, guide))
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
            yield Advance(seen / windows, slab.first + start, finished(model, blended(model, part, shape)))
        first = slab.first + len(slab.probabilities[0])
