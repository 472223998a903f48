"""Class-balanced, patch-wise supervised contrast (MCSC: T ch. 4, eq. 4.2; methods.md 4).

Feature maps are cut into tiles; a group holds one tile of every map, drawn at random, and its pixels are compared with
each other. The matrices of similarities are evaluated a few rows at a time, with their gradient, and then forgotten:
memory does not grow with the square of a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

UNSAID = 255
TILES = {1: 19, 4: 28, 8: 14}
"""Side h' of the tiles at 1/scale of the resolution, pixels of the feature map."""
_CHUNK = 1 << 21  # similarities held at a time: 8 MB in float32, which caches still help with


def tile_groups(maps: int, height: int, width: int, tile: int, device: torch.device | None = None) -> Tensor:
    """Deal the tiles of every map out to groups: group m holds one tile of each map, in an order of the map's own.

    The tiles cover the map: ⌈height/h'⌉ × ⌈width/h'⌉ of them, those at the lower and right border may be smaller. (The
    released code leaves a border out: 28 % of the full map and three quarters of a 28×28 map.)

    Parameters
    ----------
    maps : int
        Number of maps: twice the batch size for two networks.
    height, width : int
    tile : int
        h', the side of a tile.
    device : torch.device, optional

    Returns
    -------
    Tensor of int64, shape (maps, height, width)
        Group 0…M−1 of each pixel.
    """
    columns = -(-width // tile)
    row = torch.arange(height, device=device) // tile
    column = torch.arange(width, device=device) // tile
    tile_of = (row[:, None] * columns + column[None]).flatten()
    count = -(-height // tile) * columns
    order = torch.rand(maps, count, device=device).argsort(dim=1)
    return order[:, tile_of].reshape(maps, height, width)


@dataclass(frozen=True)
class _Rows:
    """Anchors of one class in one group, by place in the pixels sorted by group and class."""

    group: slice
    own: slice
    sizes: list[int]
    """|A_j| of every class in the group."""
    label: int
    weight: float
    """Of each anchor in the loss."""


def patch_contrast(
    features: Tensor,
    label: Tensor,
    group: Tensor,
    *,
    temperature: float = 0.1,
    balanced: bool = True,
    background_anchors: bool = True,
    chunk: int = _CHUNK,
) -> Tensor:
    """L_cl of one scale: mean over groups of the mean over their anchors of ℓ_i.

    ℓ_i = −(1/(|A_y|−1)) Σ_{p∈A_y, p≠i} s_ip + log Σ_j (1/n_ij) Σ_{k∈A_j, k≠i} e^{s_ik}, s_ik = a_i·a_k/τ,
    n_ij = |A_j| − [j = y_i]. The printed sum runs over A_y with i itself; as in the released code it is left out.

    Computed in float32 even under autocast. Groups with fewer than two classes are skipped; the only pixel of a class
    is no anchor, but is a negative.

    Parameters
    ----------
    features : Tensor, shape (n, D)
        Of any length: they are normalised here.
    label : Tensor of int64, shape (n,)
        Class indices; 255 drops the pixel.
    group : Tensor of int64, shape (n,)
        Group of each pixel, see `tile_groups`.
    temperature : float
        τ.
    balanced : bool
        False divides by 1 instead of n_ij: the supervised contrastive loss (SCL).
    background_anchors : bool
        False takes no anchors of class 0, which stays a negative: GLCL.
    chunk : int
        How many similarities are held at a time; changes time and memory, not the value.

    Returns
    -------
    Tensor
        Scalar ≥ 0 (balanced); 0 and attached to the graph when no group is usable.
    """
    with torch.autocast(features.device.type, enabled=False):
        kept = torch.nonzero(label != UNSAID)[:, 0]
        classes = int(label[kept].max()) + 1 if len(kept) else 1
        key = group[kept] * classes + label[kept]
        order = key.argsort(stable=True)
        groups = int(group.max()) + 1 if len(kept) else 0
        sizes = torch.bincount(key, minlength=groups * classes).reshape(groups, classes).tolist()
        rows = list(_anchors(sizes, background_anchors))
        wide = features if features.dtype == torch.float64 else features.float()
        if not rows:
            return 0.0 * wide.sum()
        unit = functional.normalize(wide[kept[order]], dim=1, eps=1e-6)
        return _GroupContrast.apply(unit, rows, temperature, balanced, chunk)


def _anchors(sizes: list[list[int]], background: bool) -> Iterator[_Rows]:
    """Find the anchors of every usable group; ``sizes`` holds the pixels of each class in each group."""
    first = 0 if background else 1
    usable = [sum(size > 0 for size in row) >= 2 and any(size >= 2 for size in row[first:]) for row in sizes]
    start = 0
    for row, use in zip(sizes, usable, strict=True):
        if use:
            anchors = sum(size for size in row[first:] if size >= 2)
            begin = start
            for c, size in enumerate(row):
                if c >= first and size >= 2:
                    group = slice(start, start + sum(row))
                    yield _Rows(group, slice(begin, begin + size), row, c, 1.0 / (anchors * sum(usable)))
                begin += size
        start += sum(row)


class _GroupContrast(torch.autograd.Function):
    """Σ weight·ℓ_i over all anchors, with its gradient in closed form, by blocks of anchors of one class.

    With r_ik = softmax_k(s_ik − log n_{i,y_k}), ∂ℓ_i/∂s_ik = r_ik − [y_k = y_i]/(|A_y|−1) for k ≠ i.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, rows: list[_Rows], temperature: float, balanced: bool, chunk: int) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.zeros_like(unit) if wanted else None
        total = unit.new_zeros(())
        for part in rows:
            members = unit[part.group]
            bias = _bias(part, balanced, unit)
            own = unit[part.own]
            centre = own.sum(dim=0)
            others = part.own.stop - part.own.start - 1
            step = max(1, chunk // len(members))
            for begin in range(0, len(own), step):
                anchors = own[begin : begin + step]
                itself = torch.arange(len(anchors), device=unit.device)
                scores = torch.addmm(bias, anchors, members.T, alpha=1 / temperature)
                scores[itself, itself + part.own.start - part.group.start + begin] = -torch.inf
                log_sums = scores.logsumexp(dim=1)
                to_positives = ((anchors @ centre) - anchors.square().sum(dim=1)) / (others * temperature)
                total += part.weight * (log_sums - to_positives).sum()
                if gradient is None:
                    continue
                shares = scores.sub_(log_sums[:, None]).exp_()
                factor = part.weight / temperature
                place = slice(part.own.start + begin, part.own.start + begin + len(anchors))
                gradient[place].addmm_(shares, members, alpha=factor)
                gradient[part.group].addmm_(shares.T, anchors, alpha=factor)
            if gradient is not None:
                # Σ_i Σ_{p≠i} a_i·a_p of a class: each vector pulls every other one twice.
                gradient[part.own] -= (2 * part.weight / (temperature * others)) * (centre - own)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None, None


def _bias(part: _Rows, balanced: bool, like: Tensor) -> Tensor:
    """−log n_ij per member of the group, shape (members,); 0 where nothing is balanced."""
    sizes = torch.tensor([size - (c == part.label) if balanced else 1 for c, size in enumerate(part.sizes)])
    counts = torch.tensor(part.sizes)
    return -sizes.clamp(min=1).to(like.dtype).log().repeat_interleave(counts).to(like.device)
