"""Contrast of boundary against interior pixels inside one image, class by class (BCLL; methods.md 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.losses.similarity import Similarity, similarity

UNSAID = 255
_TOLERANCE = 1e-6
# A sample of which less than this part is said counts as scribbled: its windows are never whole.
_COMPLETE_SHARE = 0.5


class _PairOptions(TypedDict):
    kind: Similarity
    kappa: float
    outside: bool


@dataclass(frozen=True)
class Regions:
    """Edge and interior of every class in every image, bool, shape (B, C, H, W); both sides of the boundary."""

    edge: Tensor
    interior: Tensor
    positive: Tensor
    """y^c = [y = c]."""


def regions(label: Tensor, classes: int, radius: int = 3) -> Regions:
    """Find edge and interior by average pooling: edge is where the mean over a window differs from y^c.

    Replicate padding, since zero padding would call the border of the image an edge. Pixels whose window holds 255
    belong to neither. Where a class has no interior of its own at a radius (objects less than 7 pixels wide at 3), the
    radius shrinks down to 1. In scribbled images every said pixel is interior and there is no edge.

    Parameters
    ----------
    label : Tensor of int64, shape (B, H, W)
        Class indices, 255 not said.
    classes : int
    radius : int
        r; the window is 2r+1 pixels wide.
    """
    said = label != UNSAID
    positive = functional.one_hot(torch.where(said, label, 0), classes).permute(0, 3, 1, 2).bool() & said[:, None]
    edge = torch.zeros_like(positive)
    interior = torch.zeros_like(positive)
    undecided = positive.any(dim=(2, 3))
    for r in range(radius, 0, -1):
        at_edge, within = _by_pooling(positive, said, r)
        settled = undecided & ((within & positive).any(dim=(2, 3)) if r > 1 else True)
        edge = torch.where(settled[:, :, None, None], at_edge, edge)
        interior = torch.where(settled[:, :, None, None], within, interior)
        undecided = undecided & ~settled
    scribbled = (said.float().mean(dim=(1, 2)) < _COMPLETE_SHARE)[:, None, None, None]
    return Regions(edge & ~scribbled, torch.where(scribbled, said[:, None].expand_as(interior), interior), positive)


def _by_pooling(positive: Tensor, said: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return edge and interior at one radius, before any fallback."""
    window = 2 * radius + 1
    padding = (radius,) * 4
    values = positive.float()
    mean = functional.avg_pool2d(functional.pad(values, padding, mode="replicate"), window, stride=1)
    open_ = (~said).float()[:, None]
    whole = functional.max_pool2d(functional.pad(open_, padding, mode="replicate"), window, stride=1) == 0
    differs = (mean - values).abs() > _TOLERANCE
    return differs & whole, ~differs & whole


def draw(mask: Tensor, positive: Tensor, count: int, *, balanced: bool) -> Tensor:
    """Draw ``count`` pixel indices of a flattened mask with replacement.

    Parameters
    ----------
    mask, positive : Tensor of bool, shape (pixels,)
    count : int
    balanced : bool
        Half of them where y^c = 1 and half where it is 0, as far as both exist; else uniformly (B-eq 3, 4), which
        leaves few positives of a small organ.

    Returns
    -------
    Tensor of int64, shape (count,)
        Empty when the mask is.
    """
    groups = [mask & positive, mask & ~positive] if balanced else [mask]
    places = [found for group in groups if len(found := torch.nonzero(group)[:, 0])]
    if not places:
        return torch.empty(0, dtype=torch.int64, device=mask.device)
    shares = [count // len(places) + (i < count % len(places)) for i in range(len(places))]
    return torch.cat(
        [found[torch.randint(len(found), (n,), device=found.device)] for found, n in zip(places, shares, strict=True)]
    )


def pair_loss(
    a: Tensor, b: Tensor, is_a: Tensor, is_b: Tensor, *, kind: Similarity, kappa: float, outside: bool, same: bool
) -> Tensor:
    """Mean of (φ(f_i·f_j) − s_ij)², s = +1 if both pixels are of the class, else −1 (B-eq 6–8).

    Parameters
    ----------
    a, b : Tensor, shapes (n, D) and (m, D)
        Unit vectors.
    is_a, is_b : Tensor of bool, shapes (n,) and (m,)
        y^c of the pixels.
    kind, kappa
        See `napari_semiseg.losses.similarity`.
    outside : bool
        Count pairs of two pixels outside the class, as printed. Their target −1 cannot be met by more than two
        vectors, so the product leaves them out.
    same : bool
        ``a`` and ``b`` are the same samples: pairs of a sample with itself are left out.
    """
    target = torch.where(is_a[:, None] & is_b[None], 1.0, -1.0)
    counted = torch.ones_like(target) if outside else (is_a[:, None] | is_b[None]).float()
    if same:
        counted = counted * (1.0 - torch.eye(len(a), device=a.device))
    errors = (similarity(a @ b.T, kind, kappa) - target).square()
    return (errors * counted).sum() / counted.sum().clamp(min=1)


def boundary_contrast(
    features: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    label: Tensor,
    *,
    radius: int = 3,
    samples: int = 512,
    kind: Similarity = "ggd_vmf",
    kappa: float = 0.5,
    balanced: bool = True,
    outside: bool = False,
) -> Tensor:
    """L_BCL: mean over images of the mean over their classes of L_edge-in + L_in-in (B-eq 5).

    Computed in float32 even under autocast. Classes that an image lacks, or of which it shows no interior, are left
    out of its mean. Heads are 1×1 convolutions, so they are applied to the sampled pixels only, which gives the same
    values.

    Parameters
    ----------
    features : Tensor, shape (B, channels, H, W)
        Last decoder map.
    weights, biases : sequence of Tensor, shapes (D, channels) and (D,)
        One feature head per class.
    label : Tensor of int64, shape (B, H, W)
        Class indices, 255 not said.
    radius, samples, kind, kappa, balanced, outside
        See `regions`, `draw` and `pair_loss`.

    Returns
    -------
    Tensor
        Scalar in [0, 8]; 0 and attached to the graph when no class has an interior.
    """
    found = regions(label, len(weights), radius)
    usable = (found.interior & found.positive).any(dim=(2, 3)).tolist()
    flat = features.float().flatten(2)
    per_image: list[Tensor] = []
    with torch.autocast(features.device.type, enabled=False):
        for image, classes in enumerate(usable):
            losses = []
            for c in (c for c, has_interior in enumerate(classes) if has_interior):
                positive = found.positive[image, c].flatten()
                inner = draw(found.interior[image, c].flatten(), positive, samples, balanced=balanced)
                edge = draw(found.edge[image, c].flatten(), positive, samples, balanced=balanced)
                places = torch.cat([inner, edge])
                vectors = flat[image, :, places].T @ weights[c].float().T + biases[c].float()
                vectors = functional.normalize(vectors, dim=1, eps=1e-6)
                inside, at_edge = vectors[: len(inner)], vectors[len(inner) :]
                options: _PairOptions = {"kind": kind, "kappa": kappa, "outside": outside}
                loss = pair_loss(inside, inside, positive[inner], positive[inner], same=True, **options)
                if len(edge):
                    loss = loss + pair_loss(at_edge, inside, positive[edge], positive[inner], same=False, **options)
                losses.append(loss)
            if losses:
                per_image.append(torch.stack(losses).mean())
    if not per_image:
        return 0.0 * flat.sum()
    return torch.stack(per_image).mean()
