"""Read NIfTI-1, NIfTI-2, Analyze 7.5 and FreeSurfer MGH/MGZ with nibabel."""

from __future__ import annotations

import base64
import gzip
import io
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io import orientation
from napari_semiseg.io.guard import reading
from napari_semiseg.io.sniff import read_head
from napari_semiseg.io.volume import RawImage

SHEAR_NOTE_DEGREES = 0.5
UNORIENTED = b"napari-semiseg: orientation not known"
"""Description by which our own files say that their affine has a spacing but made-up directions."""


def read_nifti(path: Path) -> RawImage:
    """Read the header of a NIfTI or Analyze file, or of either half of a .hdr/.img pair.

    The whole file is decompressed first, so that a stream that was cut short or altered is found by its checksum and
    not taken for a dark volume.

    Raises
    ------
    InputError
        If the file is truncated, damaged, complex, in colour, or has a spacing that cannot be used.
    """
    import nibabel

    with reading(path, "NIfTI"):
        header_path, data_path = halves(path)
        notes: list[str] = []
        head = _content(header_path, notes)
        family = (
            nibabel.Nifti2Header if int.from_bytes(head[:4], "little") in (540, 0x1C020000) else nibabel.Nifti1Header
        )
        analyze = head[344:348] not in (b"n+1\0", b"ni1\0") and family is nibabel.Nifti1Header
        header = family(head[: family.sizeof_hdr], check=False)
        shape = _shape(path, header["dim"])
        _check_type(path, header)
        _check_length(path, header, shape, head, data_path)
        affine, geometry_notes, oriented = _affine(path, header, analyze)
        notes += geometry_notes
        body = head if data_path is None else _content(data_path, notes)
        frames = math.prod(shape[3:])
        block = base64.b64encode(header.binaryblock).decode("ascii")
        return RawImage(
            format="nifti",
            shape=(shape[0], shape[1], shape[2]),
            affine=affine,
            load=_loader(body, header, shape, single=data_path is None),
            frames=[f"volume {index} of {frames}" for index in range(frames)],
            header={"oriented": oriented} if analyze else {"oriented": oriented, "nifti": block},
            notes=notes,
            files=[header_path] if data_path is None else [header_path, data_path],
        )


def read_mgh(path: Path) -> RawImage:
    """Read a FreeSurfer MGH or MGZ file; errors as in `read_nifti`."""
    import nibabel

    with reading(path, "MGH"):
        content = _content(path, [])
        image = nibabel.MGHImage.from_stream(io.BytesIO(content))
        shape = tuple(int(n) for n in image.shape)
        shape = shape + (1,) * (3 - len(shape))
        array = np.asanyarray(image.dataobj).reshape((*shape[:3], -1), order="F")
        oriented = bool(int(image.header["goodRASFlag"]) == 1)
        notes = [] if oriented else ["The file does not say how the patient lies; the usual FreeSurfer axes are taken."]
        return RawImage(
            format="mgh",
            shape=(shape[0], shape[1], shape[2]),
            affine=np.asarray(image.affine, float),
            load=lambda frame: array[..., frame].astype(array.dtype.newbyteorder("=")),
            frames=[f"volume {index} of {array.shape[3]}" for index in range(array.shape[3])],
            header={"oriented": oriented},
            notes=notes,
            files=[path],
        )


def halves(path: Path) -> tuple[Path, Path | None]:
    """Return header and data file of an image; the data file is None where one file holds both.

    Raises
    ------
    InputError
        If ``path`` is one half of a pair and the other is missing.
    """
    name = path.name.lower()
    bare = name.removesuffix(".gz")
    if bare.endswith(".img"):
        header = _partner(path, ".hdr")
        if header is None:
            raise InputError(f"'{path}' is the data half of a pair, but its header '{path.stem}.hdr' is not beside it.")
        return header, path
    head, _ = read_head(path)
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return path, None
    data = _partner(path, ".img")
    if data is None:
        wanted = (path.name[:-4] if name.endswith(".hdr") else path.stem) + ".img"
        raise InputError(f"'{path}' is only a header: its voxels should lie beside it in '{wanted}', which is missing.")
    return path, data


