"""Read TIFF stacks with tifffile, with the spacing that ImageJ, OME or the resolution tags give."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.guard import reading
from napari_semiseg.io.volume import RawImage

OWN_KEY = "napari_semiseg"
"""Key of the JSON description under which our own TIFF files keep affine and class names."""

_MM_PER_UNIT = {
    "m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3,    "\\u00b5m": 1e-3, "nm": 1e-6, "inch": 25.4, "in": 25.4, "å": 1e-7,
}  # fmt: skip
# What programs write when they mean a screen or a printer, not a specimen.
_PRINTER_DPI = (72, 96, 150, 300, 600)

_MOST_COMPRESSED = 4096
"""How many bytes of voxels a byte of a file can hold at the most; a header that claims more is damaged."""
_MOST_CHANNELS = 4
"""More "channels" than this, and nothing else to stack, are planes that a program has named wrongly."""


def read_tiff(path: Path) -> RawImage:
    """Read a TIFF stack: pages are planes.

    Raises
    ------
    InputError
        If it is in colour, has pages of several sizes, is cut short or damaged.
    """
    import tifffile

    with reading(path, "TIFF"), tifffile.TiffFile(path) as tiff:
        series = _only_series(path, tiff)
        page, axes, shape = series.keyframe, series.axes, tuple(int(n) for n in series.shape)
        notes: list[str] = []
        if "MINISWHITE" in str(page.photometric):
            notes.append("The file shows low values bright; its numbers are used as they are.")
        size = math.prod(shape) * series.dtype.itemsize
        if size > _MOST_COMPRESSED * max(path.stat().st_size, 1 << 20):
            raise InputError(
                f"'{path}' claims {size} bytes of voxels, far more than it can hold; its header is damaged."
            )
        if axes == "CYX" and shape[0] > _MOST_CHANNELS:
            axes = "ZYX"
            notes.append(f"The {shape[0]} channels of the file are taken as planes.")
        volumes = _as_volumes(series.asarray(), axes)
        own = _own_description(tiff)
        spacing, spacing_notes = _spacing(tiff, page)
        notes += spacing_notes if own is None else []
    planes, rows, columns = volumes.shape[1:]
    header: dict[str, Any] = {"oriented": False}
    if own is not None:
        affine, header["oriented"] = np.array(own["affine"], float), bool(own["oriented"])
    else:
        affine = Geometry.from_spacing((planes, rows, columns), spacing).affine
    return RawImage(
        format="tiff",
        shape=(columns, rows, planes),
        affine=affine,
        load=_loader(volumes),
        frames=[f"channel or time point {index} of {len(volumes)}" for index in range(len(volumes))],
        header=header,
        notes=notes,
        files=[path],
    )


def _only_series(path: Path, tiff: Any) -> Any:
    """Return the one stack of grey pages in a file.

    Raises
    ------
    InputError
        If there is none or several, it is in colour, or it is not complete.
    """
    series = [s for s in tiff.series if s.shape]
    if not series:
        raise InputError(f"'{path}' is a TIFF file without an image in it.")
    if len(series) > 1:
        shapes = ", ".join(" x ".join(map(str, s.shape)) for s in series[:4])
        raise InputError(
            f"'{path}' holds {len(series)} images of different size ({shapes}); save one stack of equal pages."
        )
    axes, shape = series[0].axes, tuple(int(n) for n in series[0].shape)
    if "S" in axes and shape[axes.index("S")] in (3, 4):
        raise InputError(
            f"'{path}' is a colour (RGB) image; only greyscale volumes can be used. Convert it to 8 or 16 bit grey."
        )
    if series[0].dtype is None or series[0].dtype.kind not in "biuf":
        raise InputError(f"'{path}' holds values of type {series[0].dtype}; only greyscale numbers can be read.")
    _check_complete(path, tiff, series[0])
    return series[0]


def _loader(volumes: np.ndarray) -> Callable[[int], np.ndarray]:
    def load(frame: int) -> np.ndarray:
        array = volumes[frame].T
        return array.astype(np.uint8) if array.dtype.kind == "b" else array.astype(array.dtype.newbyteorder("="))

    return load


def _as_volumes(array: np.ndarray, axes: str) -> np.ndarray:
    """Bring an array with tifffile's axis letters into (frames, planes, rows, columns)."""
    rows, columns = axes.index("Y"), axes.index("X")
    rest = [axis for axis in range(array.ndim) if axis not in (rows, columns)]
    # Without a Z axis the longest other one is the stack: ImageJ calls planes time points (T) when nobody says else,
    # plain TIFF pages are Q or I. Only channels (C, S) are never planes.
    plane = next((axis for axis in rest if axes[axis] == "Z"), None)
    if plane is None:
        stacked = [axis for axis in rest if axes[axis] not in "CS" and array.shape[axis] > 1]
        plane = stacked[-1] if stacked else None
    others = [axis for axis in rest if axis != plane]
    order = [*others, *([] if plane is None else [plane]), rows, columns]
    turned = array.transpose(order)
    planes = 1 if plane is None else array.shape[plane]
    return turned.reshape((-1, planes, *turned.shape[-2:]))


