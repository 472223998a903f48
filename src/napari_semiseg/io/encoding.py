"""Turn arrays in file order into the bytes of a NIfTI, NRRD, MetaImage or TIFF file.

Encoding to memory and writing with one function (`atomic.write_files`) makes a full disk an error of the system that
is seen, where SimpleITK's writers may leave a short file; reading back by nibabel, SimpleITK and tifffile checks it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io import orientation
from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.itk import LPS_TO_RAS
from napari_semiseg.io.nifti import UNORIENTED
from napari_semiseg.io.tiff import OWN_KEY

_COMPRESSION = 4  # masks shrink a hundredfold at any level; higher ones cost seconds on probabilities
_NRRD_TYPES = {"u1": "unsigned char", "f4": "float"}
_META_TYPES = {"u1": "MET_UCHAR", "f4": "MET_FLOAT"}


def encode(name: str, volumes: np.ndarray, geometry: Geometry, segments: dict[str, str]) -> dict[str, bytes]:
    """Encode an image for a file name.

    Parameters
    ----------
    name : str
        File name; its suffix chooses the format.
    volumes : ndarray of uint8 or float32, shape (x, y, z) or (x, y, z, n)
        In file order.
    geometry : Geometry
        Where the voxels lie.
    segments : dict
        Key/value pairs for formats that have them (NRRD).

    Returns
    -------
    dict
        File name to content; more than one for .mhd.

    Raises
    ------
    InputError
        If the suffix names no format that can be written, or the format cannot hold the geometry.
    """
    lower = name.lower()
    if lower.endswith((".nii", ".nii.gz")):
        return {name: _nifti(volumes, geometry, compress=lower.endswith(".gz"))}
    if lower.endswith(".nrrd"):
        return {name: _nrrd(volumes, geometry, segments)}
    if lower.endswith(".mha"):
        data = zlib.compress(_interleaved(volumes), _COMPRESSION)
        return {name: _meta_header(volumes, geometry, len(data), "LOCAL") + data}
    if lower.endswith(".mhd"):
        data = zlib.compress(_interleaved(volumes), _COMPRESSION)
        data_name = name[: -len(".mhd")] + ".zraw"
        # The header comes last: once it is there, its voxels are there too.
        return {data_name: data, name: _meta_header(volumes, geometry, len(data), data_name)}
    if lower.endswith((".tif", ".tiff")):
        return {name: _tiff(volumes, geometry)}
    raise InputError(
        f"'{name}' has no suffix that can be written; use .nii.gz, .nii, .nrrd, .seg.nrrd, .mha, .mhd, .tif or .tiff."
    )


def _nifti(volumes: np.ndarray, geometry: Geometry, *, compress: bool) -> bytes:
    """Encode with the very header of the input where that was NIfTI, changed only in what describes the values."""
    import nibabel

    stored = geometry.header.get("nifti")
    if stored is None:
        header = _fresh_nifti_header(geometry)
    else:
        block = base64.b64decode(stored)
        family = nibabel.Nifti1Header if len(block) == 348 else nibabel.Nifti2Header
        header = family(block, check=False)
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else b"n+2"
    header["vox_offset"] = 352 if header.sizeof_hdr == 348 else 544
    header.set_data_shape(volumes.shape)
    header.set_data_dtype(volumes.dtype)
    description = b"napari-semiseg" if geometry.oriented else UNORIENTED
    for field, value in (
        ("scl_slope", 1), ("scl_inter", 0), ("cal_max", 0), ("cal_min", 0), ("intent_code", 0), ("intent_p1", 0),
        ("intent_p2", 0), ("intent_p3", 0), ("intent_name", b""), ("descrip", description), ("aux_file", b""),
    ):  # fmt: skip
        header[field] = value
    dtype = volumes.dtype.newbyteorder(header.endianness)
    body = volumes.astype(dtype).tobytes(order="F")
    content = header.binaryblock + b"\0\0\0\0" + body
    return gzip.compress(content, _COMPRESSION, mtime=0) if compress else content


def _fresh_nifti_header(geometry: Geometry) -> Any:
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_shape(geometry.file_shape)
    header.set_zooms(orientation.voxel_sizes(geometry.affine))
    # A quaternion has no shear; without one both forms say the same.
    straight = orientation.shear_angle(geometry.affine) < 1e-3
    header.set_qform(geometry.affine, code=1 if straight else 0, strip_shears=True)
    header.set_sform(geometry.affine, code=1)
    header.set_xyzt_units("mm")
    return header


def _itk_numbers(geometry: Geometry) -> dict[str, list[float]]:
    """Return spacing, origin and direction (LPS): those of the input where it had them, else from the affine."""
    exact = geometry.header.get("itk")
    if exact is not None:
        return exact
    lps = LPS_TO_RAS @ geometry.affine
    sizes = orientation.voxel_sizes(geometry.affine)
    direction = lps[:3, :3] / sizes + 0.0  # no negative zeros
    return {"spacing": sizes.tolist(), "origin": (lps[:3, 3] + 0.0).tolist(), "direction": direction.ravel().tolist()}


def _interleaved(volumes: np.ndarray) -> bytes:
    """Return little-endian voxels, x fastest; the numbers of several volumes lie together voxel by voxel."""
    little = volumes.astype(volumes.dtype.newbyteorder("<"))
    return (np.moveaxis(little, -1, 0) if little.ndim == 4 else little).tobytes(order="F")


def _nrrd(volumes: np.ndarray, geometry: Geometry, segments: dict[str, str]) -> bytes:
    numbers = _itk_numbers(geometry)
    axes = np.reshape(numbers["direction"], (3, 3)) * np.array(numbers["spacing"])
    vectors = [_vector(axes[:, axis]) for axis in range(3)]
    several = volumes.ndim == 4
    sizes = ([volumes.shape[3]] if several else []) + list(volumes.shape[:3])
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[volumes.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join((['none'] if several else []) + vectors)}",
        f"kinds: {'vector ' if several else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(np.array(numbers['origin']))}",
        *(f"{key}:={_one_line(value)}" for key, value in segments.items()),
    ]
    body = gzip.compress(_interleaved(volumes), _COMPRESSION, mtime=0)
    return ("\n".join(lines) + "\n\n").encode("utf-8") + body


def _meta_header(volumes: np.ndarray, geometry: Geometry, compressed: int, data_file: str) -> bytes:
    if orientation.shear_angle(geometry.affine) > 0.01:
        raise InputError("MetaImage cannot hold sheared planes (tilted gantry); save as .nii.gz or .nrrd instead.")
    numbers = _itk_numbers(geometry)
    # MetaImage lists the direction of each axis in turn, which is ITK's matrix transposed.
    matrix = np.reshape(numbers["direction"], (3, 3)).T.ravel()
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {compressed}",
        f"TransformMatrix = {' '.join(repr(float(v)) for v in matrix)}",
        f"Offset = {' '.join(repr(float(v)) for v in numbers['origin'])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {' '.join(repr(float(v)) for v in numbers['spacing'])}",
        f"DimSize = {' '.join(map(str, volumes.shape[:3]))}",
        *([f"ElementNumberOfChannels = {volumes.shape[3]}"] if volumes.ndim == 4 else []),
        f"ElementType = {_META_TYPES[volumes.dtype.str[1:]]}",
        f"ElementDataFile = {data_file}",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _tiff(volumes: np.ndarray, geometry: Geometry) -> bytes:
    """Encode pages of rows and columns, with resolution in pixels per cm and the affine in the description."""
    import tifffile

    several = volumes.ndim == 4
    pages = volumes.T  # (n,) z, y, x
    column, row, plane = orientation.voxel_sizes(geometry.affine)
    description = {
        OWN_KEY: {"affine": geometry.affine.tolist(), "oriented": geometry.oriented},
        "spacing_mm": {"plane": float(plane), "row": float(row), "column": float(column)},
        "axes": "CZYX" if several else "ZYX",
    }
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=volumes.nbytes > 3 << 30) as writer:
        writer.write(
            np.ascontiguousarray(pages),
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": description["axes"], "shape": list(pages.shape)},
            description=json.dumps(description),
            resolution=(10 / column, 10 / row),
            resolutionunit="CENTIMETER",
        )
    return buffer.getvalue()


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _one_line(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", " ")
