"""ResNet encoder with the decoder of a U-Net, for pre-training and for what starts from it (methods.md 10; L)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from napari_semiseg.errors import InputError
from napari_semiseg.networks.norms import norm2d
from napari_semiseg.networks.residual import Residual, basic_block, bottleneck_block
from napari_semiseg.networks.unet import UShaped

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
_LEVELS = 4  # stages of residual blocks


class ResNetEncoder(nn.Module):
    """The image itself, then the ResNet's 7×7 convolution with stride 2, pooling, and four stages."""

    def __init__(self, in_channels: int, width: int, depth: int, norm: str) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False), norm2d(norm, width), nn.ReLU(True)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        sizes = [width, *stage_channels(width, depth)]
        self.stages = nn.ModuleList()
        for i, count in enumerate(_BLOCKS[depth]):
            first = _block(depth, sizes[i], sizes[i + 1], 2 if i else 1, norm)
            same = (_block(depth, sizes[i + 1], sizes[i + 1], 1, norm) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *same))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the map of every level, finest first; the first is the image (B, in_channels, H, W)."""
        maps = [image, self.stem(image)]
        x = self.pool(maps[-1])
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def stage_channels(width: int, depth: int) -> list[int]:
    """Return the channels of the four stages: 64 to 512, or 256 to 2048 with bottlenecks, for a width of 64."""
    return [width * 2**i * (1 if depth == 18 else 4) for i in range(_LEVELS)]


def _block(depth: int, channels_in: int, channels_out: int, stride: int, norm: str) -> Residual:
    if depth == 18:
        return basic_block(channels_in, channels_out, stride, [(3, 3)] * 2, nn.Conv2d, partial(norm2d, norm))
    return bottleneck_block(channels_in, channels_out, stride, nn.Conv2d, partial(norm2d, norm))


class ResNetUNet(UShaped):
    """ResNet-18 or ResNet-50 with bilinear enlarging and skips from every level, the image among them.

    Parameters
    ----------
    in_channels, classes : int
    depth : int
        18, or 50 as in the print.
    width : int
        Channels of the first convolution; 64 in a ResNet. The decoder's are width/4 at full resolution and twice as
        many at each coarser level.
    norm : str
        ``"batch"`` or ``"instance"``.

    Raises
    ------
    InputError
        For another depth or norm.
    """

    def __init__(
        self, in_channels: int, classes: int, *, depth: int = 18, width: int = 64, norm: str = "batch"
    ) -> None:
        if depth not in _BLOCKS:
            raise InputError(f"There is no ResNet of depth {depth}; choose one of {', '.join(map(str, _BLOCKS))}.")
        encoder = ResNetEncoder(in_channels, width, depth, norm)
        skips: Sequence[int] = [in_channels, width, *stage_channels(width, depth)]
        channels = [width // 4 * 2**i for i in range(len(skips) - 1)]
        super().__init__(encoder, classes, skips, channels, norm, "bilinear")
