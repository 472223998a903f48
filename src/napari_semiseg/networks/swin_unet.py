"""Swin-Unet: a U-shaped Transformer with shifted windows (methods.md 1.2; the networks of SSL4MIS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.padding import crop_back, pad_to_multiple
from napari_semiseg.networks.tokens import DropPath, Merge, attend, channels_first, channels_last, in_windows, shuffle


class WindowAttention(nn.Module):
    """(S)W-MSA with a learned bias for every relative position of two tokens in a window."""

    def __init__(self, channels: int, heads: int, size: int, shift: int) -> None:
        super().__init__()
        self.heads, self.size, self.shift = heads, size, shift
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.empty((2 * size - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.places: Tensor
        self.register_buffer("places", relative_places(size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) of any H and W to tokens of the same shape."""
        return in_windows(x, self.size, self.shift, self._attend)

    def _attend(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows (N, size, size, C) to windows of the same shape."""
        n, size, _, c = tokens.shape
        projected = self.project(tokens).reshape(n, size * size, 3, self.heads, c // self.heads)
        q, k, v = projected.permute(2, 0, 3, 1, 4)
        bias = self.bias[self.places].permute(2, 0, 1)[None]
        mixed = attend(q, k, v, bias if mask is None else bias + mask)
        return self.out(mixed.transpose(1, 2).reshape(n, size, size, c))


def relative_places(size: int) -> Tensor:
    """Return for each two tokens of a window the number of their relative position, int64, shape (size², size²)."""
    axis = torch.arange(size)
    tokens = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    apart = tokens[:, None] - tokens[None] + size - 1
    return apart[..., 0] * (2 * size - 1) + apart[..., 1]


class Block(nn.Module):
    """ẑ = MSA(LN z) + z; z' = MLP(LN ẑ) + ẑ, the MLP of four times the channels with GELU."""

    def __init__(self, channels: int, heads: int, size: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, size, shift)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape."""
        x = x + self.drop_path(self.attention(self.norm(x)))
        return x + self.drop_path(self.feed_forward(x))


class Expand(nn.Module):
    """Linear C → 2C without bias, every token becomes 2×2 of half the channels, LN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.grow = nn.Linear(channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, 2H, 2W, C/2)."""
        return self.norm(shuffle(self.grow(x), 2))


class SwinUnet(Network):
    """Swin-Unet for images of any size; the print starts from ImageNet weights, which are not downloaded here.

    Parameters
    ----------
    in_channels, classes : int
        A single channel is repeated to three.
    embed_dim : int
        Channels of the first stage.
    depths : sequence of int
        Blocks of the four encoder stages, of which the last is the bottleneck; the decoder mirrors the others.
    heads : sequence of int
        Attention heads per stage; each divides its stage's channels.
    window : int
    drop_path : float
        Grows linearly over the encoder to this rate; a decoder stage has the rates of its encoder stage.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        sizes = [embed_dim * 2**i for i in range(4)]
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()

        def stage(i: int) -> nn.Sequential:
            first = sum(depths[:i])
            return nn.Sequential(
                *(
                    Block(sizes[i], heads[i], window, window // 2 if j % 2 else 0, rates[first + j])
                    for j in range(depths[i])
                )
            )

        self.repeat = 3 if in_channels == 1 else 1
        self.embed = nn.Conv2d(in_channels * self.repeat, embed_dim, 4, stride=4)
        self.embed_norm = nn.LayerNorm(embed_dim)
        self.encoder = nn.ModuleList(stage(i) for i in range(4))
        self.merges = nn.ModuleList(Merge(sizes[i]) for i in range(3))
        self.bottleneck_norm = nn.LayerNorm(sizes[3])
        self.expands = nn.ModuleList(Expand(sizes[i + 1]) for i in (2, 1, 0))
        self.skips = nn.ModuleList(nn.Linear(2 * sizes[i], sizes[i]) for i in (2, 1, 0))
        self.decoder = nn.ModuleList(stage(i) for i in (2, 1, 0))
        self.norm = nn.LayerNorm(embed_dim)
        self.enlarge = nn.Linear(embed_dim, 16 * embed_dim, bias=False)
        self.final_norm = nn.LayerNorm(embed_dim)
        self.head = nn.Conv2d(embed_dim, classes, 1, bias=False)
        self.feature_channels = {"full": embed_dim, "1/4": embed_dim, "1/8": 2 * embed_dim}
        self.apply(_initialise)

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W)."""
        height, width = image.shape[-2:]
        x = self.embed(pad_to_multiple(image.repeat(1, self.repeat, 1, 1), 32))
        x = self.embed_norm(channels_last(x))
        skips = []
        for stage, merge in zip(self.encoder, self.merges, strict=False):
            skips.append(x)
            x = merge(stage(x))
        x = self.bottleneck_norm(self.encoder[-1](x))
        maps = []
        for expand, skip, stage in zip(self.expands, self.skips, self.decoder, strict=True):
            x = stage(skip(torch.cat([expand(x), skips.pop()], dim=-1)))
            maps.append(x)
        full = channels_first(self.final_norm(shuffle(self.enlarge(self.norm(x)), 4)))
        features = {
            "full": crop_back(full, height, width),
            "1/4": crop_back(_normalised(maps[2]), height, width, 4),
            "1/8": crop_back(_normalised(maps[1]), height, width, 8),
        }
        return NetworkOutput(crop_back(self.head(full), height, width), features)


def _normalised(x: Tensor) -> Tensor:
    """Normalise what leaves a stage, which nothing bounds, for those who take it as features (methods.md 4)."""
    return channels_first(functional.layer_norm(x, x.shape[-1:]))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
