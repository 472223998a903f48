"""Which slice to annotate next, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_semiseg.engine.slice_facts import SliceFacts

DISTANCE_SHARE = 0.4
"""How much the distance from annotated slices counts beside the uncertainty."""
_END = 0.2  # this part of the predicted planes at either side is an end


@dataclass(frozen=True)
class Suggestion:
    """A plane worth annotating.

    Attributes
    ----------
    plane : int
    score : float
        Mean entropy (0–1) over the band of predicted foreground; 0 where nothing is predicted.
    reason : str
        One sentence for the annotator.
    priority : float
        What the ranking goes by, 0 to 1: uncertainty and distance, each relative to the largest one.
    order : str
        ``"ranked"`` or ``"equidistant"``.
    """

    plane: int
    score: float
    reason: str
    priority: float = 0.0
    order: str = "ranked"


@dataclass(frozen=True)
class Wording:
    """Names for the reasons.

    Attributes
    ----------
    classes : dict of int to str
    ends : pair of str
        What lies at the first and at the last plane, such as ``("inferior", "superior")``.
    sources : str
        Whose predictions the disagreement compares.
    """

    classes: dict[int, str] | None = None
    ends: tuple[str, str] = ("low-numbered", "high-numbered")
    sources: str = "two predictions"


def rank_planes(
    labels: Any,
    entropy: Any,
    *,
    annotated: Collection[int],
    spacing: float,
    disagreement: Any = None,
    facts: SliceFacts | None = None,
    wording: Wording | None = None,
    count: int = 3,
    distance_share: float = DISTANCE_SHARE,
) -> list[Suggestion]:
    """Rank the planes that are not annotated by how unsure the prediction is there and how far annotated ones are.

    Priority is (1 − d) · u + d · r: u is the larger of entropy and disagreement, each relative to its largest value
    over all planes, r the distance to the nearest annotated plane relative to the largest one. A plane that is taken
    counts as annotated for those after it, and its near neighbours (half the mean distance between suggestions) are
    passed over: they look alike and one annotation settles them together.

    Parameters
    ----------
    labels, entropy : array-like of uint8, shape (planes, rows, columns)
        Prediction of one volume; of zarr arrays only the suggested planes are read where ``facts`` are given.
    annotated : collection of int
        Planes that need no annotation.
    spacing : float
        Distance of planes, mm.
    disagreement : array-like of uint8, optional
        255 ≙ 1.
    facts : SliceFacts, optional
        Of this prediction; computed where it is missing.
    wording : Wording, optional
    count : int
    distance_share : float
        d, 0 to 1.

    Returns
    -------
    list of Suggestion
        Best first; shorter than ``count`` when fewer planes qualify, empty when nothing is predicted.
    """
    facts = facts or SliceFacts.of(labels, entropy, disagreement)
    wording = wording or Wording()
    entropies = facts.entropy.copy()
    predicted = np.flatnonzero(~np.isnan(entropies))
    entropies[list(annotated)] = np.nan
    unsure = _relative(entropies)
    differing = None if facts.disagreement is None else np.where(np.isnan(entropies), np.nan, facts.disagreement)
    if differing is not None:
        unsure = np.fmax(unsure, _relative(differing))
    apart = max(1, len(entropies) // (2 * max(1, count) + 2))
    chosen: list[Suggestion] = []
    taken, open_planes = set(annotated), ~np.isnan(entropies)
    while len(chosen) < count and open_planes.any():
        far = _relative(distances(taken, len(entropies)), open_planes)
        priority = np.where(open_planes, (1 - distance_share) * unsure + distance_share * far, -1.0)
        plane = int(priority.argmax())
        reason = _reason(plane, labels, entropy, entropies, differing, annotated, spacing, wording, predicted)
        chosen.append(Suggestion(plane, float(entropies[plane]), reason, float(priority[plane])))
        taken.add(plane)
        open_planes[max(0, plane - apart) : plane + apart + 1] = False
    return chosen


def equidistant_planes(
    planes: int, *, annotated: Collection[int], predicted: Collection[int] = (), count: int = 3
) -> list[Suggestion]:
    """Return the planes in the middle of the widest gaps between annotated ones; uncertainty plays no part.

    Parameters
    ----------
    planes : int
        Number of planes.
    annotated : collection of int
    predicted : collection of int
        Planes on which something is predicted: nothing beyond them and the annotated ones is suggested. Without either,
        all planes come into question.
    count : int

    Returns
    -------
    list of Suggestion
        The widest gap first.
    """
    known = {*annotated, *predicted}
    low, high = (min(known), max(known)) if len(known) > 1 else (0, planes - 1)
    taken, chosen = set(annotated), list[Suggestion]()
    while len(chosen) < count:
        gaps = distances(taken, planes)
        gaps[: low + (low in taken)] = gaps[high + 1 :] = 0
        plane = int(gaps.argmax()) if taken else (low + high) // 2
        if plane in taken or gaps[plane] == 0:
            break
        below = max((p for p in taken if p < plane), default=None)
        above = min((p for p in taken if p > plane), default=None)
        chosen.append(Suggestion(plane, 0.0, _gap(plane, below, above), order="equidistant"))
        taken.add(plane)
    return chosen


def distances(annotated: Collection[int], planes: int) -> np.ndarray:
    """Return how many planes away the nearest annotated plane is, shape (planes,); all ``planes`` without any."""
    if not annotated:
        return np.full(planes, float(planes))
    return np.abs(np.arange(planes)[:, None] - np.array(sorted(annotated))[None]).min(axis=1).astype(float)


def _relative(values: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Return values divided by their largest one."""
    considered = values if among is None else np.where(among, values, np.nan)
    if np.isnan(considered).all():
        return values
    largest = float(np.nanmax(considered))
    return values / largest if largest > 0 else values


