"""Contrast of what is foreground and what is background across a batch (FBA-Net, F; methods.md 8).

Printed, the rank weights stand within the logarithm, where they are constants without gradient (F-eq 3, 4, 6); here
they multiply it, as in the released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

_LEAST = 5e-4  # similarities are mapped into [5e-4, .9995], so that both logarithms are finite
_ALPHA = 0.25


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """s_ij (F-eq 1), shape (n, m), of representations (n, D) and (m, D); 0 for a representation of zeros."""
    return functional.normalize(one.float(), dim=1) @ functional.normalize(other.float(), dim=1).T


def held(similarity: Tensor, *, clamped: bool = False) -> Tensor:
    """5e-4 + .999·s; ``clamped`` cuts off instead, as released, which leaves no gradient below 5e-4."""
    if clamped:
        return similarity.clamp(_LEAST, 1 - _LEAST)
    return _LEAST + (1 - 2 * _LEAST) * similarity.clamp(0, 1)


def rank_weights(similarity: Tensor, alpha: float = _ALPHA, *, self_pairs: bool = True, first: int = 0) -> Tensor:
    """w_ij = exp(−α·rank_ij) (F-eq 2): the most similar of each row has the rank ``first``, equals keep their order.

    Parameters
    ----------
    similarity : Tensor, shape (n, m)
    alpha : float
    self_pairs : bool
        False leaves out the diagonal of (n, n): its weight is 0 and it takes no rank.
    first : int
        0; −1 in the released code, whose weights exceed 1.
    """
    ranked = similarity.detach()
    if not self_pairs:
        ranked = ranked.masked_fill(torch.eye(len(ranked), dtype=torch.bool, device=ranked.device), -torch.inf)
    ranks = (-ranked).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    weights = torch.exp(-alpha * (ranks + first))
    return weights if self_pairs else weights.masked_fill(ranked == -torch.inf, 0.0)


def positive_loss(z: Tensor, *, alpha: float = _ALPHA, released: bool = False) -> Tensor:
    """L_pos (F-eq 3, 4) of representations of one kind, shape (n, D): (1/n(n−1)) Σ_{i≠j} −w_ij log s_ij.

    ``released`` takes the mean over all n² pairs, each with itself too, counts ranks from −1 and clamps.
    A single sample has no pair and the loss 0.
    """
    if len(z) < 2 and not released:
        return 0.0 * z.float().sum()
    similarity = cosines(z, z)
    weights = rank_weights(similarity, alpha, self_pairs=released, first=-1 if released else 0)
    pairs = len(z) ** 2 if released else len(z) * (len(z) - 1)
    return -(weights * held(similarity, clamped=released).log()).sum() / pairs


def negative_loss(z: Tensor, others: Tensor, *, alpha: float = _ALPHA, released: bool = False) -> Tensor:
    """L_neg (F-eq 6) of representations of two kinds, (n, D) each: (1/n²) Σ_ij −w_ij log(1 − s_ij).

    ``released`` counts ranks from −1, takes ten times the α, and clamps.
    """
    similarity = cosines(z, others)
    weights = rank_weights(similarity, 10 * alpha if released else alpha, first=-1 if released else 0)
    return -(weights * (1 - held(similarity, clamped=released)).log()).mean()


def info_nce(z: Tensor, others: Sequence[Tensor], *, temperature: float = 0.1) -> Tensor:
    """Mean over i ≠ j of −log e^{s_ij/τ} / (e^{s_ij/τ} + Σ e^{s_ik/τ}), k over all ``others`` (F-Tab 3).

    Parameters
    ----------
    z : Tensor, shape (n, D)
        Representations of one kind, positives of each other; 0 for n = 1.
    others : sequence of Tensor, shape (n, D)
        Those of the other kinds.
    temperature : float
        τ.
    """
    if len(z) < 2 or not others:
        return 0.0 * z.float().sum()
    positive = cosines(z, z) / temperature
    against = torch.logsumexp(torch.cat([cosines(z, other) for other in others], dim=1) / temperature, dim=1)
    losses = torch.logaddexp(positive, against[:, None]) - positive
    apart = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return losses[apart].mean()


def kinds_contrast(
    kinds: Sequence[Tensor],
    *,
    binary: bool,
    loss: str = "fba",
    alpha: float = _ALPHA,
    temperature: float = 0.1,
    released: bool = False,
) -> Tensor:
    """L_contra (F-eq 5, 7) of the representations of foreground and background, or of every class.

    Parameters
    ----------
    kinds : sequence of Tensor, shape (n, D)
        Those that occur.
    binary : bool
        They are foreground and background: L_pos^f + L_pos^b + L_neg. Else they are classes, also where only two occur:
        the sum of all L_pos(c) and of L_neg(c, c') of all pairs, divided by C(C−1).
    loss : str
        ``"fba"`` or ``"info_nce"``.
    alpha, temperature, released
        See the losses.
    """
    count = len(kinds)
    if count < 2:
        return 0.0 * torch.cat([kind.float().flatten() for kind in kinds]).sum() if kinds else torch.zeros(())
    if loss == "info_nce":
        others = [[kind for j, kind in enumerate(kinds) if j != i] for i in range(count)]
        each = [info_nce(kind, rest, temperature=temperature) for kind, rest in zip(kinds, others, strict=True)]
        return torch.stack(each).mean()
    positive = torch.stack([positive_loss(kind, alpha=alpha, released=released) for kind in kinds]).sum()
    if binary:
        return positive + negative_loss(kinds[0], kinds[1], alpha=alpha, released=released)
    negative = [negative_loss(z, other, alpha=alpha, released=released) for z, other in permutations(kinds, 2)]
    return (positive + torch.stack(negative).sum()) / (count * (count - 1))
