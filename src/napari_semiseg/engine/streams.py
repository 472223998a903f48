"""The sampler that a method wants: crops of planes, or patches of volumes."""

from __future__ import annotations

from collections.abc import Sequence

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.patches import PatchSampler
from napari_semiseg.data.sampling import PlaneSampler
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.methods import Method, Setup


def sampler_of(
    method: Method,
    setup: Setup,
    volumes: Sequence[WorkingVolume],
    *,
    labelled: int | None = None,
    unlabelled: int | None = None,
    strength: Augmentation | None = None,
    seed: int = 0,
    correspondences: Correspondences | None = None,
) -> PlaneSampler:
    """Return the sampler of a method.

    Parameters
    ----------
    method : Method
    setup : Setup
    volumes : sequence of WorkingVolume
    labelled, unlabelled : int, optional
        Samples per batch of either stream, if not those of the method's settings.
    strength : Augmentation, optional
        How strongly samples are varied, if not as the method says.
    seed : int
    correspondences : Correspondences, optional
        Comes with each batch of planes.
    """
    labelled = method.labelled_batch if labelled is None else labelled
    unlabelled = method.unlabelled_batch if unlabelled is None else unlabelled
    unlabelled = unlabelled if method.uses_unlabelled else 0
    strength = strength or method.strength()
    if method.spatial_axes == 3:
        return PatchSampler(
            volumes,
            patch=method.patch(setup),
            labelled=labelled,
            unlabelled=unlabelled,
            strength=strength,
            seed=seed,
        )
    return PlaneSampler(
        volumes,
        labelled=labelled,
        unlabelled=unlabelled,
        crop=method.crop,
        context=method.context,
        carried=setup.classes if method.walks else 0,
        strength=strength,
        seed=seed,
        correspondences=correspondences,
    )
