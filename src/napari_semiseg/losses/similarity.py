"""Similarities of unit vectors sharpened beyond the cosine (BCLL; methods.md 7)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Similarity = Literal["ggd_vmf", "t_vmf", "cosine"]


def ggd_vmf(cosine: Tensor, kappa: float = 0.5) -> Tensor:
    """φ = 2(ψ − e^{−2^{1/κ}})/(1 − e^{−2^{1/κ}}) − 1 with ψ = exp(−(2−2x)^{1/(2κ)}), in [−1, 1] (B-eq 9, 10).

    For κ > ½ the slope at x = 1 is infinite and rounding can take x beyond 1, so u = 2−2x is held within [1e-6, 4]
    and the power is computed as exp(log u / 2κ).
    """
    u = (2.0 - 2.0 * cosine).clamp(1e-6, 4.0)
    psi = torch.exp(-torch.exp(u.log() / (2.0 * kappa)))
    lowest = math.exp(-(2.0 ** (1.0 / kappa)))
    return 2.0 * (psi - lowest) / (1.0 - lowest) - 1.0


def t_vmf(cosine: Tensor, kappa: float = 0.5) -> Tensor:
    """φ = (1+x)/(1+κ(1−x)) − 1."""
    return (1.0 + cosine) / (1.0 + kappa * (1.0 - cosine)) - 1.0


def similarity(cosine: Tensor, kind: Similarity, kappa: float) -> Tensor:
    """Apply the similarity of a name; ``cosine`` returns its argument."""
    if kind == "ggd_vmf":
        return ggd_vmf(cosine, kappa)
    if kind == "t_vmf":
        return t_vmf(cosine, kappa)
    if kind == "cosine":
        return cosine
    raise ValueError(f"unknown similarity {kind!r}; choose ggd_vmf, t_vmf or cosine")
