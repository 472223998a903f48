"""Any input size for networks that halve it several times."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, multiple: int, *, least: int = 0) -> Tensor:
    """Repeat the last row and column until both sides are multiples and not below ``least``; see `crop_back`."""
    height, width = image.shape[-2:]
    down, right = (max(side + -side % multiple, least) - side for side in (height, width))
    if down == right == 0:
        return image
    return functional.pad(image, (0, right, 0, down), mode="replicate")


def crop_back(feature: Tensor, height: int, width: int, divisor: int = 1) -> Tensor:
    """Cut a map at 1/``divisor`` of the padded image to what covers the image of ``height``×``width``."""
    return feature[..., : -(-height // divisor), : -(-width // divisor)]
