"""What every network returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


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
