"""U-Net32T: U-Net of twice the width that enlarges by transposed convolutions (methods.md 1.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_semiseg.networks.unet import ConvBlock, UNet


class TransposedUpBlock(nn.Module):
    """Transposed 2×2 convolution, concatenation with the skip, `ConvBlock`."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2)
        self.block = ConvBlock(2 * channels_out, channels_out, 0.0, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) and the skip (B, channels_out, 2H, 2W) to the shape of the skip."""
        return self.block(torch.cat([skip, self.enlarge(x)], dim=1))


class UNet32T(UNet):
    """`UNet` of five levels of 32 to 512 channels with transposed convolutions.

    Parameters
    ----------
    in_channels, classes, channels, dropout, norm
        As those of `UNet`.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
        norm: str = "batch",
    ) -> None:
        super().__init__(in_channels, classes, channels=channels, dropout=dropout, norm=norm)
        self.decoder = nn.ModuleList(
            TransposedUpBlock(channels[i + 1], channels[i], norm) for i in reversed(range(len(channels) - 1))
        )
