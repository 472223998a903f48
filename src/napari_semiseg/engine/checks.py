"""What a run refuses before it begins (methods.md 12-A, 12-C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.errors import InputError
from napari_semiseg.methods import Method

FEWEST_PLANES = 4
"""Below, a volume shows no more than its planes."""

FEW_LABELS = 0.01
"""Part of the voxels below which methods that look at planes learn more (methods.md 12-E)."""


def check(
    volumes: Sequence[TrainingVolume],
    class_ids: Sequence[int],
    class_names: Mapping[int, str],
    method: Method,
) -> None:
    """Refuse what cannot be trained with.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
    class_ids : sequence of int
        Class id of each class index.
    class_names : mapping of int to str
    method : Method
        Pre-training needs volumes only; methods that look at volumes need some planes of each.

    Raises
    ------
    InputError
        Without volumes; with too few planes for the method; and, where labels are needed, without any labelled voxel,
        with fewer than two classes, or with a class nobody painted.
    """
    if not volumes:
        raise InputError("There is no volume to train on; add one to the session.")
    flat = [v for v in volumes if len(v.image) < FEWEST_PLANES]
    if method.spatial_axes == 3 and flat:
        count = len(flat[0].image)
        raise InputError(
            f"The method {method.name} looks at volumes of at least {FEWEST_PLANES} slices and {flat[0].id!r} has "
            f"{count}; choose a method that looks at single slices, such as supervised or cross_teaching."
        )
    if not method.needs_labels:
        return
    if len(class_ids) < 2:
        raise InputError("Training needs at least one class besides background; paint a structure first.")
    counts = np.sum([np.bincount(volume.labels.ravel(), minlength=256) for volume in volumes], axis=0)
    if counts[:UNSAID].sum() == 0:
        raise InputError("No slice is labelled yet; label one slice, then train.")
    missing = [class_ids[index] for index in range(1, len(class_ids)) if counts[index] == 0]
    if missing:
        listed = ", ".join(repr(class_names.get(i, f"class {i}")) for i in missing)
        said = [np.unique(plane) for volume in volumes for plane in volume.held_out.values()]
        aside = {class_ids[int(index)] for plane in said for index in plane if index != UNSAID}
        if aside.issuperset(missing):
            raise InputError(
                f"{listed} is painted on held-out slices only; learn from one of them, or train on all slices."
            )
        raise InputError(f"Nothing is painted of {listed} on any annotated slice; paint it or remove the class.")
    if counts[0] == 0:
        raise InputError(
            "Nothing is labelled as background; complete a slice or add background strokes, so that the networks "
            "learn where the structures end."
        )


def labelled_share(volumes: Sequence[TrainingVolume]) -> float:
    """Return the part of all voxels that is labelled."""
    return sum(int((v.labels != UNSAID).sum()) for v in volumes) / max(1, sum(v.labels.size for v in volumes))
