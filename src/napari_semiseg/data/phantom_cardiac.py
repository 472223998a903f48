"""A short-axis cine MRI of a heart: right ventricle 1, myocardium 2, left ventricle 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_semiseg.data.phantom_shapes import Space, blend, smooth_noise, soft

SPACING = (8.0, 1.4, 1.4)
CLASS_NAMES = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
_SHAPE = (160, 176)  # rows, columns


@dataclass(frozen=True)
class _Heart:
    """One patient's heart at every voxel.

    Attributes
    ----------
    along : ndarray
        0 at the base, 1 at the apex of the left ventricle.
    endocardium, epicardium, right : ndarray
        Relative distance from each surface, negative inside.
    angle, depth : ndarray
        Polar coordinates within the left ventricle, depth in radii of the cavity.
    """

    along: np.ndarray
    endocardium: np.ndarray
    epicardium: np.ndarray
    right: np.ndarray
    angle: np.ndarray
    depth: np.ndarray


def image_and_labels(rng: np.random.Generator, planes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return intensities (int16) and labels (uint8) of one patient."""
    shape = (planes, *_SHAPE)
    space = Space.of(shape, SPACING, rng, bend=1.6)
    heart = _heart(space, planes, rng)
    tissue = _thorax(space, rng)
    blood = 205.0 * rng.uniform(0.9, 1.1)
    muscle = 82.0 * rng.uniform(0.9, 1.12)
    _vessels(space, heart, tissue, blood, rng)
    flow = 1 + 0.10 * smooth_noise(shape, (9.0, 7.0, 7.0), SPACING, rng)
    # Above the base the ventricles give way to the atria and the great vessels.
    alive = (heart.along < 1) * soft(-(heart.along + 0.03) / 0.03, 1.0)
    blend(tissue, 225.0, soft(heart.epicardium - 0.10, 0.12) * alive * rng.uniform(0.3, 0.7))  # epicardial fat
    blend(tissue, muscle, soft(heart.right - 0.11, 0.10) * alive)
    in_right = soft(heart.right, 0.08) * (heart.epicardium > 0) * alive
    blend(tissue, blood * flow, in_right)
    blend(tissue, muscle, soft(heart.epicardium, 0.05) * alive)
    blend(tissue, blood * flow, soft(heart.endocardium, 0.07) * alive)
    blend(tissue, muscle * 1.05, _papillary(heart, rng) * (heart.endocardium < 0))

    labels = np.zeros(shape, np.uint8)
    within = (heart.along >= 0) & (heart.along < 1)
    labels[within & (heart.right < 0) & (heart.epicardium >= 0)] = 1
    labels[within & (heart.epicardium < 0)] = 2
    labels[within & (heart.endocardium < 0)] = 3
    return _scan(tissue, rng), labels


def _heart(space: Space, planes: int, rng: np.random.Generator) -> _Heart:
    length = rng.uniform(0.70, 0.80) * planes * SPACING[0]
    base = planes * SPACING[0] / 2 - rng.uniform(1.2, 2.2) * SPACING[0]
    along = (base - space.z) / length
    taper = np.sqrt(np.clip(1 - np.clip(along, 0, 1) ** 2.4, 0.02, 1))
    centre_y = rng.uniform(-4, 6) + rng.uniform(4, 12) * along
    centre_x = rng.uniform(4, 14) + rng.uniform(8, 18) * along
    dy, dx = space.y - centre_y, space.x - centre_x
    angle = np.arctan2(dy, dx)
    oval = 1 + 0.05 * np.cos(2 * angle + rng.uniform(0, 6)) + 0.025 * np.cos(3 * angle + rng.uniform(0, 6) + 2 * along)
    distance = np.hypot(dy, dx) / oval
    outer = rng.uniform(29, 36) * taper
    wall = rng.uniform(8.0, 11.5) * (1 + 0.12 * np.cos(angle + rng.uniform(0, 6))) * (0.55 + 0.45 * taper)
    inner = np.maximum(outer - wall, 0.5)
    # The right ventricle lies to the patient's right and in front, wraps around the septum and ends before the apex.
    turn = rng.uniform(-0.15, 0.25)
    shift = outer * rng.uniform(0.98, 1.08)
    right_y, right_x = dy + shift * (0.42 + turn), dx + shift
    room = np.sqrt(np.clip(1 - (np.clip(along, 0, 1) / rng.uniform(0.80, 0.92)) ** 2.2, 0.0, 1)) + 1e-3
    size_y, size_x = rng.uniform(34, 40) * room, rng.uniform(23, 29) * room
    tilt = 0.35 + turn
    u = (right_x * np.cos(tilt) - right_y * np.sin(tilt)) / size_x
    v = (right_x * np.sin(tilt) + right_y * np.cos(tilt)) / size_y
    right = np.hypot(u, v) * (1 + 0.06 * np.cos(3 * np.arctan2(v, u) + rng.uniform(0, 6))) - 1
    return _Heart(along, distance / inner - 1, distance / outer - 1, right, angle, distance / inner)


