"""Res34-3D: a ResNet-34 of volumes with the decoder of V-Net (methods.md 1.2; MCF, D)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from napari_semiseg.networks.norms import norm3d
from napari_semiseg.networks.residual import basic_block
from napari_semiseg.networks.strides import ALL_AXES, Stride, checked, half, kernel
from napari_semiseg.networks.vnet import UPSAMPLING, VolumeNetwork

_BLOCKS = (3, 4, 6, 3)


class Res34Encoder(nn.Module):
    """7³ convolution, then stages of 3, 4, 6 and 3 residual blocks that begin with a stride each."""

    def __init__(
        self, in_channels: int, channels: Sequence[int], strides: Sequence[Stride], norm: str, dropout: float
    ) -> None:
        super().__init__()
        sizes = [*map(kernel, strides), kernel(ALL_AXES)]
        stem = kernel(strides[0], 7)
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, channels[0], stem, padding=half(stem), bias=False),
            norm3d(norm, channels[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList()
        for i, count in enumerate(_BLOCKS):
            down = basic_block(
                channels[i], channels[i + 1], strides[i], sizes[i : i + 2], nn.Conv3d, partial(norm3d, norm)
            )
            same = (
                basic_block(channels[i + 1], channels[i + 1], 1, [sizes[i + 1]] * 2, nn.Conv3d, partial(norm3d, norm))
                for _ in range(count - 1)
            )
            self.stages.append(nn.Sequential(down, *same))
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first, of volumes whose sides the strides divide."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps[-1] = self.dropout(maps[-1])
        return maps


class Res343D(VolumeNetwork):
    """Stem of 16 channels at full resolution, stages of 32, 64, 128 and 256, V-Net decoder with added skips.

    Parameters
    ----------
    in_channels, classes : int
    width : int
        Channels of the stem; each stage has twice as many as the one before.
    strides : sequence of (int, int, int)
        Of the four stages, as in `VNet`.
    norm : str
        ``"batch"`` or ``"instance"``.
    dropout : float
        Of whole channels, after the last stage and before the output convolution.

    Raises
    ------
    InputError
        For other strides than these four or an unknown norm.
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
    ) -> None:
        steps = checked(strides, 4)
        channels = [width * 2**i for i in range(5)]
        encoder = Res34Encoder(in_channels, channels, steps, norm, dropout)
        super().__init__(encoder, classes, channels, steps, norm=norm, dropout=dropout, upsampling=UPSAMPLING[:1])
