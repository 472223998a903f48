"""U-Net16 (methods.md 1.2, the U-Net of SSL4MIS), with one decoder or several on one encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.errors import InputError
from napari_semiseg.networks.norms import norm2d
from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.padding import crop_back, pad_to_multiple

UPSAMPLING = ("bilinear", "transposed", "nearest")


class ConvBlock(nn.Sequential):
    """3×3 convolution, norm, LeakyReLU, dropout, 3×3 convolution, norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float, norm: str) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            norm2d(norm, channels_out),
            nn.LeakyReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            norm2d(norm, channels_out),
            nn.LeakyReLU(inplace=True),
        )


class UpBlock(nn.Module):
    """Double the size, concatenate with the skip, `ConvBlock`.

    ``"bilinear"`` and ``"nearest"`` interpolate after a 1×1 convolution, ``"transposed"`` is a 2×2 convolution.

    Raises
    ------
    InputError
        For another way.
    """

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int, norm: str, how: str) -> None:
        super().__init__()
        if how not in UPSAMPLING:
            raise InputError(f"There is no up-sampling {how!r}; choose one of {', '.join(UPSAMPLING)}.")
        if how == "transposed":
            self.reduce: nn.Module = nn.Identity()
            self.enlarge: nn.Module = nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2)
        else:
            self.reduce = nn.Conv2d(channels_in, channels_out, 1)
            aligned = True if how == "bilinear" else None
            self.enlarge = nn.Upsample(scale_factor=2, mode=how, align_corners=aligned)
        self.block = ConvBlock(channels_skip + channels_out, channels_out, 0.0, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) and the skip (B, channels_skip, 2H, 2W) to (B, channels_out, 2H, 2W)."""
        return self.block(torch.cat([skip, self.enlarge(self.reduce(x))], dim=1))


class Encoder(nn.ModuleList):
    """A `ConvBlock` per level, the largest pixel of 2×2 between them."""

    def __init__(self, in_channels: int, channels: Sequence[int], dropout: Sequence[float], norm: str) -> None:
        sizes = [in_channels, *channels]
        super().__init__(ConvBlock(a, b, rate, norm) for a, b, rate in zip(sizes[:-1], sizes[1:], dropout, strict=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first."""
        maps: list[Tensor] = []
        for block in self:
            maps.append(block(functional.max_pool2d(maps[-1], 2) if maps else x))
        return maps


