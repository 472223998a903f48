"""V-Net16 for volumes (methods.md 1.2), with one decoder or several that differ in how they enlarge (F; MC-Net)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from napari_semiseg.errors import InputError
from napari_semiseg.networks.norms import norm3d
from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.padding import crop_to, pad_to_multiple
from napari_semiseg.networks.strides import ALL_AXES, Stride, checked, half, kernel, totals

UPSAMPLING = ("transposed", "trilinear", "nearest")
_ENCODER_CONVOLUTIONS = (1, 2, 3, 3, 3)
_DECODER_CONVOLUTIONS = (1, 2, 3, 3)


class Convolutions(nn.Sequential):
    """So many times: convolution, norm, ReLU; all of the same channels but the first, which takes ``channels_in``."""

    def __init__(self, count: int, channels_in: int, channels_out: int, size: Stride, norm: str) -> None:
        layers: list[nn.Module] = []
        for i in range(count):
            layers += [
                nn.Conv3d(channels_out if i else channels_in, channels_out, size, padding=half(size)),
                norm3d(norm, channels_out),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Down(nn.Sequential):
    """Convolution whose kernel is its stride, norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: Stride, norm: str) -> None:
        super().__init__(
            nn.Conv3d(channels_in, channels_out, stride, stride=stride), norm3d(norm, channels_out), nn.ReLU(True)
        )


class Up(nn.Sequential):
    """Enlarge by a stride, norm, ReLU.

    ``"transposed"`` is a convolution; ``"trilinear"`` and ``"nearest"`` interpolate and convolve the larger map.

    Raises
    ------
    InputError
        For another way.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: Stride, norm: str, how: str) -> None:
        size = kernel(stride)
        if how == "transposed":
            layers: list[nn.Module] = [nn.ConvTranspose3d(channels_in, channels_out, stride, stride=stride)]
        elif how in UPSAMPLING:
            aligned = True if how == "trilinear" else None
            layers = [
                nn.Upsample(scale_factor=tuple(map(float, stride)), mode=how, align_corners=aligned),
                nn.Conv3d(channels_in, channels_out, size, padding=half(size)),
            ]
        else:
            raise InputError(f"There is no up-sampling {how!r}; choose one of {', '.join(UPSAMPLING)}.")
        super().__init__(*layers, norm3d(norm, channels_out), nn.ReLU(inplace=True))


class VNetEncoder(nn.Module):
    """Five levels of 1, 2, 3, 3 and 3 convolutions; channel dropout after the last."""

    def __init__(
        self, in_channels: int, channels: Sequence[int], strides: Sequence[Stride], norm: str, dropout: float
    ) -> None:
        super().__init__()
        sizes = [*map(kernel, strides), kernel(ALL_AXES)]
        self.levels = nn.ModuleList(
            Convolutions(count, channels[i] if i else in_channels, channels[i], sizes[i], norm)
            for i, count in enumerate(_ENCODER_CONVOLUTIONS)
        )
        self.downs = nn.ModuleList(Down(channels[i], channels[i + 1], stride, norm) for i, stride in enumerate(strides))
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first, of volumes whose sides the strides divide."""
        maps = [self.levels[0](image)]
        for down, level in zip(self.downs, list(self.levels)[1:], strict=True):
            maps.append(level(down(maps[-1])))
        maps[-1] = self.dropout(maps[-1])
        return maps


