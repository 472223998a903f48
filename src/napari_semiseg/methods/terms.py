"""Loss terms that several methods share."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import COMPLETE_SHARE
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.losses.supervised import cross_entropy, dice_loss


def supervised(logits: Tensor, batch: Batch) -> Tensor:
    """½(CE + Dice) over what is labelled (methods.md 1.3); scribbled samples count in the cross entropy only.

    Dice on strokes would be biased, so it takes the samples of which at least half is labelled (12-A).

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W)
    batch : Batch
    """
    weight = batch.weight[:, None, None].expand(batch.label.shape)
    ce = cross_entropy(logits, batch.label, weight)
    dense = _dense(batch)
    if not bool(dense.any()):
        return 0.5 * ce
    return 0.5 * (ce + dice_loss(logits, batch.label, weight * dense[:, None, None]))


def _dense(batch: Batch) -> Tensor:
    """Which samples are labelled densely enough for Dice, bool, shape (B,)."""
    within = batch.inside.sum(dim=(1, 2)).clamp(min=1)
    return (batch.said & batch.inside).sum(dim=(1, 2)) >= COMPLETE_SHARE * within


def pseudo_label(logits: Tensor) -> Tensor:
    """Return the most probable class, without gradient, shape (B, H, W)."""
    return logits.detach().argmax(dim=1)


def pseudo_supervised(logits: Tensor, pseudo: Tensor, batch: Batch) -> Tensor:
    """Dice against another network's pseudo-labels where nothing is labelled (T-eq 4.1).

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W)
    pseudo : Tensor of int64, shape (B, H, W)
        Pseudo-labels, without gradient.
    batch : Batch
        Pseudo-labels count on ``batch.unsaid`` only: what the annotator said overrides them pixel by pixel.
    """
    return dice_loss(logits, torch.where(batch.unsaid, pseudo, 255))


def consistency_weight(maximum: float, progress: float) -> float:
    """w(t) = w·exp(−5(1−t/T)²) (methods.md 1.4)."""
    return maximum * ramp_up(progress)