def _partner(path: Path, suffix: str) -> Path | None:
    stem = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    base = stem.rsplit(".", 1)[0]
    for ending in (suffix, suffix.upper(), suffix + ".gz"):
        candidate = path.with_name(base + ending)
        if candidate.exists():
            return candidate
    return None


def _content(path: Path, notes: list[str]) -> bytes:
    """Return the whole file, decompressed and checked where it is compressed."""
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        if path.name.lower().endswith(".gz"):
            notes.append(f"'{path.name}' is not compressed although its name says so; it was read as it is.")
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError as error:
        raise InputError(
            f"'{path}' is cut short: its compressed data end too early. Copy or download the file again."
        ) from error
    except (OSError, zlib.error) as error:
        raise InputError(
            f"'{path}' is damaged: its compressed data fail their checksum ({error}). Copy or download the file again."
        ) from error


def _shape(path: Path, dim: np.ndarray) -> tuple[int, ...]:
    count = int(dim[0])
    if not 1 <= count <= 7:
        raise InputError(
            f"'{path}' claims to have {count} dimensions; a NIfTI file has 1 to 7, so its header is damaged."
        )
    sizes = [int(n) for n in dim[1 : count + 1]]
    if min(sizes) < 1:
        raise InputError(f"'{path}' has the shape {tuple(sizes)}; every axis must have at least one voxel.")
    return tuple(sizes + [1] * (3 - count))


def _check_type(path: Path, header: Any) -> None:
    code = int(header["datatype"])
    if code in (128, 2304):
        raise InputError(
            f"'{path}' is a colour (RGB) image; only greyscale volumes can be used. Convert it to one grey channel, "
            "or give the original scan."
        )
    if code in (32, 1792, 2048):
        raise InputError(f"'{path}' holds complex numbers; save its magnitude as a new file and open that.")
    if code in (0, 1):
        raise InputError(f"'{path}' has the NIfTI data type {code}, which cannot be read; save it as int16 or float32.")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InputError(f"'{path}' holds values of type {dtype}; only greyscale numbers can be read.")


def _check_length(path: Path, header: Any, shape: tuple[int, ...], head: bytes, data_path: Path | None) -> None:
    """Find missing voxels before anything of the claimed size is allocated."""
    needed = math.prod(shape) * header.get_data_dtype().itemsize
    if data_path is None:
        present = len(head) - _offset(header, single=True)
    elif data_path.name.lower().endswith(".gz"):
        return
    else:
        present = data_path.stat().st_size - _offset(header, single=False)
    if present < needed:
        raise InputError(
            f"'{data_path or path}' is cut short: {needed} bytes of voxels are needed for the shape {shape}, but only "
            f"{max(present, 0)} are there. Copy or download the file again."
        )


def _offset(header: Any, *, single: bool) -> int:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0:
        raise InputError("The voxel offset of the file is not a number above 0; its header is damaged.")
    # A single file with offset 0 keeps its voxels right after header and extension flag.
    return int(offset) if offset or not single else int(header.sizeof_hdr) + 4


def _loader(body: bytes, header: Any, shape: tuple[int, ...], *, single: bool) -> Callable[[int], np.ndarray]:
    dtype = header.get_data_dtype()
    count = math.prod(shape[:3])
    start = _offset(header, single=single)
    slope, intercept = _scaling(header)

    def load(frame: int) -> np.ndarray:
        at = start + frame * count * dtype.itemsize
        if len(body) < at + count * dtype.itemsize:
            raise InputError("The voxel data are cut short. Copy or download the file again.")
        stored = np.frombuffer(body, dtype, count, at).reshape(shape[:3], order="F")
        if (slope, intercept) == (1.0, 0.0):
            native = np.float64 if dtype.itemsize > 8 else dtype.newbyteorder("=")
            return stored.astype(native, order="K", copy=False)
        scaled = np.empty(stored.shape, np.float32, order="F")
        for plane in range(stored.shape[2]):  # by plane, as the exact product needs float64
            scaled[..., plane] = stored[..., plane] * slope + intercept
        return scaled

    return load


