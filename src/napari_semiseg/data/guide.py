"""What the annotated planes of a volume say about the planes between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Guide:
    """Hints on all planes of one volume that come from its annotated planes.

    Attributes
    ----------
    probabilities : Tensor of uint8, shape (planes, C, rows, columns)
        What everything annotated says, 255 ≙ 1.
    covers : Tensor of bool, shape (planes,)
        Planes for which that is worth something: between the outermost annotated ones and beyond the ends, unless they
        are completely annotated.
    ends : tuple of (int or None)
        The lowest and the highest annotated plane, each only if the structures end there.
    unsought : frozenset of int
        Classes of which the annotated planes say nothing: what is carried as background may be one of them.
    """

    probabilities: Tensor
    covers: Tensor
    ends: tuple[int | None, int | None]
    unsought: frozenset[int] = frozenset()


def shared_out(carried: Tensor, by: Tensor, group: Tensor) -> Tensor:
    """Share the mass that a guide gives to background out among the classes that it may be.

    Parameters
    ----------
    carried : Tensor, shape (B, C, rows, columns)
        Probabilities of the guide.
    by : Tensor, same shape
        Probabilities of whoever knows about these classes.
    group : Tensor of bool, shape (B or 1, C)
        Background and the classes that nobody looked for; only background leaves everything as it is.
    """
    chosen = group[:, :, None, None].to(carried.dtype)
    share = (by + 1e-6) * chosen
    mass = (carried * chosen).sum(dim=1, keepdim=True)
    return carried * (1 - chosen) + mass * share / share.sum(dim=1, keepdim=True)
