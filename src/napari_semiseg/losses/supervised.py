"""Masked cross entropy, Dice and entropy (methods.md 1.3). Everywhere 255 means not said and counts nothing.

Where not every class was looked for, label 0 says less: "background or one of the classes not looked for". The losses
then see the sum of the probabilities of these classes, so they ask for nothing among them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

UNSAID = 255
_SMOOTH = 1e-5


def cross_entropy(
    logits: Tensor, label: Tensor, weight: Tensor | None = None, *, merged: Tensor | None = None
) -> Tensor:
    """CE = Σ m·(−log p_y) / max(Σ m, 1), with p₀ the sum over the merged classes.

    Parameters
    ----------
    logits : Tensor, shape (B, C, …)
    label : Tensor of int64, shape (B, …)
        Class indices, 255 not said.
    weight : Tensor, shape (B, …), optional
        Multiplies the mask m = [y ≠ 255].
    merged : Tensor of bool, shape (B, K ≤ C), optional
        For which classes label 0 stands in each sample; column 0 is true. Only background by default.

    Returns
    -------
    Tensor
        Scalar, 0 and attached to the graph when nothing is said.
    """
    mask = _mask(label, weight)
    losses = functional.cross_entropy(logits.float(), label, ignore_index=UNSAID, reduction="none")
    if merged is not None:
        group = merged_group(merged, logits)
        either = logits.float().log_softmax(dim=1).masked_fill(~group, -math.inf).logsumexp(dim=1)
        losses = torch.where(label == 0, -either, losses)
    # Sums of weights below one voxel would blow the loss up; methods.md bounds the divisor by 1.
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def dice_loss(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    *,
    all_classes: bool = False,
    merged: Tensor | None = None,
) -> Tensor:
    """(1/|K|) Σ_{c∈K} [1 − (2 Σ m p_c g_c + ε) / (Σ m p_c² + Σ m g_c² + ε)], ε = 1e-5, sums over the whole batch.

    Parameters
    ----------
    logits : Tensor, shape (B, C, …)
    label : Tensor of int64, shape (B, …)
        Class indices, 255 not said.
    weight : Tensor, shape (B, …), optional
        Multiplies the mask m = [y ≠ 255].
    all_classes : bool
        K = all classes, as printed; by default K = classes that occur in the labels, since the loss of an absent one
        is about 1 with almost no gradient.
    merged : Tensor of bool, shape (B, K ≤ C), optional
        For which classes label 0 stands in each sample; where it is said, p₀ is their sum and their own p_c are 0.

    Returns
    -------
    Tensor
        Scalar in [0, 1], 0 and attached to the graph when nothing is said.
    """
    mask = _mask(label, weight)[:, None]
    probabilities = logits.float().softmax(dim=1)
    if merged is not None:
        group = merged_group(merged, logits)
        either = (probabilities * group).sum(dim=1, keepdim=True)
        rest = torch.cat([either, probabilities[:, 1:] * ~group[:, 1:]], dim=1)
        probabilities = torch.where((label == 0)[:, None], rest, probabilities)
    classes = logits.shape[1]
    known = torch.where(label == UNSAID, 0, label)
    truth = functional.one_hot(known, classes).movedim(-1, 1).to(probabilities.dtype) * (mask > 0)
    axes = [0, *range(2, logits.dim())]
    both = (mask * probabilities * truth).sum(axes)
    present = (mask * truth).sum(axes)
    total = (mask * probabilities.square()).sum(axes) + present
    losses = 1 - (2 * both + _SMOOTH) / (total + _SMOOTH)
    counted = torch.ones_like(present, dtype=torch.bool) if all_classes else present > 0
    if not bool((mask > 0).any()):
        return 0.0 * logits.float().sum()
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def soft_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Σ m·(−Σ_c t_c log p_c) / max(Σ [m > 0], 1), for targets that are probabilities.

    Parameters
    ----------
    logits, target : Tensor, shape (B, C, …)
    weight : Tensor, shape (B, …)
        m, 0 where there is no target.
    """
    losses = -(target * logits.float().log_softmax(dim=1)).sum(dim=1)
    return (losses * weight).sum() / (weight > 0).sum().clamp(min=1)


def soft_dice_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 − (1/C) Σ_c (2 Σ m p_c t_c + 1) / (Σ m (p_c + t_c) + 1), sums over the whole batch.

    The sums are not of squares as in `dice_loss`, so decided answers are favoured over ones as open as the target.

    Parameters
    ----------
    logits, target : Tensor, shape (B, C, …)
    weight : Tensor, shape (B, …)
        m, 0 where there is no target.
    """
    mask = weight[:, None]
    probabilities = logits.float().softmax(dim=1)
    axes = [0, *range(2, logits.dim())]
    both = (mask * probabilities * target).sum(axes)
    total = (mask * (probabilities + target)).sum(axes)
    return 1 - ((2 * both + 1) / (total + 1)).mean()


def entropy(logits: Tensor) -> Tensor:
    """H(p) = −Σ_c p_c log p_c in [0, ln C], shape (B, …) for logits (B, C, …)."""
    log_probabilities = logits.float().log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def normalised_entropy(logits: Tensor) -> Tensor:
    """Entropy divided by ln C, in [0, 1]."""
    return entropy(logits) / math.log(logits.shape[1])


def merged_group(merged: Tensor, logits: Tensor) -> Tensor:
    """Bring the classes that label 0 stands for in each sample, bool (B, K ≤ C), to the shape (B, C, 1, …)."""
    padded = functional.pad(merged, (0, logits.shape[1] - merged.shape[1]), value=False)
    return padded.reshape(*padded.shape, *(1 for _ in logits.shape[2:]))


def _mask(label: Tensor, weight: Tensor | None) -> Tensor:
    mask = (label != UNSAID).float()
    return mask if weight is None else mask * weight
