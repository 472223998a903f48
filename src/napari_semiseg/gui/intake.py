"""From an Image layer in the viewer to a volume of the panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image, Layer

from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.metadata import KEY, volume_of
from napari_semiseg.io import Geometry, Volume


def is_ours(layer: Layer) -> bool:
    """Return whether our reader made an image layer."""
    description = layer.metadata.get(KEY, {})
    # Layers from elsewhere that were annotated bear only a note of their session.
    return description.get("kind") == "image" and "geometry" in description


def why_not(layer: Layer) -> str | None:
    """Return why a layer cannot be annotated, or None if it can."""
    if not isinstance(layer, Image):
        return f"{layer.name} is no image."
    if layer.metadata.get(KEY, {}).get("kind") == "overlay":
        return f"{layer.name} is an overlay."
    if layer.rgb:
        return f"{layer.name} is a colour image; only greyscale volumes can be annotated."
    if layer.multiscale:
        return f"{layer.name} is multiscale; open the full-resolution volume instead."
    if layer.ndim not in (2, 3):
        return f"{layer.name} has {layer.ndim} dimensions; choose one volume of it (three dimensions)."
    if np.issubdtype(layer.data.dtype, np.complexfloating) or layer.data.dtype == bool:
        return f"{layer.name} has voxels of type {layer.data.dtype}; whole or real numbers are needed."
    return None


def entry_of(layer: Image) -> Entry:
    """Return the volume that an image layer shows; a 2D image is a volume of one slice."""
    description: dict[str, Any] = layer.metadata.get(KEY, {})
    if is_ours(layer):
        volume = volume_of(layer.data, description)
        return Entry(
            name=volume.name,
            geometry=volume.geometry,
            volume=volume,
            axis=description.get("axis"),
            replaced=bool(description.get("replaced")),
        )
    data = np.asarray(layer.data)
    if data.ndim == 2:
        data = data[np.newaxis]
    plane, row, column = (1.0, *(abs(float(s)) for s in layer.scale))[-3:]
    geometry = Geometry.from_spacing(data.shape, (plane, row, column))
    volume = Volume(data=data, geometry=geometry, name=layer.name, source=None, frame=None, series=None, notes=())
    return Entry(name=layer.name, geometry=geometry, volume=volume)