class VNetDecoder(nn.Module):
    """Enlarge, add the skip, convolve 3, 3, 2 times and once; channel dropout before the 1³ output convolution."""

    def __init__(
        self, classes: int, channels: Sequence[int], strides: Sequence[Stride], norm: str, dropout: float, how: str
    ) -> None:
        super().__init__()
        levels = list(reversed(range(len(strides))))
        self.ups = nn.ModuleList(Up(channels[i + 1], channels[i], strides[i], norm, how) for i in levels)
        self.levels = nn.ModuleList(
            Convolutions(_DECODER_CONVOLUTIONS[i], channels[i], channels[i], kernel(strides[i]), norm) for i in levels
        )
        self.dropout = nn.Dropout3d(dropout)
        self.head = nn.Conv3d(channels[0], classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the decoder's map of every level but the bottleneck, finest first."""
        *skips, x = maps
        decoded: list[Tensor] = []
        for up, level in zip(self.ups, self.levels, strict=True):
            x = level(up(x) + skips.pop())
            decoded.insert(0, x)
        return self.head(self.dropout(x)), decoded


class VolumeNetwork(Network):
    """An encoder of volumes with one V-Net decoder or several.

    Parameters
    ----------
    encoder : Module
        From a volume whose sides the strides divide to a list of maps of ``channels``, finest first.
    channels, strides : sequence
        Channels of each level, and what is between the levels.
    upsampling : sequence of str
        One decoder for each: ``"transposed"``, ``"trilinear"`` or ``"nearest"``.

    Raises
    ------
    InputError
        For an unknown norm or up-sampling, or without any.
    """

    spatial_axes = 3

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        channels: Sequence[int],
        strides: Sequence[Stride],
        *,
        norm: str,
        dropout: float,
        upsampling: Sequence[str],
    ) -> None:
        super().__init__()
        if not upsampling:
            raise InputError("The network needs at least one decoder.")
        self.encoder = encoder
        self.decoders = nn.ModuleList(VNetDecoder(classes, channels, strides, norm, dropout, how) for how in upsampling)
        *divisors, self._multiple = totals(strides)
        # In the plane every level is halved, so rows and columns name the scales.
        self._divisors = {"full" if d[1] == 1 else f"1/{d[1]}": d for d in divisors}
        self.feature_channels = dict(zip(self._divisors, channels, strict=False))

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment volumes of shape (B, in_channels, D, H, W)."""
        planes, rows, columns = self._multiple
        # Norms need more than one voxel per channel at the bottleneck.
        maps = self.encoder(pad_to_multiple(image, self._multiple, least=(planes, 2 * rows, 2 * columns)))
        size = image.shape[2:]
        first, *others = (self._decode(decoder, maps, size) for decoder in self.decoders)
        return NetworkOutput(first.logits, first.features, tuple(others))

    def _decode(self, decoder: nn.Module, maps: Sequence[Tensor], size: Sequence[int]) -> NetworkOutput:
        logits, decoded = decoder(maps)
        features = {
            scale: crop_to(feature, size, divisor)
            for (scale, divisor), feature in zip(self._divisors.items(), decoded, strict=True)
        }
        return NetworkOutput(crop_to(logits, size), features)


class VNet(VolumeNetwork):
    """V-Net16: five levels of 16 to 256 channels, strided convolutions between them, skips are added.

    Parameters
    ----------
    in_channels, classes : int
    width : int
        Channels of the first level; each further level has twice as many.
    strides : sequence of (int, int, int)
        Between the five levels, along planes, rows and columns: (2, 2, 2), or (1, 2, 2) where planes are thick; see
        `strides.strides_for_spacing`.
    norm : str
        ``"batch"`` or ``"instance"``.
    dropout : float
        Of whole channels, after the bottleneck and before the output convolution.
    upsampling : sequence of str
        One decoder for each: ``"transposed"``, ``"trilinear"`` or ``"nearest"``.

    Raises
    ------
    InputError
        For other strides than these four, an unknown norm or up-sampling.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        width: int = 16,
        strides: Sequence[Sequence[int]] = (ALL_AXES,) * 4,
        norm: str = "batch",
        dropout: float = 0.5,
        upsampling: Sequence[str] = UPSAMPLING[:1],
    ) -> None:
        steps = checked(strides, 4)
        channels = [width * 2**i for i in range(5)]
        encoder = VNetEncoder(in_channels, channels, steps, norm, dropout)
        super().__init__(encoder, classes, channels, steps, norm=norm, dropout=dropout, upsampling=upsampling)


class VNetDecoders(VNet):
    """V-Net with two or three decoders on one encoder, each of which enlarges in its own way (MC-Net, MC-Net+, F).

    The first decoder is the one of `VNet`; the second interpolates, the third repeats voxels before a 3³ convolution.

    Parameters
    ----------
    in_channels, classes : int
    decoders : int
        2 or 3; two in the FBA-Net paper and in MC-Net, three in its code and in MC-Net+.
    options
        Those of `VNet` but for ``upsampling``.

    Raises
    ------
    InputError
        For another number of decoders; and as `VNet`.
    """

    def __init__(self, in_channels: int, classes: int, *, decoders: int = 2, **options: Any) -> None:
        if decoders not in (2, 3):
            raise InputError(f"There are two or three decoders, not {decoders}.")
        super().__init__(in_channels, classes, upsampling=UPSAMPLING[:decoders], **options)
