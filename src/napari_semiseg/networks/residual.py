"""Residual blocks of planes and of volumes (ResNet)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn


class Residual(nn.Module):
    """ReLU(branch(x) + shortcut(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, …) to (B, channels_out, …), smaller by the stride."""
        return self.relu(self.branch(x) + self.shortcut(x))


def basic_block(
    channels_in: int,
    channels_out: int,
    stride: int | Sequence[int],
    sizes: Sequence[Sequence[int]],
    convolution: Callable[..., nn.Module],
    norm: Callable[[int], nn.Module],
) -> Residual:
    """Return a block of two convolutions with kernels ``sizes``, of which the first has the stride."""
    return _residual(
        [
            (channels_in, channels_out, sizes[0], stride),
            (channels_out, channels_out, sizes[1], 1),
        ],
        convolution,
        norm,
    )


def bottleneck_block(
    channels_in: int,
    channels_out: int,
    stride: int,
    convolution: Callable[..., nn.Module],
    norm: Callable[[int], nn.Module],
) -> Residual:
    """Return a block of 1×1, 3×3 (with the stride) and 1×1 convolutions; a quarter of the channels in the middle."""
    middle = channels_out // 4
    return _residual(
        [(channels_in, middle, (1, 1), 1), (middle, middle, (3, 3), stride), (middle, channels_out, (1, 1), 1)],
        convolution,
        norm,
    )


_Layer = tuple[int, int, Sequence[int], "int | Sequence[int]"]


def _residual(
    layers: Sequence[_Layer], convolution: Callable[..., nn.Module], norm: Callable[[int], nn.Module]
) -> Residual:
    """Return a block of convolutions (channels in, out, kernel, stride), each with a norm, ReLU between them.

    A 1×1 convolution with the same stride is the shortcut where the shape changes.
    """
    plain: Callable[..., Any] = partial(convolution, bias=False)
    branch: list[nn.Module] = []
    for channels_in, channels_out, size, stride in layers:
        padding = tuple(extent // 2 for extent in size)
        branch += [
            plain(channels_in, channels_out, tuple(size), stride=stride, padding=padding),
            norm(channels_out),
            nn.ReLU(inplace=True),
        ]
    branch.pop()
    first, last = layers[0][0], layers[-1][1]
    strides = [stride for *_, stride in layers if stride != 1]
    if not strides and first == last:
        return Residual(nn.Sequential(*branch), nn.Identity())
    shortcut = nn.Sequential(plain(first, last, 1, stride=strides[0] if strides else 1), norm(last))
    return Residual(nn.Sequential(*branch), shortcut)
