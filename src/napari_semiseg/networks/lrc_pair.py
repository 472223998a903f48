"""A ResNet for whole slices and a U-Net for their regions, side by side (methods.md 10; L)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.resnet_unet import ResNetUNet
from napari_semiseg.networks.unet import UNet

FEATURES = 64
"""Channels that each of the two gives to every pixel."""


class LRCPair(Network):
    """Two networks whose features of a pixel meet in a 1×1 convolution.

    Parameters
    ----------
    in_channels, classes : int
    depth, width : int
        Of the ResNet, whose decoder is that of a U-Net; 50 and 64 in the print.
    **options
        Those of the U-Net (`UNet`).

    Attributes
    ----------
    whole : ResNetUNet
        Its encoder learns to tell slices apart before there are labels; its decoder is fresh afterwards.
    regions : UNet
        Learns to tell superpixels apart before.
    """

    def __init__(self, in_channels: int, classes: int, *, depth: int = 18, width: int = 64, **options: Any) -> None:
        super().__init__()
        self.regions = UNet(in_channels, FEATURES, **options)
        self.whole = ResNetUNet(in_channels, FEATURES, depth=depth, width=width)
        self.head = nn.Conv2d(2 * FEATURES, classes, 1)
        self.feature_channels = self.regions.feature_channels

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W); the features are those of the U-Net."""
        regions = self.regions(image)
        features = torch.cat([self.whole(image).logits, regions.logits], dim=1)
        return NetworkOutput(self.head(features), regions.features)


def pair_options(network: str, *, small: bool) -> dict[str, int]:
    """Return the options of a network by its name: the pair has a ResNet-50 as in the print, 18 where no GPU helps."""
    return {"depth": 18 if small else 50} if network == "lrc_pair" else {}
