"""The simulated annotator: which slices it annotates, how, and where its hand slips."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from napari_semiseg.benchmark.cases import Case
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.engine.maps import Maps
from napari_semiseg.engine.suggest import equidistant_planes, rank_planes
from napari_semiseg.errors import InputError
from napari_semiseg.session.sample import spread

Policy = Literal["equidistant", "suggested", "random", "worst"]
POLICIES: tuple[str, ...] = get_args(Policy)
_SMOOTH = 8.0  # pixels over which a hand that slips keeps its direction
_RING = 4  # pixels between structures and the background stroke around them


@dataclass(frozen=True)
class Annotator:
    """How slices are chosen and painted.

    Attributes
    ----------
    policy : str
        ``equidistant`` fills the widest gaps; ``suggested`` follows the ranking that the panel shows; ``random`` takes
        any slice that shows a structure; ``worst`` corrects the slice with most wrong pixels, as somebody who looks
        through the prediction does. The first slices are equally spaced, for ``random`` drawn.
    jitter_mm : float
        Root mean square by which contours are off; neighbouring points of a contour are off alike.
    missed_mm2 : float
        Parts of a structure on a slice that are smaller than this are overlooked.
    scribbles : bool
        Paint a stroke along the middle of each structure and around all of them, instead of the whole slice.
    """

    policy: Policy = "equidistant"
    jitter_mm: float = 0.0
    missed_mm2: float = 0.0
    scribbles: bool = False

    def first(self, case: Case, count: int, seed: int) -> list[int]:
        """Return the planes to begin with.

        Raises
        ------
        InputError
            If fewer planes show a structure than are asked for, or none would be left to judge by.
        """
        shown = case.shown()
        if count >= len(shown):
            raise InputError(
                f"{count} slices of {case.name} were to be annotated, but {len(shown)} show a structure and at least "
                "one must be left to judge by; ask for fewer slices."
            )
        if self.policy == "random":
            return sorted(np.random.default_rng(seed).choice(shown, count, replace=False).tolist())
        return spread(np.where(case.reference == UNSAID, 0, case.reference), count)

    def next(self, case: Case, taken: Collection[int], maps: Maps | None, seed: int) -> int | None:
        """Return the plane to annotate after a prediction, None where there is none left.

        Parameters
        ----------
        case : Case
        taken : collection of int
            Planes that are annotated.
        maps : Maps or None
            The prediction that the annotator sees.
        seed : int

        Raises
        ------
        InputError
            If the policy follows predictions and there is none.
        """
        shown = case.shown()
        left = [plane for plane in shown if plane not in set(taken)]
        if not left:
            return None
        if self.policy == "random":
            return int(np.random.default_rng((seed, len(taken))).choice(left))
        if maps is None:
            if self.policy != "equidistant":
                raise InputError(
                    f"The policy {self.policy} follows the predictions of the first peer, which made none of "
                    f"{case.name}; put a peer first that segments it."
                )
        elif self.policy == "worst":
            wrong = wrong_pixels(maps.labels, case.reference)
            wrong[list(taken)] = -1
            return int(wrong.argmax())
        elif self.policy == "suggested":
            ranked = rank_planes(
                maps.labels,
                maps.entropy,
                disagreement=maps.disagreement,
                annotated=taken,
                spacing=case.spacing[0],
                count=1,
            )
            if ranked:
                return ranked[0].plane
        widest = equidistant_planes(len(case.reference), annotated=taken, predicted=shown, count=1)
        return widest[0].plane if widest else left[0]

    def labels(self, case: Case, planes: Collection[int], seed: int) -> np.ndarray:
        """Return what is said after the planes were annotated, class ids, uint8, shape (planes, rows, columns).

        The same seed paints a plane in the same way whatever else is annotated.
        """
        labels = np.full_like(case.reference, UNSAID)
        for plane in planes:
            rng = np.random.default_rng((seed, plane))
            labels[plane] = self.painted(case.reference[plane], case.spacing[1:], rng)
        return labels

    def painted(self, truth: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
        """Return one plane as this annotator paints it.

        Parameters
        ----------
        truth : ndarray of uint8, shape (rows, columns)
            Class ids, 255 not known.
        spacing : tuple of 2 floats
            mm; row, column.
        rng : Generator
        """
        painted = truth
        if self.missed_mm2 > 0:
            painted = without_small_parts(painted, self.missed_mm2 / (spacing[0] * spacing[1]))
        if self.jitter_mm > 0:
            painted = jittered(painted, self.jitter_mm, spacing, rng)
        return scribbled(painted) if self.scribbles else painted


def wrong_pixels(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return how many pixels of each plane are wrong, where the reference says something, shape (planes,)."""
    return ((predicted != reference) & (reference != UNSAID)).sum(axis=(1, 2))


def without_small_parts(plane: np.ndarray, pixels: float) -> np.ndarray:
    """Return a plane in which connected parts of fewer pixels than given are background."""
    kept = plane.copy()
    for class_id in np.unique(plane):
        if class_id in (0, UNSAID):
            continue
        parts, count = ndimage.label(plane == class_id, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        small = np.flatnonzero(sizes < pixels)
        kept[np.isin(parts, small[small > 0])] = 0
    return kept


def jittered(plane: np.ndarray, rms_mm: float, spacing: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a plane whose contours are displaced by a smooth random field of the given root mean square."""
    field = ndimage.gaussian_filter(rng.normal(size=(2, *plane.shape)), (0, _SMOOTH, _SMOOTH), mode="wrap")
    field *= rms_mm / np.sqrt(2 * np.square(field).mean())  # both directions together have the root mean square
    step = np.array(spacing).reshape(2, 1, 1)
    where = np.indices(plane.shape) + field / step
    return ndimage.map_coordinates(plane, where, order=0, mode="nearest")


def scribbled(plane: np.ndarray) -> np.ndarray:
    """Return a stroke along the middle of each structure and one of background around them, 255 elsewhere."""
    strokes = np.full_like(plane, UNSAID)
    structure = (plane > 0) & (plane != UNSAID)
    if not structure.any():
        strokes[len(plane) // 2] = 0
        return strokes
    around = ndimage.distance_transform_edt(~structure)
    strokes[(around >= _RING) & (around < _RING + 2) & (plane == 0)] = 0
    for class_id in np.unique(plane[structure]):
        strokes[skeletonize(plane == class_id)] = class_id
    return strokes
