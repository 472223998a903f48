"""How networks of volumes halve thick planes less often than rows and columns (methods.md 12-E).

A stride is (planes, rows, columns), ``(2, 2, 2)`` or ``(1, 2, 2)``. Where the planes are not halved, they are too far
apart for convolutions across them: kernels have the extent 1 there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from napari_semiseg.errors import InputError

Stride = tuple[int, int, int]

ALL_AXES: Stride = (2, 2, 2)
IN_PLANE: Stride = (1, 2, 2)


def strides_for_spacing(spacing: Sequence[float], levels: int = 4) -> tuple[Stride, ...]:
    """Return the strides of a network for a spacing in mm (planes, rows, columns): planes only at ratios below 2.

    The ratio is that of the planes' distance to the finer of the in-plane spacings of the level.

    Raises
    ------
    InputError
        For a spacing that is not three positive numbers.
    """
    if len(spacing) != 3 or not all(0 < distance < float("inf") for distance in spacing):
        raise InputError(f"A spacing is three positive distances in mm, not {tuple(spacing)}.")
    ratio = spacing[0] / min(spacing[1:])
    strides = []
    for _ in range(levels):
        strides.append(ALL_AXES if ratio < 2 else IN_PLANE)
        ratio /= 1 if ratio < 2 else 2
    return tuple(strides)


def checked(strides: Sequence[Sequence[int]], levels: int) -> tuple[Stride, ...]:
    """Return the strides as tuples.

    Raises
    ------
    InputError
        If there are not as many as ``levels`` or one of them is neither (2, 2, 2) nor (1, 2, 2).
    """
    given = [tuple(stride) for stride in strides]
    if len(given) != levels or not set(given) <= {ALL_AXES, IN_PLANE}:
        raise InputError(f"The network needs {levels} strides, each {ALL_AXES} or {IN_PLANE}, not {given}.")
    return tuple(IN_PLANE if stride == IN_PLANE else ALL_AXES for stride in given)


def totals(strides: Sequence[Stride]) -> list[Stride]:
    """Return by what each level's maps are divided, finest first; one more entry than strides."""
    start: Stride = (1, 1, 1)
    return list(accumulate(strides, lambda a, b: (a[0] * b[0], a[1] * b[1], a[2] * b[2]), initial=start))


def kernel(stride: Stride, extent: int = 3) -> Stride:
    """Return the kernel size beside a stride: ``extent`` along the axes that it divides, else 1."""
    planes, rows, columns = (extent if step > 1 else 1 for step in stride)
    return planes, rows, columns


def half(size: Stride) -> Stride:
    """Return the padding that keeps the sides under an odd kernel."""
    return size[0] // 2, size[1] // 2, size[2] // 2