class Decoder(nn.ModuleList):
    """An `UpBlock` per level but the coarsest, coarsest first.

    Parameters
    ----------
    skips : sequence of int
        Channels of the maps of all levels, finest first.
    channels : sequence of int
        Channels of the blocks, finest first.
    """

    def __init__(self, skips: Sequence[int], channels: Sequence[int], norm: str, how: str) -> None:
        below = [*channels[1:], skips[-1]]
        super().__init__(UpBlock(below[i], skips[i], channels[i], norm, how) for i in reversed(range(len(channels))))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the decoded map of every level but the coarsest, finest first."""
        *skips, x = levels
        maps: list[Tensor] = []
        for block in self:
            x = block(x, skips.pop())
            maps.insert(0, x)
        return maps


class UShaped(Network):
    """An encoder that halves the size between levels, and a decoder with skips.

    Parameters
    ----------
    encoder : Module
        From images whose sides are multiples of the coarsest pixel to a list of maps of ``skips`` channels, finest
        first, each half as large as the one before.
    classes : int
    skips, channels : sequence of int
        As those of `Decoder`.
    norm, how : str
        See `norm2d` and `UpBlock`.

    Attributes
    ----------
    feature_channels : dict of str to int
        Channels of the features by scale: ``"full"``, ``"1/2"``, ``"1/4"``, ``"1/8"`` with five levels.
    bottleneck_channels : int
        Channels of the coarsest map of `encode`.
    """

    def __init__(
        self, encoder: nn.Module, classes: int, skips: Sequence[int], channels: Sequence[int], norm: str, how: str
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(skips, channels, norm, how)
        self.head = nn.Conv2d(channels[0], classes, 3, padding=1)
        self.multiple = 2 ** len(channels)
        self._divisors = {"full" if i == 0 else f"1/{2**i}": 2**i for i in range(len(channels))}
        self.feature_channels = dict(zip(self._divisors, channels, strict=True))
        self.bottleneck_channels = skips[-1]

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W)."""
        height, width = image.shape[-2:]
        return self.decode(self.encode(image), height, width)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first, of images that are padded to whole pixels of the coarsest."""
        # Norms need more than one pixel per channel at the bottleneck.
        return self.encoder(pad_to_multiple(image, self.multiple, least=2 * self.multiple))

    def decode(
        self, levels: Sequence[Tensor], height: int, width: int, branch: nn.Module | None = None
    ) -> NetworkOutput:
        """Turn the maps of `encode` into the output for images of a height and width.

        Parameters
        ----------
        levels : sequence of Tensor
        height, width : int
        branch : Module, optional
            Holds another ``decoder`` and ``head`` to take instead of the network's own.
        """
        part: Any = self if branch is None else branch
        maps = part.decoder(levels)
        features = {
            scale: crop_back(feature, height, width, divisor)
            for (scale, divisor), feature in zip(self._divisors.items(), maps, strict=True)
        }
        return NetworkOutput(crop_back(part.head(maps[0]), height, width), features)


class UNet(UShaped):
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
    upsampling : str
        ``"bilinear"``, ``"transposed"`` or ``"nearest"``.

    Raises
    ------
    InputError
        For an unknown norm or up-sampling, or channels and dropout of different length.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
        norm: str = "batch",
        upsampling: str = "bilinear",
    ) -> None:
        if len(channels) != len(dropout):
            raise InputError(f"{len(channels)} levels need as many dropout rates, not {len(dropout)}.")
        encoder = Encoder(in_channels, channels, dropout, norm)
        super().__init__(encoder, classes, channels, channels[:-1], norm, upsampling)


class UNet32T(UNet):
    """U-Net32T: `UNet` of twice the width that enlarges by transposed convolutions (methods.md 1.2).

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
        super().__init__(in_channels, classes, channels=channels, dropout=dropout, norm=norm, upsampling="transposed")


class Branch(nn.Module):
    """A further decoder of a U-Net and its output convolution."""

    def __init__(self, classes: int, channels: Sequence[int], norm: str, how: str) -> None:
        super().__init__()
        self.decoder = Decoder(channels, channels[:-1], norm, how)
        self.head = nn.Conv2d(channels[0], classes, 3, padding=1)


class UNetDecoders(UNet):
    """`UNet` with further decoders on the same encoder (CCT, MC-Net, FBA-Net).

    The network's own decoder, which pre-trained weights of a `UNet` fit, is the first; ``branches`` holds the others.

    Parameters
    ----------
    in_channels, classes : int
    upsampling : sequence of str
        One decoder for each: ``"bilinear"``, ``"transposed"`` or ``"nearest"``.
    channels, dropout, norm
        As those of `UNet`.

    Raises
    ------
    InputError
        As `UNet`; and without any up-sampling.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        upsampling: Sequence[str] = UPSAMPLING[:2],
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
        norm: str = "batch",
    ) -> None:
        if not upsampling:
            raise InputError("The network needs at least one decoder.")
        first, *others = upsampling
        super().__init__(in_channels, classes, channels=channels, dropout=dropout, norm=norm, upsampling=first)
        self.branches = nn.ModuleList(Branch(classes, channels, norm, how) for how in others)

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W) by every decoder."""
        height, width = image.shape[-2:]
        levels = self.encode(image)
        first = self.decode(levels, height, width)
        others = tuple(self.decode(levels, height, width, branch) for branch in self.branches)
        return NetworkOutput(first.logits, first.features, others)
