"""npe2 sample data: the built-in phantoms."""

from __future__ import annotations

from typing import Any


def _layers(phantom: Any) -> list[tuple[Any, ...]]:
    from napari_semiseg.gui.metadata import image_attributes
    from napari_semiseg.io import Geometry, Volume

    volume = Volume(
        data=phantom.image,
        geometry=Geometry.from_spacing(phantom.image.shape, phantom.spacing),
        name=phantom.name,
        source=None,
        frame=None,
        series=None,
        notes=(),
    )
    attributes = image_attributes(volume)
    attributes["metadata"]["semiseg"]["class_names"] = {str(k): v for k, v in phantom.class_names.items()}
    return [(volume.data, attributes, "image")]


def cardiac(seed: int = 0) -> list[tuple[Any, ...]]:
    """Return a cardiac short-axis MRI phantom as layer data."""
    from napari_semiseg.data import phantoms

    return _layers(phantoms.cardiac(seed=seed))


def cardiac_second() -> list[tuple[Any, ...]]:
    """Return the cardiac phantom of another patient."""
    return cardiac(1)


def cardiac_third() -> list[tuple[Any, ...]]:
    """Return the cardiac phantom of a third patient."""
    return cardiac(2)


def abdomen() -> list[tuple[Any, ...]]:
    """Return an abdominal CT phantom as layer data."""
    from napari_semiseg.data import phantoms

    return _layers(phantoms.abdomen(seed=0))
