"""Token maps and attention within windows, for Transformers on images of any size.

Token maps are kept as (B, H, W, C); seen as (B, C, H, W) they are channels-last tensors, which convolutions take
without a copy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

_OTHER_REGION = -1e4  # score between a token and one of another region: softmax mass below 1e-20


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def windows(x: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into windows (B·windows, size, size, C); H and W are multiples of the size."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, c)


def join_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `windows`."""
    size, c = x.shape[1], x.shape[3]
    x = x.reshape(-1, height // size, width // size, size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, c)


def region_mask(
    height: int, width: int, rows: int, columns: int, size: int, shift: int, device: torch.device
) -> Tensor:
    """Return the scores to add per window, shape (windows, 1, size², size²): −1e4 between tokens of other regions.

    Tokens beyond ``height``×``width`` are padding and a region of their own; a shifted map wraps around, and what
    comes from the other side is another region too.
    """
    row = torch.arange(rows, device=device)
    column = torch.arange(columns, device=device)
    wrapped = (row >= rows - shift).long()[:, None] * 2 + (column >= columns - shift).long()[None] if shift else 0
    inside = torch.roll(((row < height)[:, None] & (column < width)[None]).long(), shifts=(-shift, -shift), dims=(0, 1))
    region = torch.where(inside == 1, wrapped + 1, 0)
    per_window = windows(region[None, :, :, None], size).reshape(-1, size * size)
    different = per_window[:, :, None] != per_window[:, None, :]
    return different[:, None].float() * _OTHER_REGION


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(QKᵀ/√d + mask)·V for tensors (N, heads, tokens, d); the mask broadcasts to (N, heads, tokens, tokens)."""
    if q.device.type != "cpu":
        mask = None if mask is None else mask.to(q.dtype)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # On CPUs the fused kernel's backward pass is several times slower for windows as small as these.
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1).to(v.dtype) @ v


class DropPath(nn.Module):
    """Drops the residual branch of single samples while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop the branch (B, …) of some samples and enlarge the others to keep the mean."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype) >= self.rate
        return x * keep / (1 - self.rate)


def in_windows(x: Tensor, size: int, shift: int, attention: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """Apply attention to windows, which a shift moves, of tokens (B, H, W, C) of any H and W.

    Parameters
    ----------
    x : Tensor, shape (B, H, W, C)
    size : int
        Side of the windows; the map is padded to whole windows by tokens that nobody attends to.
    shift : int
        Up and to the left, around the border; none where the map is a single window.
    attention : callable
        From windows (B·windows, size, size, C) and the scores to add, (B·windows, 1, size², size²) or None, to
        windows of the same shape.

    Returns
    -------
    Tensor, shape (B, H, W, C)
    """
    b, h, w, _ = x.shape
    down, right = -h % size, -w % size
    if down or right:
        x = functional.pad(x, (0, 0, 0, right, 0, down))
    rows, columns = x.shape[1:3]
    # A map of one window has nothing to shift towards.
    shift = shift if min(rows, columns) > size else 0
    if shift:
        x = torch.roll(x, (-shift, -shift), dims=(1, 2))
    mask = None
    if shift or down or right:
        mask = region_mask(h, w, rows, columns, size, shift, x.device).repeat(b, 1, 1, 1)
    x = join_windows(attention(windows(x, size), mask), rows, columns)
    if shift:
        x = torch.roll(x, (shift, shift), dims=(1, 2))
    return x[:, :h, :w]


class Merge(nn.Module):
    """2×2 tokens become one of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H/2, W/2, 2C)."""
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)
        return self.reduce(self.norm(x))


def shuffle(x: Tensor, factor: int) -> Tensor:
    """(B, h, w, factor²·C) → (B, factor·h, factor·w, C): every token becomes factor² neighbouring ones."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, factor * h, factor * w, c // factor**2)
