"""Batches of a labelled and an unlabelled stream (methods.md 1.4, 12-A, 12-H)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_semiseg.data import augmentation as aug
from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID
from napari_semiseg.data.working import WorkingVolume

# A crop centres on a labelled structure this often, so that small organs are seen at all.
_FOREGROUND_SHARE = 0.7
# methods.md 12-H: corrected planes are at least this part of the labelled samples, and weigh double.
_CORRECTED_SHARE = 0.25
_CORRECTED_WEIGHT = 2.0

MEMORY_ORDER = {2: torch.channels_last, 3: torch.channels_last_3d}
"""By spatial axes: the order in memory in which convolutions are fastest, on CPUs and GPUs alike."""


@dataclass(frozen=True)
class Batch:
    """Crops of planes, or patches of volumes; the first ``labelled`` samples come from the labelled stream.

    What is written as (B, H, W) is (B, D, H, W) for patches of D planes.

    Attributes
    ----------
    image : Tensor of float32, shape (B, channels, H, W)
    label : Tensor of int64, shape (B, H, W)
        Class indices, 255 not said (beyond the plane or the volume too) or not said for certain (``either``).
    inside : Tensor of bool, shape (B, H, W)
        False for padding beyond the plane or the volume.
    weight : Tensor of float32, shape (B,)
        Weight of the sample in supervised terms; corrected planes weigh 2.
    labelled : int
    volume, plane : Tensor of int64, shape (B,)
        Where the sample comes from; the plane that a patch was drawn for.
    position : Tensor of float32, shape (B,)
        Place of the plane along the slice axis, mm.
    affine : Tensor of float32, shape (B, 2, 3)
        Crop pixel from the centre of the crop to pixel of the plane on the working grid; alike on all planes.
    extras : dict of str to Tensor, shape (B, H, W)
        Maps a method prepared, sampled with the same geometry.
    either : Tensor of bool, shape (B, H, W), or None
        Pixels that are background or one of the classes which nobody looked for in their volume; their label is 255.
        None where every class was looked for everywhere.
    merged : Tensor of bool, shape (B, K ≤ C), or None
        Which classes such a pixel may be, by sample; column 0 is true.
    carried : Tensor of float32, shape (B, C, H, W), or None
        Probabilities that the guide of the volume gives (`data.guide`), 0 throughout where it says nothing; None where
        nobody asked.
    correspondences : Correspondences or None
        Where the anatomy of the samples is in other slices, if the method found out.
    """

    image: Tensor
    label: Tensor
    inside: Tensor
    weight: Tensor
    labelled: int
    volume: Tensor
    plane: Tensor
    position: Tensor
    affine: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    either: Tensor | None = None
    merged: Tensor | None = None
    carried: Tensor | None = None
    correspondences: Correspondences | None = None

    @property
    def coarse(self) -> Tensor:
        """The label for losses that understand ``merged``: 0 where ``either``, int64, shape (B, H, W)."""
        return self.label if self.either is None else torch.where(self.either, 0, self.label)

    @property
    def said(self) -> Tensor:
        """Which pixels are labelled, bool, shape (B, H, W)."""
        return self.label != UNSAID

    @property
    def weights(self) -> Tensor:
        """Weight of every pixel in supervised terms, shape (B, H, W)."""
        return self.weight.view(-1, *[1] * (self.label.dim() - 1)).expand(self.label.shape)

    @property
    def unsaid(self) -> Tensor:
        """Which pixels of the planes are not labelled: where unsupervised terms apply, bool, shape (B, H, W)."""
        return ~self.said & self.inside

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return self._changed(lambda value: value.to(device, non_blocking=True))

    def only(self, chosen: Tensor) -> Batch:
        """Return the samples at some indices, int64 of shape (n,), in ascending order."""
        return dataclasses.replace(
            self._changed(lambda value: value[chosen]), labelled=int((chosen < self.labelled).sum())
        )

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed in the same way."""
        changed = {
            entry.name: change(value)
            for entry in dataclasses.fields(self)
            if isinstance(value := getattr(self, entry.name), Tensor)
        }
        extras = {name: change(value) for name, value in self.extras.items()}
        return dataclasses.replace(self, **changed, extras=extras)  # type: ignore[arg-type]


