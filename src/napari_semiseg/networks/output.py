"""What every network is and returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkOutput:
    """Logits and the features that contrast terms use.

    Attributes
    ----------
    logits : Tensor, shape (B, C, H, W) or (B, C, D, H, W)
        The spatial axes are those of the input, whatever they are.
    features : dict of str to Tensor, shape (B, channels, h, w) or (B, channels, d, h, w)
        Decoder maps by scale: ``"full"``, ``"1/4"``, ``"1/8"``; their channels are the network's ``feature_channels``,
        h = ⌈H/scale⌉ and w = ⌈W/scale⌉. Networks of volumes may divide the planes less often.
    others : tuple of NetworkOutput
        The outputs of the further decoders, in their order, of networks that have several.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    others: tuple[NetworkOutput, ...] = ()

    @property
    def of_all_decoders(self) -> tuple[NetworkOutput, ...]:
        """The main decoder's output (self), then the others."""
        return self, *self.others


class Network(nn.Module):
    """A segmentation network: images (B, in_channels, H, W) of any size in, `NetworkOutput` out.

    Attributes
    ----------
    spatial_axes : int
        2, or 3 for networks that take volumes (B, in_channels, D, H, W): planes, rows, columns.
    feature_channels : dict of str to int
        Channels of each entry of the output's features.
    """

    spatial_axes: int = 2
    feature_channels: dict[str, int]
