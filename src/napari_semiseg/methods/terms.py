"""Loss terms that several methods share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.losses.supervised import cross_entropy, dice_loss, merged_group

_IMPOSSIBLE = -1e4  # and not −∞, of which an entropy is not a number


def supervised(logits: Tensor, batch: Batch, *, all_classes: bool = False) -> Tensor:
    """½(CE + Dice) over what is labelled (methods.md 1.3); scribbled planes count in the cross entropy only.

    Where not every class was looked for, label 0 leaves open which of the others it is (`Batch.merged`).

    Dice on strokes would be biased, so it takes the planes of which at least half is labelled (12-A).

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W) or (B, C, D, H, W)
    batch : Batch
    all_classes : bool
        See `dice_loss`.
    """
    ce = cross_entropy(logits, batch.coarse, batch.weights, merged=batch.merged)
    if not bool(_dense(batch).any()):
        return 0.5 * ce
    return 0.5 * (ce + _dice(logits, batch, all_classes=all_classes))


def supervised_dice(logits: Tensor, batch: Batch) -> Tensor:
    """Dice alone over what is labelled; ½CE, as in `supervised`, of a batch that has nothing but scribbles.

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W) or (B, C, D, H, W)
    batch : Batch
    """
    if not bool(_dense(batch).any()):
        return supervised(logits, batch)
    return _dice(logits, batch)


def _dice(logits: Tensor, batch: Batch, *, all_classes: bool = False) -> Tensor:
    weights = batch.weights * _dense(batch)
    return dice_loss(logits, batch.coarse, weights, all_classes=all_classes, merged=batch.merged)


def _dense(batch: Batch) -> Tensor:
    """Which planes are labelled densely enough for Dice, bool, shape (B, 1, 1) or (B, D, 1, 1)."""
    within = batch.inside.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    return ((batch.coarse != UNSAID) & batch.inside).sum(dim=(-2, -1), keepdim=True) >= COMPLETE_SHARE * within


def possible(logits: Tensor, batch: Batch) -> Tensor:
    """Return logits, without gradient, in which what the annotator ruled out is as good as impossible.

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W) or (B, C, D, H, W)
    batch : Batch
        Its ``either`` pixels can only be one of its ``merged`` classes.
    """
    logits = logits.detach()
    if batch.either is None or batch.merged is None:
        return logits
    return logits.masked_fill(batch.either[:, None] & ~merged_group(batch.merged, logits), _IMPOSSIBLE)


def permitted(label: Tensor, batch: Batch) -> Tensor:
    """Return labels that come from elsewhere, 255 where the annotator ruled them out.

    Parameters
    ----------
    label : Tensor of int64, shape (B, H, W) or (B, D, H, W)
        Class indices, 255 nothing.
    batch : Batch
        See `possible`.
    """
    if batch.either is None or batch.merged is None:
        return label
    classes = batch.merged.shape[1]
    merged = batch.merged.gather(1, label.clamp(max=classes - 1).flatten(1)).view_as(label) & (label < classes)
    return torch.where(batch.either & ~merged, UNSAID, label)


def pseudo_label(logits: Tensor, batch: Batch) -> Tensor:
    """Return the most probable class that the annotator did not rule out, without gradient, shape (B, …)."""
    return possible(logits, batch).argmax(dim=1)


def sharpened(logits: Tensor, batch: Batch, temperature: float = 0.1) -> Tensor:
    """p^{1/T} / Σ p^{1/T}, without gradient: of two classes .6 becomes .982954 at T = .1 (MC-Net, F, MCF).

    Parameters
    ----------
    logits : Tensor, shape (B, C, …)
    batch : Batch
        What its annotator ruled out is impossible.
    temperature : float
        T.
    """
    return (possible(logits, batch).float() / temperature).softmax(dim=1)


def pseudo_supervised(
    logits: Tensor, pseudo: Tensor, batch: Batch, loss: Callable[[Tensor, Tensor], Tensor] = dice_loss
) -> Tensor:
    """Dice (T-eq 4.1), or another loss, against another network's pseudo-labels where nothing is labelled.

    Parameters
    ----------
    logits : Tensor, shape (B, C, …)
    pseudo : Tensor of int64, shape (B, …)
        Pseudo-labels, without gradient.
    batch : Batch
        Pseudo-labels count on ``batch.unsaid`` only: what the annotator said overrides them pixel by pixel.
    loss : callable
        `dice_loss` or `cross_entropy`.
    """
    return loss(logits, torch.where(batch.unsaid, pseudo, UNSAID))


def mutual(
    first: Tensor, second: Tensor, batch: Batch, loss: Callable[[Tensor, Tensor], Tensor] = dice_loss
) -> tuple[Tensor, Tensor]:
    """Return the losses of two networks' logits, each against the pseudo-labels of the other."""
    by_first, by_second = pseudo_label(first, batch), pseudo_label(second, batch)
    return pseudo_supervised(first, by_second, batch, loss), pseudo_supervised(second, by_first, batch, loss)


def mean_square(probabilities: Tensor, target: Tensor, where: Tensor, channels: float | None = None) -> Tensor:
    """Σ v·‖p − target‖² / (C·Σ v): the mean over classes and chosen pixels, in [0, 2/C]; 0 where none is chosen.

    Parameters
    ----------
    probabilities, target : Tensor, shape (B, C, H, W)
    where : Tensor of bool, shape (B, H, W)
        v.
    channels : float, optional
        Divide by this number instead of C.
    """
    squares = (probabilities - target).square().sum(dim=1) * where
    divisor = probabilities.shape[1] if channels is None else channels
    return squares.sum() / (divisor * where.sum().clamp(min=1))


def open_samples(batch: Batch) -> Tensor:
    """Return the indices of the samples in which something is left to say, int64, shape (n,)."""
    return torch.nonzero(batch.unsaid.flatten(1).any(dim=1))[:, 0]


def consistency_weight(maximum: float, progress: float) -> float:
    """w(t) = w·exp(−5(1−t/T)²) (methods.md 1.4)."""
    return maximum * ramp_up(progress)
