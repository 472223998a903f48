"""Predictions that should agree: consistency of decoders and networks (F; MC-Net; MCF; methods.md 8, 11)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor


def sharpened(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """p^{1/T} / Σ p^{1/T}, without gradient: of two classes .6 becomes .982954 at T = .1.

    Parameters
    ----------
    logits : Tensor, shape (B, C, …)
    temperature : float
        T.
    """
    return (logits.detach().float() / temperature).softmax(dim=1)


def masked_mse(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over classes and the voxels of a mask of (p − target)²; 0 and attached to the graph where it is empty.

    Parameters
    ----------
    logits, target : Tensor, shape (B, C, …)
        The target are probabilities.
    mask : Tensor of bool, shape (B, …)
    """
    squared = (logits.float().softmax(dim=1) - target).square().mean(dim=1)
    return (squared * mask).sum() / mask.sum().clamp(min=1)


def mutual_consistency(logits: Sequence[Tensor], targets: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Σ_{i≠j} MSE(p_i, sg sharpen(p_j)) over the decoders of a network (L_consist).

    Parameters
    ----------
    logits, targets : sequence of Tensor, shape (B, C, …)
        Of each decoder; the targets are `sharpened`.
    mask : Tensor of bool, shape (B, …)
        Where it counts.
    """
    terms = [masked_mse(logits[i], targets[j], mask) for i, j in permutations(range(len(logits)), 2)]
    return torch.stack(terms).sum()
