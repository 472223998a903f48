"""What several networks and a guide say of planes, put together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.data.guide import Guide, shared_out
from napari_semiseg.engine.model import Model

Blend = tuple[Tensor, Tensor | None]
"""Probabilities of planes on the grid of the volume, (planes, C, rows, columns), and disagreement (planes, 1, …)."""


def blended(
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
    elif model.method.walks:
        disagreement = torch.zeros_like(mean[:, :1])
    if guide is not None:
        mean, disagreement = _vote(mean, disagreement, guide, planes)
    return _enlarge(mean, shape), None if disagreement is None else _enlarge(disagreement, shape)


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Return probabilities at another temperature, p^(1/T) normalised over the classes (dimension 1)."""
    if temperature == 1.0:
        return probabilities
    return (probabilities.clamp(min=1e-7).log() / temperature).softmax(dim=1)


def _vote(mean: Tensor, disagreement: Tensor | None, guide: Guide, planes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Average networks and guide on the planes that it covers; where they differ is the disagreement there."""
    chosen = list(planes)
    group = torch.tensor([[c == 0 or c in guide.unsought for c in range(mean.shape[1])]], device=mean.device)
    carried = shared_out(guide.probabilities[chosen].to(mean.device, torch.float32) / 255, mean, group)
    covered = guide.covers[chosen].to(mean.device)[:, None, None, None]
    apart = _difference(mean, carried)
    return (
        torch.where(covered, 0.5 * (mean + carried), mean),
        torch.where(covered, apart, torch.zeros_like(apart) if disagreement is None else disagreement),
    )


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Total variation ½‖p₁−p₂‖₁, shape (B, 1, rows, columns)."""
    return 0.5 * (one - other).abs().sum(dim=1, keepdim=True)


def _enlarge(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(shape):
        return maps
    return functional.interpolate(maps, size=shape, mode="bilinear", align_corners=False)
