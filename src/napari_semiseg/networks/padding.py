"""Any input size for networks that halve it several times."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, multiple: int | Sequence[int], *, least: int | Sequence[int] = 0) -> Tensor:
    """Repeat the last plane, row and column until all sides are multiples and not below ``least``; see `crop_back`.

    Parameters
    ----------
    image : Tensor, shape (B, channels, H, W) or (B, channels, D, H, W)
    multiple, least : int or sequence of int
        For all spatial axes or for each.
    """
    sides = image.shape[2:]
    wanted = [
        max(side + -side % m, low)
        for side, m, low in zip(sides, _each(multiple, len(sides)), _each(least, len(sides)), strict=True)
    ]
    if list(sides) == wanted:
        return image
    missing = [(0, new - old) for new, old in zip(wanted, sides, strict=True)]
    return functional.pad(image, [n for pair in reversed(missing) for n in pair], mode="replicate")


def crop_to(feature: Tensor, size: Sequence[int], divisor: int | Sequence[int] = 1) -> Tensor:
    """Cut a map at 1/``divisor`` of the padded image to what covers the image of the given ``size``."""
    kept = (slice(-(-side // d)) for side, d in zip(size, _each(divisor, len(size)), strict=True))
    return feature[(slice(None), slice(None), *kept)]


def crop_back(feature: Tensor, height: int, width: int, divisor: int = 1) -> Tensor:
    """`crop_to` for planes."""
    return crop_to(feature, (height, width), divisor)


def _each(value: int | Sequence[int], axes: int) -> Sequence[int]:
    return [value] * axes if isinstance(value, int) else value
