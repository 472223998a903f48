"""An abdominal CT in Hounsfield units: liver 1, spleen 2, right kidney 3, left kidney 4, aorta 5."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_semiseg.data.phantom_shapes import Space, blend, smooth_noise, soft

SPACING = (5.0, 2.0, 2.0)
CLASS_NAMES = {1: "liver", 2: "spleen", 3: "right kidney", 4: "left kidney", 5: "aorta"}
_SHAPE = (56, 160, 200)
_FAT, _MUSCLE, _AIR = -100.0, 55.0, -1000.0


def image_and_labels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return HU (int16) and labels (uint8) of one patient."""
    space = Space.of(_SHAPE, SPACING, rng, bend=2.5)
    size = rng.uniform(0.93, 1.05)
    wall = _Wall(space, size, rng)
    image = np.full(_SHAPE, _AIR, np.float32)
    _table(space, image)
    wall.draw(image)
    _spine_and_ribs(space, wall, image, size, rng)
    organs = _organs(space, wall, size, rng)
    _soft_neighbours(space, wall, image, size, rng)
    labels = np.zeros(_SHAPE, np.uint8)
    attenuation = {1: 62, 2: 56, 3: 64, 4: 64, 5: 50}
    shift = rng.uniform(-6, 6)
    for label, organ in organs.items():
        blend(image, attenuation[label] + shift + rng.uniform(-3, 3), soft(organ, 0.06))
        labels[organ < 0] = label
    _inside_organs(space, image, labels, organs, rng)
    wall.lungs(image, labels)
    return _scan(image, rng), labels


class _Wall:
    """Skin, fat, muscles of the abdominal wall, and the cavity inside."""

    def __init__(self, space: Space, size: float, rng: np.random.Generator) -> None:
        self.space = space
        self.body = space.ellipsoid((0, 4, 0), (4000, 112 * size, 158 * size))
        self.fat = rng.uniform(0.08, 0.16)
        self.cavity = self.body + self.fat + 0.10
        dome = (space.x + 55) ** 2 / 9000 + (space.y + 5) ** 2 / 12000
        left = (space.x - 70) ** 2 / 8000 + (space.y + 5) ** 2 / 12000
        self.diaphragm = space.z - (118 - 46 * np.minimum(dome, left + 0.12) + rng.uniform(-8, 8))

    def draw(self, image: np.ndarray) -> None:
        """Draw from the skin inwards."""
        blend(image, 30.0, soft(self.body, 0.02))
        blend(image, _FAT, soft(self.body + 0.015, 0.015))
        blend(image, _MUSCLE, soft(self.body + self.fat, 0.02))
        blend(image, _FAT, soft(self.cavity, 0.02))

    def lungs(self, image: np.ndarray, labels: np.ndarray) -> None:
        """Fill what lies above the diaphragm with lung, the heart's underside between."""
        above = soft(-self.diaphragm / 6, 1.0) * soft(self.cavity + 0.04, 0.03) * (labels == 0)
        heart = self.space.ellipsoid((150, -40, 25), (62, 48, 62))
        back = soft(self.space.ellipsoid((0, 92, 0), (4000, 46, 40)), 0.1)
        blend(image, -840.0, above * (1 - back))
        blend(image, 45.0, soft(heart, 0.05) * above * (1 - back))


