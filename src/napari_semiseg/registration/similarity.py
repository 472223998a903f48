"""How good a registration is, without labels: cycle and direct similarity (T-eq 6.9, 6.10; methods.md 6, BRS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_semiseg.data.point_map import PointMap, centres, sample
from napari_semiseg.registration.images import Image

_BINS = 32
_POINTS = 200_000  # looked at; more change the third digit
_QUICK_POINTS = 50_000
_LEAST_OVERLAP = 0.2  # of the fixed image: a corner of air is like any other


@dataclass(frozen=True)
class Quality:
    """How well two images agree through φ_{j→q} and φ_{q→j}, inside their overlap.

    Attributes
    ----------
    cycle_rmse : float
        RMSE(v_j, ṽ_j) / std(v_j), ṽ_j being v_j there and back; 0 is best.
    cycle_nmi : float
        NMI(v_j, ṽ_j), 1 is best. Neither can detect that both maps are wrong in the same way.
    direct_nmi : float
        NMI(v_j, W_{j←q} v_q), which can.
    """

    cycle_rmse: float
    cycle_nmi: float
    direct_nmi: float

    def score(self, direct_weight: float = 0.5) -> float:
        """S = ½·RMSE/std − ½·NMI of the cycle − w_dir·NMI of the images; the lowest is best.

        T-eq 6.10 adds the mutual information, which would reward dissimilar images; here it is subtracted. ``0`` is the
        paper's form, which looks at the cycle alone.
        """
        return 0.5 * self.cycle_rmse - 0.5 * self.cycle_nmi - direct_weight * self.direct_nmi


def quality(fixed: Image, moving: Image, forth: PointMap, back: PointMap) -> Quality | None:
    """Judge φ_{fixed→moving} and φ_{moving→fixed}.

    Returns
    -------
    Quality or None
        None where the images do not overlap.
    """
    points = _points(fixed)
    there = forth(points)
    again = back(there)
    mine, inside_again = _look(fixed, points)[0], _look(fixed, again)
    theirs = _look(moving, there)
    overlap = theirs[1] & inside_again[1]
    if int(overlap.sum()) < _BINS:
        return None
    mine, cycled, other = mine[overlap], inside_again[0][overlap], theirs[0][overlap]
    deviation = float(np.std(fixed.values))
    return Quality(
        cycle_rmse=float((mine - cycled).square().mean().sqrt()) / max(deviation, 1e-6),
        cycle_nmi=nmi(mine, cycled),
        direct_nmi=nmi(mine, other),
    )


def nmi(one: Tensor, other: Tensor) -> float:
    """Normalised mutual information 2·MI/(H₁+H₂) ∈ [0, 1] of two samples of intensities, shape (n,); 32 bins."""
    joint, _, _ = np.histogram2d(one.numpy(), other.numpy(), bins=_BINS)
    joint /= joint.sum()
    single = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    if single == 0:
        return 0.0  # two constants tell nothing
    return float(2 * (single - _entropy(joint)) / single)


def likeness(fixed: Image, moving: Image, phi: PointMap | None = None) -> float:
    """NMI of two images through φ_{fixed→moving}, or with their centres on each other; 0 without much overlap."""
    if phi is None:
        shift = [(m * t - n * s) / 2 for (n, s), (m, t) in zip(_sizes(fixed), _sizes(moving), strict=True)]
        phi = PointMap.translation(shift)
    points = _points(fixed, _QUICK_POINTS)
    theirs, inside = _look(moving, phi(points))
    if float(inside.float().mean()) < _LEAST_OVERLAP:
        return 0.0
    return nmi(_look(fixed, points)[0][inside], theirs[inside])


def _entropy(part: np.ndarray) -> float:
    part = part[part > 0]
    return float(-(part * np.log(part)).sum())


def _points(image: Image, count: int = _POINTS) -> Tensor:
    """Return evenly spaced points of an image in mm, at most about ``count``."""
    thin = max(1.0, (image.values.size / count) ** (1 / image.values.ndim))
    shape = [max(1, round(n / thin)) for n in image.values.shape]
    return centres(shape, [n * s / m for (n, s), m in zip(_sizes(image), shape, strict=True)])


def _look(image: Image, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intensities of an image at points in mm, and which lie inside."""
    places = points / torch.tensor(image.spacing)
    inside = ((places >= 0) & (places < torch.tensor(image.values.shape))).all(dim=1)
    return sample(torch.from_numpy(image.values)[None], places)[0], inside


def _sizes(image: Image) -> list[tuple[int, float]]:
    return list(zip(image.values.shape, image.spacing, strict=True))
