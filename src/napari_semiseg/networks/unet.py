"""U-Net16 (methods.md 1.2, the U-Net of SSL4MIS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from napari_semiseg.errors import InputError
from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.padding import crop_back, pad_to_multiple

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
}


class ConvBlock(nn.Sequential):
    """3×3 convolution, norm, LeakyReLU, dropout, 3×3 convolution, norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float, norm: str) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            _NORMS[norm](channels_out),
            nn.LeakyReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            _NORMS[norm](channels_out),
            nn.LeakyReLU(inplace=True),
        )


class UpBlock(nn.Module):
    """1×1 convolution, bilinear doubling, concatenation with the skip, `ConvBlock`."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels_in, channels_out, 1)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.block = ConvBlock(2 * channels_out, channels_out, 0.0, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) and the skip (B, channels_out, 2H, 2W) to the shape of the skip."""
        return self.block(torch.cat([skip, self.enlarge(self.reduce(x))], dim=1))


class UNet(Network):
    """U-Net16: five levels of 16 to 256 channels.

    Parameters
    ----------
    in_channels, classes : int
    channels : sequence of int
        Channels of each level.
    dropout : sequence of float
        Of the encoder levels; the decoder has none.
    norm : str
        ``"batch"`` or ``"instance"``.

    Attributes
    ----------
    feature_channels : dict of str to int
        Channels of the features by scale: ``"full"``, ``"1/2"``, ``"1/4"``, ``"1/8"`` with five levels.
    bottleneck_channels : int
        Channels of the coarsest map of `encode`.

    Raises
    ------
    InputError
        For an unknown norm, or channels and dropout of different length.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if norm not in _NORMS:
            raise InputError(f"There is no norm {norm!r}; choose one of {', '.join(_NORMS)}.")
        if len(channels) != len(dropout):
            raise InputError(f"{len(channels)} levels need as many dropout rates, not {len(dropout)}.")
        sizes = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            ConvBlock(a, b, rate, norm) for a, b, rate in zip(sizes[:-1], sizes[1:], dropout, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(
            UpBlock(channels[i + 1], channels[i], norm) for i in reversed(range(len(channels) - 1))
        )
        self.head = nn.Conv2d(channels[0], classes, 3, padding=1)
        self.multiple = 2 ** (len(channels) - 1)
        self._divisors = {"full" if i == 0 else f"1/{2**i}": 2**i for i in range(len(channels) - 1)}
        self.feature_channels = dict(zip(self._divisors, channels, strict=False))
        self.bottleneck_channels = channels[-1]

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W)."""
        height, width = image.shape[-2:]
        return self.decode(self.encode(image), height, width)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first, of images that are padded to whole pixels of the coarsest."""
        # Norms need more than one pixel per channel at the bottleneck.
        x = pad_to_multiple(image, self.multiple, least=2 * self.multiple)
        levels = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            levels.append(x)
        return levels

    def decode(self, levels: Sequence[Tensor], height: int, width: int) -> NetworkOutput:
        """Turn the maps of `encode` into the output for images of a height and width."""
        *skips, x = levels
        maps = []
        for block in self.decoder:
            x = block(x, skips.pop())
            maps.append(x)
        features = {
            scale: crop_back(feature, height, width, divisor)
            for (scale, divisor), feature in zip(self._divisors.items(), reversed(maps), strict=True)
        }
        return NetworkOutput(crop_back(self.head(x), height, width), features)
