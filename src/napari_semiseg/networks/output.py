"""What every network is and returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkOutput:
    """Logits and the features that contrast terms use.

    Attributes
    ----------
    logits : Tensor, shape (B, C, H, W)
        H and W are those of the input, whatever they are.
    features : dict of str to Tensor, shape (B, channels, h, w)
        Decoder maps by scale: ``"full"``, ``"1/4"``, ``"1/8"``; their channels are the network's ``feature_channels``,
        h = ⌈H/scale⌉ and w = ⌈W/scale⌉.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


class Network(nn.Module):
    """A segmentation network: images (B, in_channels, H, W) of any size in, `NetworkOutput` out.

    Attributes
    ----------
    feature_channels : dict of str to int
        Channels of each entry of the output's features.
    """

    feature_channels: dict[str, int]
