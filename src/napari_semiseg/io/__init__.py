"""Files to volumes and back: every medical format, one array order, the geometry of the patient kept exactly."""

from __future__ import annotations

from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.masks import read_mask
from napari_semiseg.io.reading import content_hash, describe, list_series, read_geometry, read_volume
from napari_semiseg.io.volume import SeriesInfo, Volume
from napari_semiseg.io.writing import write_map, write_maps, write_mask

__all__ = [
    "Geometry",
    "SeriesInfo",
    "Volume",
    "content_hash",
    "describe",
    "list_series",
    "read_geometry",
    "read_mask",
    "read_volume",
    "write_map",
    "write_maps",
    "write_mask",
]
