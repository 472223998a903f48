"""Dice over slices, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class DiceInterval:
    """Dice of several slices together.

    Attributes
    ----------
    dice : float or None
        Mean over the classes; None where no class occurs.
    low, high : float or None
        95 % interval; None for a single slice, which tells nothing of the spread.
    classes : tuple of (float or None)
        Dice of each class.
    """

    dice: float | None
    low: float | None
    high: float | None
    classes: tuple[float | None, ...]


def pooled_dice(both: np.ndarray, sizes: np.ndarray) -> tuple[float | None, ...]:
    """Return the Dice of each class over all slices together.

    Parameters
    ----------
    both : ndarray of int, shape (slices, classes)
        Voxels of the class in prediction and truth.
    sizes : ndarray of int, same shape
        Voxels of the class in the prediction plus those in the truth.
    """
    return tuple(2 * float(b) / float(s) if s else None for b, s in zip(both.sum(0), sizes.sum(0), strict=True))


def dice_interval(both: np.ndarray, sizes: np.ndarray, *, seed: int = 0) -> DiceInterval:
    """Return the Dice of slices together with a bootstrap interval.

    Percentile bootstrap (Efron & Tibshirani 1993, chapter 13): slices are drawn with replacement 2000 times, and the
    2.5th and 97.5th percentile of the resulting mean Dice are the interval. Slices of one volume resemble each other
    and few slices span little, so it is too narrow rather than too wide.

    Parameters
    ----------
    both, sizes : ndarray of int, shape (slices, classes)
        See `pooled_dice`; without background.
    seed : int
        Of the resampling.
    """
    classes = pooled_dice(both, sizes)
    known = [value for value in classes if value is not None]
    if not known:
        return DiceInterval(None, None, None, classes)
    mean = float(np.mean(known))
    if len(both) < 2:
        return DiceInterval(mean, None, None, classes)
    drawn = np.random.default_rng(seed).integers(0, len(both), (RESAMPLES, len(both)))
    numerators, denominators = 2.0 * both[drawn].sum(axis=1), sizes[drawn].sum(axis=1)
    present = denominators > 0
    dice = np.divide(numerators, denominators, out=np.zeros(numerators.shape), where=present)
    usable = present.any(axis=1)
    means = dice.sum(axis=1)[usable] / present.sum(axis=1)[usable]
    low, high = np.percentile(means, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return DiceInterval(mean, float(low), float(high), classes)
