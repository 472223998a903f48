"""Confident disagreement, reliable voxels and class prototypes (D; methods.md 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_PER_CLASS = 2048  # unreliable voxels looked at


def disagreement_loss(logits: Sequence[Tensor], mask: Tensor, confidence: float) -> Tensor:
    """L_reg = (1/max(|M|,1)) Σ_{v∈M} ‖p_A − p_B‖₁ in [0, 2], M the voxels of a mask of confident disagreement.

    D-eq 4 and 5; printed as a sum over voxels, which would be some 10⁵ times the other terms.

    Parameters
    ----------
    logits : sequence of 2 Tensors, shape (B, C, …)
    mask : Tensor of bool, shape (B, …)
    confidence : float
        T_c: both networks are surer than this of different classes.
    """
    one, other = (each.float().softmax(dim=1) for each in logits)
    (sure, first), (sure_too, second) = one.max(dim=1), other.max(dim=1)
    differ = mask & (first != second) & (sure > confidence) & (sure_too > confidence)
    return ((one - other).abs().sum(dim=1) * differ).sum() / differ.sum().clamp(min=1)


def reliable(entropies: Tensor, mask: Tensor, unreliable: float) -> Tensor:
    """Which voxels of a mask have an entropy up to the (1−α)-quantile of those in it, bool.

    Parameters
    ----------
    entropies : Tensor, shape (B, …)
    mask : Tensor of bool, same shape
    unreliable : float
        α.
    """
    values = entropies[mask]
    if values.numel() == 0:
        return torch.zeros_like(mask)
    # torch.quantile refuses more than 16 million values, kthvalue does not.
    rank = min(values.numel(), max(1, math.ceil((1 - unreliable) * values.numel())))
    return mask & (entropies <= values.kthvalue(rank).values)


def prototypes(features: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean of unit features of each class (D-eq 6) and which classes occur, shapes (C, channels) and (C,).

    Parameters
    ----------
    features : Tensor, shape (n, channels)
        Of reliable voxels.
    classes : Tensor of int64, shape (n,)
    count : int
        C.
    """
    unit = functional.normalize(features.float(), dim=1)
    sums = unit.new_zeros((count, unit.shape[1])).index_add(0, classes, unit)
    voxels = torch.bincount(classes, minlength=count)
    return sums / voxels.clamp(min=1)[:, None], voxels > 0


def attraction(features: Tensor, classes: Tensor, centres: Tensor, known: Tensor) -> Tensor:
    """Mean of −log softmax_k(−‖f̂ − ĉ_k‖²) at the class of each unreliable voxel (D-eq 7); centres get no gradient.

    Parameters
    ----------
    features : Tensor, shape (n, channels)
    classes : Tensor of int64, shape (n,)
        Voxels of classes without a prototype do not count.
    centres : Tensor, shape (C, channels)
    known : Tensor of bool, shape (C,)
    """
    features, classes = features[known[classes]], classes[known[classes]]
    if len(features) == 0:
        return 0.0 * features.float().sum()
    distances = _squared(functional.normalize(features.float(), dim=1), functional.normalize(centres.detach(), dim=1))
    return functional.cross_entropy((-distances).masked_fill(~known, -torch.inf), classes)


def repulsion(centres: Tensor, known: Tensor) -> Tensor:
    """Mean over pairs of known prototypes of max(0, 2 − ‖ĉ_k − ĉ_k'‖²)/2: 0 for orthogonal ones, 1 for equal ones."""
    unit = functional.normalize(centres[known], dim=1)
    pairs = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    if pairs.shape[1] == 0:
        return 0.0 * centres.sum()
    return ((2 - (unit[pairs[0]] - unit[pairs[1]]).square().sum(dim=1)).clamp(min=0) / 2).mean()


def some_of_each(classes: Tensor, count: int, most: int = _PER_CLASS) -> Tensor:
    """Return the indices of at most so many random voxels of every class."""
    chosen = []
    for c in range(count):
        found = torch.nonzero(classes == c)[:, 0]
        if len(found) > most:
            # Drawn on the CPU, whose generator's state is saved with a run.
            found = found[torch.randperm(len(found))[:most].to(found.device)]
        chosen.append(found)
    return torch.cat(chosen)


def _squared(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances, shape (n, m)."""
    return (one[:, None] - other[None]).square().sum(dim=2)