def _scaling(header: Any) -> tuple[float, float]:
    """Return slope and intercept; a slope that is 0 or not finite means that the numbers are meant as stored."""
    if "scl_slope" not in header.keys():  # noqa: SIM118 - numpy-like headers do not support `in`
        return 1.0, 0.0
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _affine(path: Path, header: Any, analyze: bool) -> tuple[np.ndarray, list[str], bool]:
    """Return the affine that is taken, sentences about it, and whether the file says how the patient lies."""
    sizes, notes = _pixdim(path, header)
    sform = qform = None
    if not analyze and int(header["sform_code"]) > 0:
        sform = _usable(header.get_sform())
        if sform is None:
            notes.append("The sform in the header cannot be used (its axes do not span a volume), so it was not taken.")
    if not analyze and int(header["qform_code"]) > 0:
        try:
            qform = _usable(header.get_qform())
        except Exception as error:  # nibabel raises several kinds for quaternions that are none
            notes.append(f"The qform in the header cannot be used ({error}), so it was not taken.")
    oriented = bytes(header["descrip"]).rstrip(b"\0") != UNORIENTED
    if sform is not None:
        notes += [] if qform is None else _disagreement(sform, qform)
        shear = orientation.shear_angle(sform)
        if shear > SHEAR_NOTE_DEGREES:
            notes.append(
                f"The planes are sheared by {shear:.1f} degrees (a tilted gantry?); they are shown as if they were "
                "straight, and exports keep the shear."
            )
        return sform, notes, oriented
    if qform is not None:
        return qform, notes, oriented
    if not analyze and int(header["sform_code"]) > 0:
        raise InputError(
            f"'{path}' has an sform with the voxel spacing {_listed(orientation.voxel_sizes(header.get_sform()))} mm, "
            "which does not span a volume, and no qform; correct its header and open it again."
        )
    notes.append(
        "The header does not say how the patient lies (no sform, no qform); left and right may be exchanged on screen."
    )
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])  # x points left and the centre is 0, as nibabel has it
    centre = [(max(int(n), 1) - 1) / 2 for n in header["dim"][1:4]]
    affine[:3, 3] = -affine[:3, :3] @ centre
    return affine, notes, False


def _usable(affine: np.ndarray) -> np.ndarray | None:
    affine = np.asarray(affine, float)
    if not np.isfinite(affine).all():
        return None
    sizes = orientation.voxel_sizes(affine)
    if (sizes <= 0).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-4:
        return None
    return affine


def _pixdim(path: Path, header: Any) -> tuple[np.ndarray, list[str]]:
    """Return the voxel sizes of the header; an axis of one voxel may leave its size out."""
    sizes = np.array(header["pixdim"][1:4], float)
    thin = [axis >= int(header["dim"][0]) or int(header["dim"][axis + 1]) == 1 for axis in range(3)]
    missing = np.isin(sizes, (0.0,)) & np.array(thin)
    if not all(np.isfinite(s) and s > 0 for s in sizes[~missing]):
        raise InputError(
            f"'{path}' has the voxel spacing {_listed(sizes)} mm; every spacing must be above 0. Correct the pixdim of "
            "its header, for instance with fslchpixdim or ITK-SNAP, and open it again."
        )
    if not missing.any():
        return sizes, []
    return np.where(missing, 1.0, sizes), ["The header gives no spacing across the single plane; 1 mm was taken."]


def _disagreement(sform: np.ndarray, qform: np.ndarray) -> list[str]:
    sizes, other = orientation.voxel_sizes(sform), orientation.voxel_sizes(qform)
    turned = orientation.angle_between(sform, qform)
    moved = float(np.linalg.norm(sform[:3, 3] - qform[:3, 3]))
    parts = []
    if turned > 0.1:
        parts.append(f"is turned by {turned:.1f} degrees")
    if moved > 0.1 * sizes.min():
        parts.append(f"has its origin {moved:.1f} mm away")
    if np.abs(sizes - other).max() > 0.01 * sizes.min():
        parts.append(f"has the spacing {_listed(other)} instead of {_listed(sizes)} mm")
    return [f"The sform was taken; the qform disagrees with it: it {' and '.join(parts)}."] if parts else []


def _listed(values: np.ndarray) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)
