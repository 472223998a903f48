"""CS-Unet: a U-shaped Transformer whose projections, feed-forward and skips are convolutional (T ch. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.networks.output import Network, NetworkOutput
from napari_semiseg.networks.padding import crop_back, pad_to_multiple
from napari_semiseg.networks.tokens import DropPath, Merge, attend, channels_first, channels_last, in_windows, shuffle


class WindowAttention(nn.Module):
    """(S)W-CMSA: attention within windows, projections by depthwise 3×3 convolutions (T-eq 3.3–3.5, no bias).

    The zero padding of the projections is per window: windows are independent.
    """

    def __init__(self, channels: int, heads: int, size: int, shift: int) -> None:
        super().__init__()
        self.heads, self.size, self.shift = heads, size, shift
        self.project = nn.Conv2d(channels, 3 * channels, 3, padding=1, groups=channels, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) of any H and W to tokens of the same shape."""
        return in_windows(x, self.size, self.shift, self._attend)

    def _attend(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Map windows (N, size, size, C) to windows of the same shape."""
        n, size, _, c = tokens.shape
        # One depthwise convolution with three filters per channel computes Q, K and V at once.
        projected = channels_last(self.project(channels_first(tokens))).reshape(n, size * size, c, 3)
        q, k, v = (
            norm(projected[..., i]).reshape(n, size * size, self.heads, c // self.heads).transpose(1, 2)
            for i, norm in enumerate(self.norms)
        )
        mixed = attend(q, k, v, mask).transpose(1, 2).reshape(n, size, size, c)
        return functional.gelu(channels_last(self.out(channels_first(mixed))))


class FeedForward(nn.Module):
    """DSF: 7×7 depthwise, LN, d→4d, GELU, 4d→d, layer scale (T§3.2)."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.grow = nn.Linear(channels, 4 * channels)
        self.shrink = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to the residual of the same shape."""
        x = channels_last(self.depthwise(channels_first(x)))
        return self.scale * self.shrink(functional.gelu(self.grow(self.norm(x))))


class Block(nn.Module):
    """ẑ = CMSA(LN z) + z; z' = DSF(ẑ) + ẑ (T-eq 3.1, 3.2; no LN before DSF)."""

    def __init__(self, channels: int, heads: int, size: int, shift: int, drop_path: float, scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, size, shift)
        self.feed_forward = FeedForward(channels, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape."""
        x = x + self.drop_path(self.attention(self.norm(x)))
        return x + self.drop_path(self.feed_forward(x))


class Embedding(nn.Module):
    """Four 3×3 convolutions, two of stride 2: (B, 3, H, W) → (B, H/4, W/4, C)."""

    def __init__(self, in_channels: int, channels: int, dropout: float) -> None:
        super().__init__()
        half = channels // 2
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(half, half, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.middle = nn.LayerNorm(half)
        self.second = nn.Sequential(
            nn.Conv2d(half, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Embed images of shape (B, in_channels, H, W), H and W multiples of 4."""
        x = self.middle(channels_last(self.first(image)))
        return self.norm(channels_last(self.second(channels_first(x))))


class Expand(nn.Module):
    """LN, transposed 2×2 convolution to half the channels, GELU, dropout."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.enlarge = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, 2H, 2W, C/2)."""
        return self.dropout(functional.gelu(channels_last(self.enlarge(channels_first(self.norm(x))))))


class Skip(nn.Sequential):
    """SC: two 3×3 convolutions over the concatenated skip and decoder map (T§3.3)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Dropout(dropout),
        )


class CSUnet(Network):
    """CS-Unet, trained from scratch, for images of any size.

    Parameters
    ----------
    in_channels, classes : int
        A single channel is repeated to three, as in the print.
    embed_dim : int
        Channels C₀ of the first stage; 96 in the print, fewer on machines without a GPU.
    depths : sequence of int
        Blocks of the three encoder stages and of the bottleneck; the decoder mirrors the stages.
    heads : sequence of int
        Attention heads per stage; each divides its stage's channels.
    window : int
    dropout, drop_path : float
        Drop-path grows linearly over the encoder to this rate.
    layer_scale : float
        Initial γ of the feed-forward; 0.7 as in the released code, which short schedules need (the text: 1e-6).
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
        dropout: float = 0.2,
        drop_path: float = 0.2,
        layer_scale: float = 0.7,
    ) -> None:
        super().__init__()
        sizes = [embed_dim * 2**i for i in range(4)]
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()
        starts = [sum(depths[:i]) for i in range(4)]

        def stage(i: int, shifted: bool = True) -> nn.Sequential:
            return nn.Sequential(
                *(
                    Block(
                        sizes[i],
                        heads[i],
                        window,
                        window // 2 if shifted and j % 2 else 0,
                        rates[starts[i] + j],
                        layer_scale,
                    )
                    for j in range(depths[i])
                )
            )

        self.repeat = 3 if in_channels == 1 else 1
        self.embedding = Embedding(in_channels * self.repeat, embed_dim, dropout)
        self.encoder = nn.ModuleList(stage(i) for i in range(3))
        self.merges = nn.ModuleList(Merge(sizes[i]) for i in range(3))
        self.bottleneck = stage(3, shifted=False)
        self.expands = nn.ModuleList(Expand(sizes[i + 1], dropout) for i in (2, 1, 0))
        self.skips = nn.ModuleList(Skip(sizes[i], dropout) for i in (2, 1, 0))
        self.decoder = nn.ModuleList(stage(i) for i in (2, 1, 0))
        self.norm = nn.LayerNorm(embed_dim)
        self.enlarge = nn.Linear(embed_dim, 16 * embed_dim)
        self.final_norm = nn.LayerNorm(embed_dim)
        self.head = nn.Conv2d(embed_dim, classes, 1, bias=False)
        self.feature_channels = {"full": embed_dim, "1/4": embed_dim, "1/8": 2 * embed_dim}

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segment images of shape (B, in_channels, H, W)."""
        height, width = image.shape[-2:]
        x = self.embedding(pad_to_multiple(image.repeat(1, self.repeat, 1, 1), 32))
        skips = []
        for stage, merge in zip(self.encoder, self.merges, strict=True):
            skips.append(x)
            x = merge(stage(x))
        x = self.bottleneck(x)
        maps = []
        for expand, skip, stage in zip(self.expands, self.skips, self.decoder, strict=True):
            joined = torch.cat([skips.pop(), expand(x)], dim=-1)
            x = stage(channels_last(skip(channels_first(joined))))
            maps.append(channels_first(x))
        full = channels_first(self.final_norm(shuffle(self.enlarge(self.norm(x)), 4)))
        features = {
            "full": crop_back(full, height, width),
            "1/4": crop_back(maps[2], height, width, 4),
            "1/8": crop_back(maps[1], height, width, 8),
        }
        return NetworkOutput(crop_back(self.head(full), height, width), features)
