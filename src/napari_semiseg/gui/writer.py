"""npe2 writer of Labels layers: the mask gets the geometry of the image it was drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one Labels layer as a mask; the format follows from the suffix.

    In an annotation layer of the panel background strokes (255) and unpainted voxels are both written as 0.

    Raises
    ------
    InputError
        The layer is no 3D mask with values up to 254.
    StorageError
        The file cannot be written.
    """
    from napari_semiseg.gui.metadata import KEY
    from napari_semiseg.io import Geometry, write_mask

    description = attributes.get("metadata", {}).get(KEY, {})
    labels = as_mask(data, painted=description.get("kind") == "annotation")
    if "geometry" in description:
        geometry = Geometry.from_json(description["geometry"])
    else:
        plane, row, column = (1.0, 1.0, 1.0, *(abs(float(s)) for s in attributes.get("scale", ())))[-3:]
        geometry = Geometry.from_spacing(labels.shape, (plane, row, column))
    names = {int(k): str(v) for k, v in description.get("classes", {}).items()}
    return [str(write_mask(Path(path), labels, geometry, names))]


def as_mask(data: Any, *, painted: bool) -> np.ndarray:
    """Return a layer's data as mask, shape (planes, rows, columns), uint8, 0 background.

    Raises
    ------
    InputError
        Not 2D or 3D, or a value above 254.
    """
    from napari_semiseg.errors import InputError

    labels = np.asarray(data)
    if labels.ndim == 2:
        labels = labels[np.newaxis]
    if labels.ndim != 3:
        raise InputError(f"This layer has {labels.ndim} dimensions, but a mask has three: save one volume at a time.")
    if painted:
        labels = np.where(labels == 255, 0, labels)
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > 254:
        raise InputError(f"This layer has label {high if high > 254 else low}, but a mask holds labels from 0 to 254.")
    return labels.astype(np.uint8)
