"""Whether more annotated slices still help, judged by the rounds so far. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORTHWHILE = 0.01
"""A rise of the Dice that is worth five more slices."""
LEAST = 0.005
"""A rise below this is none, however few slices were added."""


@dataclass(frozen=True)
class Point:
    """One round on the curve.

    Attributes
    ----------
    slices : int
        Annotated slices.
    dice : float
        On held-out slices.
    low, high : float or None
        95 % interval.
    """

    slices: int
    dice: float
    low: float | None = None
    high: float | None = None


def verdict(points: Sequence[Point]) -> str:
    """Return one sentence: do more slices still help?

    The newest round is compared with the best one among those with fewer slices. The rise per five slices decides;
    where the intervals overlap the sentence says that it may be chance.

    Parameters
    ----------
    points : sequence of Point
        The oldest first.
    """
    if not points:
        return "No round has a held-out Dice yet; from five annotated slices on, some are held out by themselves."
    last = points[-1]
    fewer = [point for point in points if point.slices < last.slices]
    if not fewer:
        return f"Dice {last.dice:.2f} with {last.slices} slices; another round with more slices will tell if they help."
    base = max(fewer, key=lambda point: point.dice)
    added, gain = last.slices - base.slices, last.dice - base.dice
    steps = f"from {base.slices} to {last.slices} slices the Dice went from {base.dice:.2f} to {last.dice:.2f}"
    chance = "" if _apart(base, last) else f" (which may be chance: {_doubt(base, last)})"
    if gain >= max(LEAST, WORTHWHILE * added / 5):
        return f"More slices still help: {steps}{chance}."
    return f"More slices hardly help any more: {steps}{chance}."


def _doubt(one: Point, other: Point) -> str:
    known = one.low is not None and other.low is not None
    return "the intervals overlap" if known else "a single held-out slice has no interval"


def _apart(one: Point, other: Point) -> bool:
    """Return whether the intervals are known and do not overlap."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low
