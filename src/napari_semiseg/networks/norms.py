"""The norms between convolutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from napari_semiseg.errors import InputError

Norm = Callable[[int], nn.Module]
_NORMS: dict[str, tuple[Norm, Norm]] = {
    "batch": (nn.BatchNorm2d, nn.BatchNorm3d),
    "instance": (partial(nn.InstanceNorm2d, affine=True), partial(nn.InstanceNorm3d, affine=True)),
}
"""For planes and for volumes, by name."""


def norm2d(name: str, channels: int) -> nn.Module:
    """Return the norm ``"batch"`` or ``"instance"`` for planes.

    Raises
    ------
    InputError
        For another name.
    """
    return _named(name)[0](channels)


def norm3d(name: str, channels: int) -> nn.Module:
    """Return the norm ``"batch"`` or ``"instance"`` for volumes.

    Raises
    ------
    InputError
        For another name.
    """
    return _named(name)[1](channels)


def _named(name: str) -> tuple[Norm, Norm]:
    if name not in _NORMS:
        raise InputError(f"There is no norm {name!r}; choose one of {', '.join(_NORMS)}.")
    return _NORMS[name]
