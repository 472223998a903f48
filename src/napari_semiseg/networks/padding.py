"""Any input size for networks that halve it several times."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples; crop the result back with ``[..., :h, :w]``."""
    height, width = image.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if down == right == 0:
        return image
    return functional.pad(image, (0, right, 0, down), mode="replicate")
