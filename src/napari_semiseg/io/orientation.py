"""Which file axis is which patient direction, and how a plane of it is put on the screen."""

from __future__ import annotations

from itertools import permutations

import numpy as np

SLICE_SPACING_RATIO = 1.5
"""An axis whose spacing is larger than both others by this factor is the slice axis."""

# Letters at the low and the high end of the three RAS+ axes.
_WORLD_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))

# Per slicing direction (the world axis that the planes run along): world axis and sign of rows and of columns, so that
# axial planes have anterior up, the others superior up; the patient's left is on the right of the screen, and sagittal
# planes look to the left, as radiologists show them.
_SCREEN = {
    0: ((2, -1), (1, -1)),
    1: ((2, -1), (0, -1)),
    2: ((1, -1), (0, -1)),
}


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Return the length in mm of a step along each voxel axis of ``affine`` (4 x 4)."""
    return np.sqrt((np.asarray(affine, float)[:3, :3] ** 2).sum(axis=0))


def world_axes(affine: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Name the patient axis nearest to each voxel axis.

    Returns
    -------
    tuple of 3 (world, sign)
        ``world`` is 0 (right), 1 (anterior) or 2 (superior), each given once; ``sign`` is +1 if the voxel index grows
        that way and -1 if it grows the other way.
    """
    directions = np.asarray(affine, float)[:3, :3] / voxel_sizes(affine)
    strength = np.abs(directions)
    # Six assignments only: take the best one as a whole, so that an oblique affine cannot give one direction twice.
    best = max(permutations(range(3)), key=lambda worlds: sum(strength[w, axis] for axis, w in enumerate(worlds)))
    return tuple((world, 1 if directions[world, axis] >= 0 else -1) for axis, world in enumerate(best))


def axis_letters(affine: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return the patient letters (low end, high end) of the three voxel axes of ``affine``."""
    return tuple(_WORLD_LETTERS[w] if sign > 0 else _WORLD_LETTERS[w][::-1] for w, sign in world_axes(affine))


def slice_axis(file_shape: tuple[int, ...], affine: np.ndarray) -> int:
    """Choose the file axis along which planes are stacked.

    A file that has exactly one axis of length 1 is a single plane across it. Otherwise the axis whose spacing is more
    than 1.5 times both others, else the last.
    """
    singles = [axis for axis, size in enumerate(file_shape) if size == 1]
    if len(singles) == 1:
        return singles[0]
    sizes = voxel_sizes(affine)
    widest = int(np.argmax(sizes))
    if all(sizes[widest] > SLICE_SPACING_RATIO * sizes[other] for other in range(3) if other != widest):
        return widest
    return 2


def screen_layout(affine: np.ndarray, axis: int) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return file axes and flips of (planes, rows, columns) for planes stacked along file axis ``axis``."""
    named = world_axes(affine)
    axes, flips = [axis], [False]
    for wanted_world, wanted_sign in _SCREEN[named[axis][0]]:
        file_axis = next(a for a, (world, _) in enumerate(named) if world == wanted_world)
        axes.append(file_axis)
        flips.append(named[file_axis][1] != wanted_sign)
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle in degrees of the rotation between the axes of two affines, shear and spacing set aside."""
    rotations = []
    for affine in (first, second):
        u, _, v = np.linalg.svd(np.asarray(affine, float)[:3, :3] / voxel_sizes(affine))
        rotations.append(u @ v)
    trace = float(np.trace(rotations[0].T @ rotations[1]))
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def shear_angle(affine: np.ndarray) -> float:
    """Return by how many degrees the voxel axes miss being perpendicular (0 for a box)."""
    directions = np.asarray(affine, float)[:3, :3] / voxel_sizes(affine)
    cosines = [abs(float(directions[:, a] @ directions[:, b])) for a, b in ((0, 1), (0, 2), (1, 2))]
    return float(np.degrees(np.arcsin(min(1.0, max(cosines)))))


def angle_between_vectors(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle in degrees between two directions."""
    cosine = float(first @ second) / float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