def _check_complete(path: Path, tiff: Any, series: Any) -> None:
    """Find strips that are missing or lie behind the end of the file; tifffile reads those as zeros."""
    size = path.stat().st_size
    promised = int((tiff.imagej_metadata or {}).get("images", 1))
    if not _chain_is_whole(tiff, size) or promised > math.prod(series.shape) // math.prod(series.keyframe.shape[-2:]):
        raise InputError(f"'{path}' is cut short: its last pages are missing. Copy or export it again.")
    for page in series.pages:
        if page is None:
            raise InputError(f"'{path}' lacks some of its pages; copy or export it again.")
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if not segments or any(count == 0 or offset + count > size for offset, count in segments):
            raise InputError(
                f"'{path}' is cut short: voxels of page {page.index} are missing. Copy or export it again."
            )
    # ImageJ stores a stack behind its first page only.
    first = series.keyframe
    if len(series.pages) == 1 and series.dataoffset is not None:
        needed = math.prod(series.shape) * series.dtype.itemsize
        if series.dataoffset + needed > size:
            raise InputError(f"'{path}' is cut short: {needed} bytes of voxels are needed. Copy or export it again.")
    if first.compression == 1 and sum(first.databytecounts) < math.prod(first.shape) * (first.bitspersample / 8):
        raise InputError(f"'{path}' is cut short: page {first.index} has too few bytes. Copy or export it again.")


def _chain_is_whole(tiff: Any, size: int) -> bool:
    """Tell whether every page directory points to another within the file, or says that it is the last.

    tifffile stops at a broken link and shows the pages before it.
    """
    layout, handle = tiff.tiff, tiff.filehandle
    offset_at, seen = layout.offsetsize if layout.is_bigtiff else 4, set()
    while True:
        handle.seek(offset_at)
        link = handle.read(layout.offsetsize)
        if len(link) < layout.offsetsize:
            return False
        (offset,) = struct.unpack(layout.offsetformat, link)
        if offset == 0:
            return True
        if offset in seen or offset + layout.tagnosize > size:
            return False
        seen.add(offset)
        handle.seek(offset)
        (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
        offset_at = offset + layout.tagnosize + tags * layout.tagsize


def _own_description(tiff: Any) -> dict[str, Any] | None:
    """Return what our own writer put into the description, None if another program wrote the file."""
    try:
        own = json.loads(tiff.pages[0].description)[OWN_KEY]
        affine = np.array(own["affine"], float)
    except (ValueError, KeyError, TypeError):
        return None
    return own if affine.shape == (4, 4) and "oriented" in own else None


def _spacing(tiff: Any, page: Any) -> tuple[tuple[float, float, float], list[str]]:
    """Return the spacing in mm (plane, row, column) and what was assumed."""
    found = _ome_spacing(tiff) if tiff.is_ome else _tag_spacing(tiff, page)
    named = [name for name, value in zip(("planes", "rows", "columns"), found, strict=True) if value is None]
    filled = tuple(1.0 if value is None else value for value in found)
    notes = []
    if len(named) == 3:
        notes.append("The TIFF file gives no spacing; 1 mm was taken along every axis.")
    elif named:
        notes.append(f"The TIFF file gives no spacing of {' and '.join(named)}; 1 mm was taken.")
    return (filled[0], filled[1], filled[2]), notes


def _ome_spacing(tiff: Any) -> list[float | None]:
    import tifffile

    pixels = tifffile.xml2dict(tiff.ome_metadata).get("OME", {}).get("Image", {})
    pixels = (pixels[0] if isinstance(pixels, list) else pixels).get("Pixels", {})
    return [_millimetres(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "ZYX"]


def _tag_spacing(tiff: Any, page: Any) -> list[float | None]:
    imagej = tiff.imagej_metadata or {}
    unit = str(imagej.get("unit", "")).strip().lower()
    per_unit: list[float | None] = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        numerator, denominator = tag.value if tag is not None else (0, 0)
        per_unit.append(numerator / denominator if numerator > 0 and denominator > 0 else None)
    if unit in _MM_PER_UNIT:
        in_plane = [None if r is None else _millimetres(1 / r, unit) for r in per_unit]
        return [_millimetres(imagej.get("spacing"), unit), *in_plane]
    tag = page.tags.get("ResolutionUnit")
    code = 0 if tag is None else int(tag.value)
    if code not in (2, 3) or tiff.is_imagej:
        return [None, None, None]
    if code == 2 and all(r is not None and round(r) in _PRINTER_DPI for r in per_unit):
        return [None, None, None]
    return [None, *(None if r is None else (25.4 if code == 2 else 10.0) / r for r in per_unit)]


def _millimetres(value: Any, unit: Any) -> float | None:
    """Return a length in mm, None if it is no length above 0."""
    try:
        length = float(value) * _MM_PER_UNIT[str(unit).strip().lower()]
    except (TypeError, ValueError, KeyError):
        return None
    return length if math.isfinite(length) and length > 0 else None