def _gap(plane: int, below: int | None, above: int | None) -> str:
    if below is None and above is None:
        return f"Slice {plane} is in the middle, and no slice is annotated yet."
    if below is None or above is None:
        return f"Slice {plane} is farthest from the outermost annotated slice {above if below is None else below}."
    return f"Slice {plane} is in the middle of the widest gap, between slices {below} and {above}."


def _reason(
    plane: int,
    labels: Any,
    entropy: Any,
    entropies: np.ndarray,
    differing: np.ndarray | None,
    annotated: Collection[int],
    spacing: float,
    wording: Wording,
    predicted: Sequence[int] | np.ndarray,
) -> str:
    """Return what speaks for a plane, the strongest reason first."""
    rank = 1 + int(np.nansum(entropies > entropies[plane]))
    worst = _most_uncertain_class(np.asarray(labels[plane]), np.asarray(entropy[plane]))
    name = (wording.classes or {}).get(worst, f"class {worst}")
    where = _where(plane, predicted, wording.ends)
    unsure = "the most uncertain slice" if rank == 1 else f"number {rank} in uncertainty"
    said = [(1.0 / rank, f"it is {unsure} (entropy {entropies[plane]:.2f} of 1, most of it at {name})")]
    if differing is not None and np.nanmax(differing) > 0:
        share = float(differing[plane])
        said.append((share / float(np.nanmax(differing)), f"{wording.sources} disagree by {share:.0%}"))
    if annotated:
        gaps = distances(annotated, len(entropies))
        text = f"the nearest annotated slice is {gaps[plane] * spacing:.0f} mm away"
        said.append((0.9 * float(gaps[plane] / gaps[~np.isnan(entropies)].max()), text))
    first, *others = [text for _, text in sorted(said, key=lambda entry: -entry[0])]
    return f"Slice {plane}, {where}: {'; '.join([first, *others])}."


def _where(plane: int, predicted: Sequence[int] | np.ndarray, ends: tuple[str, str]) -> str:
    first, last = int(predicted[0]), int(predicted[-1])
    part = (plane - first) / max(1, last - first)
    if part <= _END or part >= 1 - _END:
        return f"at the {ends[0] if part <= _END else ends[1]} end"
    return "in the middle part"


def _most_uncertain_class(labels: np.ndarray, entropy: np.ndarray) -> int:
    sums = np.bincount(labels.ravel(), weights=entropy.ravel().astype(float), minlength=2)
    return 1 + int(np.argmax(sums[1:]))