def _papillary(heart: _Heart, rng: np.random.Generator) -> np.ndarray:
    """Two muscles and fine trabeculae inside the cavity, as dark as the wall; the reference counts them as cavity."""
    part = np.zeros_like(heart.along)
    for direction in (rng.uniform(0.5, 1.0), rng.uniform(2.2, 2.8)):
        turned = np.angle(np.exp(1j * (heart.angle - direction)))
        away = np.hypot((heart.depth - 0.68) / 0.22, turned * heart.depth / 0.30)
        part = np.maximum(part, soft(away - 1, 0.5) * soft(np.abs(heart.along - 0.45) - 0.27, 0.12))
    rim = 0.9 + 0.07 * np.cos(9 * heart.angle + rng.uniform(0, 6)) + 0.05 * np.cos(14 * heart.angle + 8 * heart.along)
    return np.maximum(part, 0.75 * soft(rim - heart.depth, 0.08) * (heart.depth < 1))


def _thorax(space: Space, rng: np.random.Generator) -> np.ndarray:
    """Chest wall, fat, lungs, liver, stomach and spine around the heart."""
    body = space.ellipsoid((0, 4, 2), (4000, rng.uniform(98, 106), rng.uniform(112, 119)))
    tissue = np.full(space.z.shape, 4.0, np.float32)
    blend(tissue, 190.0, soft(body, 0.02))
    blend(tissue, 75.0 * rng.uniform(0.9, 1.1), soft(body + rng.uniform(0.06, 0.12), 0.02))
    ribs = np.abs(np.sin(6.5 * np.arctan2(space.y, space.x) + space.z / 18)) < 0.35
    blend(tissue, 150.0, soft(np.abs(body + 0.16) - 0.02, 0.02) * ribs)
    chest = soft(body + 0.22, 0.03)
    blend(tissue, 18.0, chest)
    texture = smooth_noise(space.z.shape, (10.0, 3.0, 3.0), SPACING, rng)
    blend(tissue, 85.0, chest * (texture > 2.0))  # lung vessels
    mediastinum = space.ellipsoid((0, 20, -6), (4000, 74, 52))
    blend(tissue, 120.0 + 30 * texture, soft(mediastinum, 0.10) * chest)
    # The diaphragm rises to the right of the patient: lower planes show liver and stomach.
    dome = space.z + 14 + 0.0022 * ((space.x + 45) ** 2 + (space.y - 10) ** 2)
    below = soft(dome / 10, 1.0) * soft(body + 0.2, 0.03)
    blend(tissue, 84.0 * rng.uniform(0.93, 1.07) + 4 * texture, below * soft((space.x - 8) / 12, 1.0))
    stomach = space.ellipsoid((-40, -8, 62), (34, 34, 30))
    blend(tissue, 84.0, soft(stomach - 0.12, 0.06) * soft(body + 0.2, 0.03))
    blend(tissue, rng.uniform(25, 160), soft(stomach, 0.08) * soft(body + 0.2, 0.03))
    spine = space.ellipsoid((0, 78, 0), (4000, 17, 19))
    blend(tissue, 70.0 + 25 * (np.sin(space.z / 6.0) > -0.6), soft(spine, 0.08))
    blend(tissue, 170.0, soft(space.tube(98.0, 0.0, 7.0), 0.2))
    return tissue


def _vessels(space: Space, heart: _Heart, tissue: np.ndarray, blood: float, rng: np.random.Generator) -> None:
    """Vessels as bright as the ventricles: descending aorta, vena cava, and the great vessels above the base."""
    blend(tissue, blood * rng.uniform(0.92, 1.05), soft(space.tube(58.0 + 2 * np.sin(space.z / 30), 24.0, 11.0), 0.15))
    blend(tissue, blood * rng.uniform(0.85, 1.0), soft(space.tube(34.0, -46.0, 11.0), 0.15))
    above = soft(heart.along / 0.04, 1.0)
    for centre, radius in (((2, 4), 15.0), ((-14, -24), 14.0), ((22, 14), 22.0), ((16, -40), 18.0)):
        offset = rng.uniform(-4, 4, size=2)
        vessel = space.tube(centre[0] + offset[0], centre[1] + offset[1], radius * rng.uniform(0.85, 1.15))
        blend(tissue, 84.0, above * soft(vessel - 0.16, 0.1))
        blend(tissue, blood * rng.uniform(0.9, 1.05), above * soft(vessel, 0.12))


def _scan(tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Coil sensitivity, point spread, and Rician noise: the magnitude of a complex signal, never negative."""
    bias = np.exp(0.20 * smooth_noise(tissue.shape, (60.0, 55.0, 55.0), SPACING, rng))
    texture = 1 + 0.04 * smooth_noise(tissue.shape, (6.0, 2.5, 2.5), SPACING, rng)
    signal = ndimage.gaussian_filter(tissue * texture, (0, 0.55, 0.55)) * bias
    deviation = rng.uniform(9, 13)
    real, imaginary = (deviation * rng.standard_normal(tissue.shape) for _ in range(2))
    return np.rint(np.hypot(signal + real, imaginary)).astype(np.int16)
