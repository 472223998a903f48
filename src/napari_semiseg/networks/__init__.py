"""Networks by name. Third parties add theirs through the entry-point group ``napari_semiseg.networks``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from napari_semiseg.errors import InputError
from napari_semiseg.networks.cs_unet import CSUnet
from napari_semiseg.networks.lrc_pair import LRCPair
from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.res34_3d import Res343D
from napari_semiseg.networks.resnet_unet import ResNetUNet
from napari_semiseg.networks.swin_unet import SwinUnet
from napari_semiseg.networks.unet import UNet, UNet32T, UNetDecoders
from napari_semiseg.networks.vnet import VNet, VNetDecoders

__all__ = ["Network", "NetworkOutput", "build", "names"]

_OWN: dict[str, Callable[..., Network]] = {
    "unet16": UNet,
    "cs_unet": CSUnet,
    "swin_unet": SwinUnet,
    "unet32t": UNet32T,
    "unet_decoders": UNetDecoders,
    "resnet_unet": ResNetUNet,
    "lrc_pair": LRCPair,
    "vnet16": VNet,
    "vnet_decoders": VNetDecoders,
    "res34_3d": Res343D,
}


@cache
def _registry() -> dict[str, Callable[..., Network]]:
    others = {entry.name: entry.load() for entry in entry_points(group="napari_semiseg.networks")}
    return {**others, **_OWN}


def names() -> list[str]:
    """Return the names of all networks."""
    return list(_registry())


def build(name: str, in_channels: int, classes: int, **options: Any) -> Network:
    """Build a network; it takes images of any size and returns a `NetworkOutput`.

    The images are (B, in_channels, H, W), or (B, in_channels, D, H, W) for networks of three ``spatial_axes``.

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
