"""What the annotated planes of a volume say about the planes between them, as input for a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guide:
    """Hints on all planes of one volume that come from its annotated planes.

    Attributes
    ----------
    channels : Tensor of uint8, shape (planes, G, rows, columns)
        Input of the network, 255 ≙ 1. An annotated plane shows what the *others* say about it.
    probabilities : Tensor of uint8, shape (planes, C, rows, columns)
        What everything annotated says, 255 ≙ 1.
    covers : Tensor of bool, shape (planes,)
        Planes for which that is worth a vote: between the outermost annotated ones and beyond the ends, unless they are
        completely annotated.
    ends : tuple of (int or None)
        The lowest and the highest annotated plane, each only if the structures end there.
    unsought : frozenset of int
        Classes of which the annotated planes say nothing: what is carried as background may be one of them.
    """

    channels: Tensor
    probabilities: Tensor
    covers: Tensor
    ends: tuple[int | None, int | None]
    unsought: frozenset[int] = frozenset()

    @staticmethod
    def count(classes: int) -> int:
        """Return G for C classes: a probability for each structure, and the distance to the next annotated plane."""
        return classes


def with_guide(image: Tensor, guide: Guide | None, planes: Sequence[int], channels: int) -> Tensor:
    """Append the guide's channels of some planes to the image's, zeros without a guide.

    Parameters
    ----------
    image : Tensor of float32, shape (planes, n, rows, columns)
    guide : Guide or None
    planes : sequence of int
        Which plane of the volume each one is.
    channels : int
        G; 0 leaves the image as it is.
    """
    if channels == 0:
        return image
    if guide is None:
        return torch.cat([image, image.new_zeros((len(image), channels, *image.shape[2:]))], dim=1)
    return torch.cat([image, guide.channels[list(planes)].to(image.dtype) / 255], dim=1)
