"""What a napari layer says about the volume it shows: ``layer.metadata["semiseg"]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.io import Geometry, Volume

KEY = "semiseg"
AXES = ("plane", "row", "column")


def describe(volume: Volume, *, axis: int | None = None, replaced: bool = False) -> dict[str, Any]:
    """Return the JSON-able description of a volume that its layer carries.

    Parameters
    ----------
    volume : Volume
    axis : int, optional
        Slice axis that was asked for when it was read; None for the default.
    replaced : bool
        NaN and infinite voxels were replaced when it was read.
    """
    return {
        "kind": "image",
        "name": volume.name,
        "geometry": volume.geometry.to_json(),
        "source": None if volume.source is None else str(volume.source),
        "frame": volume.frame,
        "series": volume.series,
        "axis": axis,
        "replaced": replaced,
        "notes": list(volume.notes),
    }


def volume_of(data: np.ndarray, description: Mapping[str, Any]) -> Volume:
    """Return the volume that a layer with this data and description shows."""
    source = description.get("source")
    return Volume(
        data=data,
        geometry=Geometry.from_json(description["geometry"]),
        name=str(description.get("name") or "volume"),
        source=None if source is None else Path(source),
        frame=description.get("frame"),
        series=description.get("series"),
        notes=tuple(description.get("notes", ())),
    )


def placement(geometry: Geometry) -> dict[str, Any]:
    """Return the layer attributes that place an array of this geometry on the screen: spacing, units, axis names.

    Oblique planes cannot be shown truly by napari, so only the spacing is given; the affine stays in the metadata.
    """
    return {"scale": tuple(float(s) for s in geometry.spacing), "units": ("mm", "mm", "mm"), "axis_labels": AXES}


def contrast(data: np.ndarray) -> tuple[float, float]:
    """Return display limits: the 0.5th and 99.5th percentile of a sample, so that bright specks do not darken all.

    Always finite and never of zero width.
    """
    step = max(1, int(np.ceil((data.size / 500_000) ** (1 / 3))))
    sample = np.asarray(data[tuple(slice(None, None, min(step, max(1, n // 8))) for n in data.shape)], dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(sample, (0.5, 99.5))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def image_attributes(volume: Volume, **description: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``add_image`` for a volume."""
    return {
        "name": volume.name,
        "contrast_limits": contrast(volume.data),
        "metadata": {KEY: describe(volume, **description)},
        **placement(volume.geometry),
    }
