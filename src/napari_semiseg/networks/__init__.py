"""Networks by name. Third parties add theirs through the entry-point group ``napari_semiseg.networks``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from napari_semiseg.errors import InputError
from napari_semiseg.networks.cs_unet import CSUnet
from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.unet import UNet

__all__ = ["Network", "NetworkOutput", "build", "names"]

_OWN: dict[str, Callable[..., Network]] = {"unet16": UNet, "cs_unet": CSUnet}


@cache
def _registry() -> dict[str, Callable[..., Network]]:
    others = {entry.name: entry.load() for entry in entry_points(group="napari_semiseg.networks")}
    return {**others, **_OWN}


def names() -> list[str]:
    """Return the names of all networks."""
    return list(_registry())


def build(name: str, in_channels: int, classes: int, **options: Any) -> Network:
    """Build a network; it takes images (B, in_channels, H, W) of any size and returns a `NetworkOutput`.

    Raises
    ------
    InputError
        For an unknown name; the message lists the valid ones.
    """
    try:
        network = _registry()[name]
    except KeyError:
        raise InputError(f"There is no network {name!r}; choose one of {', '.join(names())}.") from None
    return network(in_channels, classes, **options)