class PlaneSampler:
    """Draws batches of plane crops, repeatably.

    Parameters
    ----------
    volumes : sequence of WorkingVolume
    labelled, unlabelled : int
        Samples per batch of either stream. The unlabelled stream is empty when every plane is labelled.
    crop : int
        Side of the crops in pixels.
    context : int
        Neighbouring planes on either side that are further channels.
    carried : int
        Number of classes of which batches tell what the volumes' guides say; 0: they do not.
    strength : Augmentation
    seed : int
    correspondences : Correspondences, optional
        Comes with each batch.
    """

    def __init__(
        self,
        volumes: Sequence[WorkingVolume],
        *,
        labelled: int,
        unlabelled: int,
        crop: int,
        context: int = 0,
        carried: int = 0,
        strength: aug.Augmentation,
        seed: int = 0,
        correspondences: Correspondences | None = None,
    ) -> None:
        self.correspondences = correspondences
        self.volumes = list(volumes)
        self.crop = crop
        self.context = context
        self.carried = carried
        self.strength = strength
        self.rng = np.random.default_rng(seed)
        said = [volume.said().numpy() for volume in self.volumes]
        self.labelled_planes = [(v, int(p)) for v, part in enumerate(said) for p in np.flatnonzero(part > 0)]
        self.corrected_planes = [(v, p) for v, p in self.labelled_planes if p in self.volumes[v].corrected]
        # Scribbled planes are in both streams: supervised where something is said, unsupervised elsewhere.
        self.unlabelled_planes = [
            (v, int(p)) for v, part in enumerate(said) for p in np.flatnonzero(part < COMPLETE_SHARE)
        ]
        if labelled and not self.labelled_planes:
            raise ValueError("no plane is labelled")
        self.n_labelled = labelled
        self.n_unlabelled = unlabelled if self.unlabelled_planes else 0
        self._foreground = {
            (v, p): torch.nonzero((plane := self.volumes[v].labels[p]).ne(UNSAID) & plane.gt(0)).numpy()
            for v, p in self.labelled_planes
        }
        # Unlabelled crops look where the labelled structures are, which is where they are in most volumes too.
        self._centres = [
            np.concatenate(
                [self._foreground[v, p] for v, p in self.labelled_planes if v == index] or [np.zeros((0, 2))]
            )
            for index in range(len(self.volumes))
        ]
        self._shared_centres = np.concatenate(self._centres)

    def batch(self) -> Batch:
        """Draw the next batch, on the CPU."""
        chosen = self._draw_labelled(self.n_labelled) + self._draw(self.unlabelled_planes, self.n_unlabelled)
        samples = [self._sample(v, p, index < self.n_labelled) for index, (v, p) in enumerate(chosen)]
        corrected = set(self.corrected_planes)
        either = self._either(samples, [v for v, _ in chosen])
        images = torch.stack([sample["image"] for sample in samples])
        return Batch(
            image=images.to(memory_format=MEMORY_ORDER[images.dim() - 2]),
            label=torch.stack([sample["label"] for sample in samples]),
            inside=torch.stack([sample["inside"] for sample in samples]),
            weight=torch.tensor([_CORRECTED_WEIGHT if place in corrected else 1.0 for place in chosen]),
            labelled=self.n_labelled,
            volume=torch.tensor([v for v, _ in chosen]),
            plane=torch.tensor([p for _, p in chosen]),
            position=torch.tensor([p * self.volumes[v].plane_spacing for v, p in chosen]),
            affine=torch.stack([sample["affine"] for sample in samples]),
            **either,
            carried=torch.stack([sample["carried"] for sample in samples]) if self.carried else None,
            extras={
                name: torch.stack([sample["extras"][name] for sample in samples]) for name in self.volumes[0].extras
            },
            correspondences=self.correspondences,
        )

    def _either(self, samples: list[dict[str, Any]], volumes: list[int]) -> dict[str, Tensor]:
        """Return which labels say less than they seem to, where not every class was looked for; changes these."""
        count = 1 + max((c for volume in self.volumes for c in volume.unsought), default=0)
        if count == 1:
            return {}
        unsought = [self.volumes[v].unsought for v in volumes]
        either = [(sample["label"] == 0) & bool(some) for sample, some in zip(samples, unsought, strict=True)]
        for sample, ambiguous in zip(samples, either, strict=True):
            sample["label"] = torch.where(ambiguous, UNSAID, sample["label"])
        merged = torch.tensor([[c == 0 or c in some for c in range(count)] for some in unsought])
        return {"either": torch.stack(either), "merged": merged}

    def state(self) -> dict[str, Any]:
        """Return the generator's state, JSON-able, for exact resume."""
        return dict(self.rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` returned."""
        self.rng.bit_generator.state = state

    def _draw_labelled(self, count: int) -> list[tuple[int, int]]:
        corrected = 0
        if self.corrected_planes and len(self.corrected_planes) < len(self.labelled_planes):
            natural = len(self.corrected_planes) / len(self.labelled_planes)
            corrected = int(self.rng.binomial(count, max(_CORRECTED_SHARE, natural)))
        return self._draw(self.corrected_planes, corrected) + self._draw(self.labelled_planes, count - corrected)

    def _draw(self, places: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
        """Draw places with as few repetitions as possible: neighbours come from all over the volume."""
        if count == 0:
            return []
        rounds = [self.rng.permutation(len(places)) for _ in range(-(-count // len(places)))]
        return [places[i] for i in np.concatenate(rounds)[:count]]

    def _centre(self, v: int, p: int, shape: tuple[int, int], labelled: bool) -> tuple[float, float]:
        candidates = self._foreground.get((v, p), np.zeros((0, 2))) if labelled else self._centres[v]
        if not labelled and len(candidates) == 0:
            candidates = self._shared_centres
        if len(candidates) and self.rng.random() < _FOREGROUND_SHARE:
            row, column = candidates[self.rng.integers(len(candidates))]
            row, column = np.array([row, column]) + self.rng.uniform(-self.crop / 4, self.crop / 4, size=2)
        else:
            row, column = (self.rng.uniform(0, size - 1) for size in shape)
        return self._hold(row, shape[0]), self._hold(column, shape[1])

    def _hold(self, centre: float, size: int) -> float:
        """Keep the crop within the plane where it fits, else centre it."""
        half = (self.crop - 1) / 2
        if size <= self.crop:
            return (size - 1) / 2
        return float(min(max(centre, half), size - 1 - half))

    def _sample(self, v: int, p: int, labelled: bool) -> dict[str, Any]:
        volume = self.volumes[v]
        shape = (volume.image.shape[1], volume.image.shape[2])
        transform = aug.draw_geometric(self.rng, self.strength, self._centre(v, p, shape, labelled))
        change = aug.draw_photometric(self.rng, self.strength)
        grid = aug.sampling_grid(transform, self.crop, shape)
        affine = torch.from_numpy(transform.affine.astype(np.float32))
        return {**self._cut(volume, p, grid, change), "affine": affine, "carried": self._carried(volume, p, grid)}

    def _carried(self, volume: WorkingVolume, p: int, grid: Tensor) -> Tensor:
        """Cut what the guide says out of a volume; nothing where it is worth nothing."""
        if volume.guide is None or not self.carried or not bool(volume.guide.covers[p]):
            return torch.zeros((self.carried, self.crop, self.crop))
        return aug.crop_image(volume.guide.probabilities[p].to(torch.float32) / 255, grid)

    def _cut(self, volume: WorkingVolume, p: int, grid: Tensor, change: aug.Photometric) -> dict[str, Any]:
        """Cut image, labels and further maps of one sample out of a volume."""
        channels = volume.image[neighbours(p, len(volume.image), self.context)]
        image = aug.change_intensity(aug.crop_image(channels, grid), change)
        return {
            "image": image,
            "label": aug.crop_map(volume.labels[p][None], grid)[0],
            "inside": aug.inside(grid),
            "extras": {name: aug.crop_map(values[p][None], grid)[0] for name, values in volume.extras.items()},
        }


def neighbours(plane: int, planes: int, context: int) -> list[int]:
    """Return the planes that are the channels of ``plane``; at the ends the last plane is repeated."""
    return [min(max(plane + step, 0), planes - 1) for step in range(-context, context + 1)]
