"""Contrast of confident pixels of one batch (CCT-R: T-eq 6.3–6.5, 6.13; methods.md 6).

Unlike `certainty_contrast` it remembers no negatives: they are the anchors of the other classes, and every one
counts the same (Z is a sum, not a mean per class).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.losses.certainty_contrast import class_loss


def in_batch_contrast(
    embed: Callable[[Tensor], Tensor],
    label: Tensor,
    may_anchor: Tensor,
    *,
    anchors: int = 1000,
    negatives: int = 500,
    temperature: float = 0.1,
    positives: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean over classes and anchors of −log[e^{s_ip} / (e^{s_ip} + Σ_{j≠c} Σ_{k∈n_c^j} e^{s_ik})] (T-eq 6.4).

    Parameters
    ----------
    embed : callable
        Gives the normalised features, float32, shape (m, D), of pixels of given indices, int64, shape (m,).
    label : Tensor of int64, shape (n,)
        Class of each pixel, exchanged between networks and overridden by what the annotator said.
    may_anchor : Tensor of bool, shape (n,)
        A_c: P(y) > ½.
    anchors : int
        At most N per class.
    negatives : int
        At most O per class, ⌊O/(present classes−1)⌋ of each other class.
    temperature : float
    positives : callable, optional
        Turns the normalised mean a^l of the class, shape (D,), into one positive for each of the anchors of given
        indices, shape (m, D): the registered ones (T-eq 6.13). Neither carries a gradient.

    Returns
    -------
    Tensor
        Scalar ≥ 0; 0 and attached to the graph where fewer than two classes have anchors.
    """
    eligible = torch.nonzero(may_anchor)[:, 0]
    classes = label[eligible].unique()
    if len(classes) < 2:
        return 0.0 * embed(eligible[:0]).sum()
    members = [eligible[label[eligible] == c] for c in classes]
    # Detached rather than under no_grad: older autocasts would then keep copies of the weights without a gradient.
    means = [functional.normalize(embed(all_of_them).detach().mean(dim=0), dim=0, eps=1e-6) for all_of_them in members]
    chosen = [_some(mine, anchors) for mine in members]
    embedded = embed(torch.cat(chosen)).split([len(mine) for mine in chosen])
    quota = max(1, negatives // (len(classes) - 1))
    losses = []
    for c, (mine, mean) in enumerate(zip(embedded, means, strict=True)):
        positive = mean if positives is None else positives(chosen[c], mean).detach()
        others = torch.cat([_some(other, quota) for k, other in enumerate(embedded) if k != c])
        ids = torch.zeros(len(others), dtype=torch.int64, device=others.device)
        losses.append(class_loss(mine, positive, others, ids, temperature, balanced=False))
    return torch.stack(losses).mean()


def _some(values: Tensor, count: int) -> Tensor:
    """Return ``count`` random rows, all if fewer."""
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), device=values.device)[:count]]
