"""What a method prepares before its first step, and what it tells meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.registration.pairs import Pair


@dataclass(frozen=True)
class Progress:
    """How far a preparation is.

    Attributes
    ----------
    task : str
        What is done, as "finding superpixels".
    part : float
        0…1.
    """

    task: str
    part: float


@dataclass(frozen=True)
class Registrations:
    """Which volumes or slices were registered, and how well."""

    pairs: tuple[Pair, ...]


Preparation = Progress | Registrations
"""What `Method.targets` yields."""


@dataclass(frozen=True)
class Targets:
    """What a method prepared.

    Attributes
    ----------
    maps : mapping of str to list of Tensor, shape (planes, rows, columns)
        One tensor per volume, sampled with each crop into ``Batch.extras``: integer maps like labels, floating ones
        like images.
    correspondences : Correspondences or None
        Comes with each batch.
    """

    maps: Mapping[str, list[Tensor]] = field(default_factory=dict)
    correspondences: Correspondences | None = None
