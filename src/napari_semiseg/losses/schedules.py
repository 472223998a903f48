"""Schedules over the progress t/T of a run (methods.md 1.4)."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["poly", "cosine", "step", "constant"]


def ramp_up(progress: float) -> float:
    """exp(−5(1−t/T)²): .0067379 at 0, .286505 at ½, 1 at 1."""
    return math.exp(-5.0 * (1.0 - min(max(progress, 0.0), 1.0)) ** 2)


def poly_rate(progress: float, power: float = 0.9) -> float:
    """(1−t/T)^0.9: the factor of the learning rate."""
    return (1.0 - min(max(progress, 0.0), 1.0)) ** power


def cosine_rate(progress: float) -> float:
    """½(1+cos(π·t/T)): the factor of an annealed learning rate."""
    return 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def step_rate(progress: float) -> float:
    """1, then a tenth of it after each 5/12 of the run: every 2,500 of 6,000 steps."""
    return 0.1 ** math.floor(min(max(progress, 0.0), 1.0) * 12 / 5)


def constant_rate(progress: float) -> float:
    """1 throughout."""
    return 1.0


SCHEDULES = {"poly": poly_rate, "cosine": cosine_rate, "step": step_rate, "constant": constant_rate}


def ema_decay(step: int, limit: float = 0.99) -> float:
    """min(1−1/(t+1), limit): 0 at the first step, so that the teacher begins as the student."""
    return min(1.0 - 1.0 / (step + 1), limit)