def _organs(space: Space, wall: _Wall, size: float, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Return the relative distance from each labelled organ's surface, negative inside."""

    def near(z: float, y: float, x: float, spread: float = 5.0) -> tuple[float, float, float]:
        dz, dy, dx = rng.uniform(-spread, spread, 3)
        return (z + dz, (y + dy) * size, (x + dx) * size)

    def scaled(*radii: float) -> tuple[float, float, float]:
        a, b, c = (r * size * rng.uniform(0.93, 1.07) for r in radii)
        return (a, b, c)

    shape = space.z.shape
    uneven = 0.06 * smooth_noise(shape, (30.0, 22.0, 22.0), SPACING, rng)
    right_lobe = space.ellipsoid(near(50, -2, -72), scaled(78, 78, 62))
    left_lobe = space.ellipsoid(near(72, -48, 0), scaled(34, 34, 66))
    liver = np.minimum(right_lobe, left_lobe) + uneven
    # Its underside is hollow where gallbladder and bowel lie.
    liver = np.maximum(liver, -space.ellipsoid(near(-6, -38, -20), scaled(48, 46, 52)))
    spleen = space.ellipsoid(near(62, 34, 96), scaled(50, 46, 32)) + uneven
    spleen = np.maximum(spleen, -space.ellipsoid(near(58, 2, 58), scaled(52, 46, 34)))
    kidneys = [space.ellipsoid(near(z, 46, x), scaled(52, 24, 26)) + 0.5 * uneven for z, x in ((-22, -62), (-8, 62))]
    aorta = space.tube(
        44.0 * size + 4 * np.sin(space.z / 60), 8.0 + 3 * np.sin(space.z / 45 + 1), 10.5 * rng.uniform(0.9, 1.15)
    )
    inside = np.maximum(wall.cavity / 0.12, wall.diaphragm / 25 + 0.15)
    organs = {1: np.maximum(liver, inside), 2: np.maximum(spleen, inside)}
    organs |= {label: np.maximum(kidney, -organs[1]) for label, kidney in zip((3, 4), kidneys, strict=True)}
    # The pelvis of each kidney opens towards the middle and is fat, not kidney.
    for label, side in ((3, 1), (4, -1)):
        pelvis = space.ellipsoid((-16, 44 * size, -side * 46 * size), (18, 9, 13))
        organs[label] = np.maximum(organs[label], -pelvis)
    organs[4] = np.maximum(organs[4], -organs[2])
    organs[5] = aorta
    return organs


def _soft_neighbours(space: Space, wall: _Wall, image: np.ndarray, size: float, rng: np.random.Generator) -> None:
    """Draw what lies beside the organs at nearly the same attenuation."""
    cavity = soft(wall.cavity + 0.02, 0.02)
    blend(image, 46.0 + rng.uniform(-4, 4), soft(space.tube(40.0 * size, -20.0, 12.5), 0.12))  # vena cava
    for x in (-1, 1):  # psoas
        growing = 10 + np.clip(10 - space.z * 0.12, 0, 16)
        blend(image, _MUSCLE, soft(space.tube(64.0 * size, x * (34.0 + growing * 0.3), growing), 0.12))
    pancreas = np.hypot((space.y + 4 + 0.10 * (space.x - 20)) / 11, (space.z - 14 - 0.35 * space.x) / 16) - 1
    blend(image, 42.0, soft(np.maximum(pancreas, np.abs(space.x - 25) / 62 - 1), 0.15) * cavity)
    stomach = space.ellipsoid((62, -28 * size, 62 * size), (52, 38, 40)) + 0.05 * np.sin(space.z / 14)
    content = 18.0 + rng.uniform(-5, 25)
    blend(image, 48.0, soft(stomach, 0.05) * cavity)
    blend(image, content, soft(stomach + 0.14, 0.06) * cavity)
    gas = np.maximum(stomach + 0.16, (space.y + (44 + rng.uniform(-6, 6)) * size) / 20)
    blend(image, -920.0, soft(gas, 0.06) * cavity)
    _bowel(space, image, cavity, rng)
    gallbladder = space.ellipsoid((6, -44 * size, -50 * size), (28, 15, 14))
    blend(image, 12.0, soft(gallbladder, 0.12))


def _bowel(space: Space, image: np.ndarray, cavity: np.ndarray, rng: np.random.Generator) -> None:
    """Loops of bowel in the lower abdomen, some with gas."""
    for _ in range(34):
        z, y, x = rng.uniform(-150, 14), rng.uniform(-78, 4), rng.uniform(-100, 100)
        radii = rng.uniform(12, 20, size=3) * (1.7, 1.0, 1.2)
        loop = space.ellipsoid((z, y, x), tuple(radii))
        blend(image, 44.0, soft(loop, 0.15) * cavity)
        blend(image, rng.uniform(10, 40), soft(loop + 0.22, 0.15) * cavity)
        if rng.random() < 0.35:
            gas = np.maximum(loop + 0.25, (space.y - y + rng.uniform(0, 6)) / 12)
            blend(image, -850.0, soft(gas, 0.12) * cavity)


def _spine_and_ribs(space: Space, wall: _Wall, image: np.ndarray, size: float, rng: np.random.Generator) -> None:
    """Vertebrae with discs and processes, the muscles beside them, and ribs."""
    muscles = np.minimum(
        space.ellipsoid((0, 96 * size, -36), (4000, 22, 32)), space.ellipsoid((0, 96 * size, 36), (4000, 22, 32))
    )
    blend(image, _MUSCLE, soft(np.maximum(muscles, wall.body + 0.08), 0.08))
    phase = np.mod(space.z + rng.uniform(0, 34), 34.0)
    disc = soft(np.abs(phase - 17) / 4 - 1, 0.5)
    vertebra = space.tube(76.0 * size, 0.0, 22.0 * size)
    marrow = 170.0 + 25 * smooth_noise(space.z.shape, (4.0, 3.0, 3.0), SPACING, rng)
    blend(image, 480.0 * (1 - disc) + 80.0 * disc, soft(vertebra, 0.08))
    blend(image, marrow * (1 - disc) + 85.0 * disc, soft(vertebra + 0.12, 0.06))
    spinous = np.maximum(np.abs(space.x) / 5 - 1, np.abs(space.y - 112 * size) / 14 - 1)
    transverse = np.maximum(np.abs(space.x) / 42 - 1, np.abs(space.y - 96 * size) / 5 - 1)
    blend(image, 400.0, soft(np.minimum(spinous, transverse), 0.15) * (1 - disc))
    blend(image, 30.0, soft(space.tube(103.0 * size, 0.0, 9.0), 0.15))
    around = np.arctan2(space.y - 10, space.x)
    height = np.mod(space.z + 34 * np.sin(around + np.pi / 2) + 14 * np.cos(2 * around), 30.0)
    rib = np.hypot((wall.body + wall.fat + 0.05) / 0.032, (height - 15) / 5.5) - 1
    present = (space.z > -30 + 60 * (space.y < -20)).astype(np.float32)
    blend(image, 420.0, soft(rib, 0.3) * present)
    blend(image, 180.0, soft(rib + 0.45, 0.3) * present)


def _inside_organs(
    space: Space, image: np.ndarray, labels: np.ndarray, organs: dict[int, np.ndarray], rng: np.random.Generator
) -> None:
    """Vessels in the liver, cortex and pyramids in the kidneys, calcified plaque in the aorta."""
    field = smooth_noise(space.z.shape, (14.0, 9.0, 9.0), SPACING, rng)
    blend(image, 80.0, soft(np.abs(field) - 0.05, 0.08) * (organs[1] < -0.06) * 0.7)
    for kidney in (3, 4):
        pyramids = smooth_noise(space.z.shape, (9.0, 7.0, 7.0), SPACING, rng)
        blend(image, 48.0, soft((0.3 - pyramids) / 0.4, 1.0) * (organs[kidney] < -0.22) * 0.6)
    plaque = (np.abs(organs[5] + 0.06) < 0.06) & (smooth_noise(space.z.shape, (8.0, 4.0, 4.0), SPACING, rng) > 1.9)
    image[plaque & (labels == 5)] = 320.0


def _table(space: Space, image: np.ndarray) -> None:
    """The scanner's table under the patient."""
    curve = space.y - 136 + 0.0011 * space.x**2
    within = np.abs(space.x) < 170
    blend(image, -120.0, soft(np.abs(curve) / 9 - 1, 0.2) * within)
    blend(image, 60.0, soft(np.abs(np.abs(curve) - 8) / 1.6 - 1, 0.5) * within)


def _scan(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Point spread, partial volume across planes, and noise with the grain of a reconstructed CT."""
    sharp = ndimage.gaussian_filter(image, (0.35, 0.5, 0.5))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0, 0.75, 0.75))
    noise *= rng.uniform(13, 17) / noise.std()
    return np.rint(np.clip(sharp + noise, -1024, 3071)).astype(np.int16)
