"""Read NRRD and MetaImage files with SimpleITK, after checking what ITK does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io.guard import reading
from napari_semiseg.io.text_header import TextHeader, check_complete, data_files, integers, read_start
from napari_semiseg.io.volume import RawImage

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_NRRD_BYTES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t",
        "ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
}  # fmt: skip
_NRRD_SIZE = {name: size for size, names in _NRRD_BYTES.items() for name in names}
_NRRD_ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
_META_SIZE = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def read_nrrd(path: Path) -> RawImage:
    """Read a NRRD or NHDR file.

    Raises
    ------
    InputError
        If it is truncated, damaged, in colour, without usable spacing, or takes its voxels from another folder.
    """
    with reading(path, "NRRD"):
        header, pairs = parse_nrrd(path)
        fields = header.fields
        notes = _check_nrrd_space(path, fields)
        encoding = fields.get("encoding", "raw").lower()
        if encoding in _NRRD_ENCODINGS:
            skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
            if skip < -1 or int(fields.get("line skip", fields.get("lineskip", "0"))) < 0:
                raise InputError(f"'{path}' has a negative skip in its header, which is damaged.")
            check_complete(path, header, _NRRD_ENCODINGS[encoding], skip)
        elif encoding not in ("ascii", "text", "txt", "hex"):
            raise InputError(f"'{path}' has the encoding '{encoding}'; raw, gzip, bzip2 or text can be read.")
        kinds = fields.get("kinds", "").lower().split()
        if any("rgb" in kind or "color" in kind for kind in kinds):
            raise InputError(f"'{path}' is a colour image ({' '.join(kinds)}); only greyscale volumes can be used.")
        oriented = "space" in fields and "space directions" in fields
        if not oriented:
            notes.append("The header does not say how the patient lies; left and right may be exchanged on screen.")
        segments = {key: value for key, value in pairs.items() if re.match(r"Segment\d+_", key)}
        return _read(path, "nrrd", header, {"oriented": oriented, "segments": segments}, notes)


def read_meta(path: Path) -> RawImage:
    """Read a MetaImage (MHA, or MHD with its data file); errors as in `read_nrrd`."""
    with reading(path, "MetaImage"):
        header = parse_meta(path)
        fields = header.fields
        _check_spacing_text(path, "ElementSpacing", fields.get("elementspacing", fields.get("elementsize", "")))
        if _true(fields, "compresseddata"):
            limit = fields.get("compresseddatasize", "")
            check_complete(path, header, "zlib", limit=int(limit) if limit.isdigit() and int(limit) > 0 else None)
        elif _true(fields, "binarydata", default=True):
            check_complete(path, header, "raw", int(fields.get("headersize", "0")))
        oriented = any(key in fields for key in ("transformmatrix", "rotation", "orientation"))
        notes = []
        if not oriented:
            notes.append("The header does not say how the patient lies; left and right may be exchanged on screen.")
        if not {"elementspacing", "elementsize"} & fields.keys():
            notes.append("The header gives no spacing; 1 mm was taken.")
        return _read(path, "mha", header, {"oriented": oriented}, notes)


def parse_nrrd(path: Path) -> tuple[TextHeader, dict[str, str]]:
    """Return the fields of a NRRD header, and its key/value pairs."""
    start = read_start(path)
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start if end is None else start[: end.start()]).decode("latin-1")
    offset = len(start) if end is None else end.end()
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    listed: list[str] | None = None
    for line in text.splitlines()[1:]:
        if listed is not None:
            listed.append(line.strip())
        elif line.startswith("#") or not line.strip():
            continue
        elif ":=" in line:
            key, value = line.split(":=", 1)
            pairs[key] = value
        elif ": " in line or line.endswith(":"):
            key, value = line.split(":", 1)
            key = {"datafile": "data file"}.get(key.strip().lower(), key.strip().lower())
            fields[key] = value.strip()
            if key == "data file" and value.split()[:1] == ["LIST"]:
                listed = []
    for key in ("type", "dimension", "sizes"):
        if key not in fields:
            raise InputError(f"'{path}' is a NRRD file whose header lacks '{key}'; it is damaged.")
    kind = fields["type"].lower()
    if kind not in _NRRD_SIZE:
        raise InputError(f"'{path}' holds values of type '{fields['type']}'; only greyscale numbers can be read.")
    sizes = integers(path, "sizes", fields["sizes"])
    files = [path]
    if "data file" in fields:
        names = listed if listed is not None else [fields["data file"]]
        if listed is None and re.search(r"%\d*d", fields["data file"]):
            raise InputError(f"'{path}' spreads its voxels over numbered files; save it as one NRRD file.")
        files, offset = data_files(path, [name for name in names if name]), 0
    elif end is None:
        raise InputError(f"'{path}' ends within its header; copy or export it again.")
    return TextHeader(fields, files, offset, sizes, _NRRD_SIZE[kind]), pairs


def parse_meta(path: Path) -> TextHeader:
    """Return the fields of a MetaImage header."""
    start = read_start(path)
    match = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n?", start, re.MULTILINE)
    if match is None:
        raise InputError(f"'{path}' is a MetaImage whose header lacks 'ElementDataFile'; it is damaged.")
    fields = {}
    for line in start[: match.start()].decode("latin-1").splitlines():
        if "=" in line:
            key, value = line.split("=", 1)
            fields[key.strip().lower()] = value.strip()
    sizes = integers(path, "DimSize", fields.get("dimsize", ""))
    kind = fields.get("elementtype", "").upper()
    if kind not in _META_SIZE:
        raise InputError(f"'{path}' holds values of type '{kind}'; only greyscale numbers can be read.")
    channels = integers(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"))
    target = match.group(1).decode("latin-1").strip()
    if target.upper() in ("LOCAL", "LOCAL_FILE"):
        files, offset = [path], match.end()
    elif target.upper().startswith("LIST") or re.search(r"%\d*d", target):
        raise InputError(f"'{path}' spreads its voxels over numbered files; save it as one MHA file.")
    else:
        files, offset = data_files(path, [target]), 0
    return TextHeader(fields, files, offset, sizes + channels, _META_SIZE[kind])


def _true(fields: dict[str, str], key: str, default: bool = False) -> bool:
    return fields[key].lower() in ("true", "1") if key in fields else default


def _check_nrrd_space(path: Path, fields: dict[str, str]) -> list[str]:
    """Check spacing and directions as written, before ITK turns them into something else."""
    directions = fields.get("space directions")
    if directions is None:
        if "spacings" not in fields:
            return ["The header gives no spacing; 1 mm was taken."]
        _check_spacing_text(path, "spacings", fields["spacings"])
        return []
    for vector in re.findall(r"\(([^)]*)\)", directions):
        try:
            length = float(np.linalg.norm([float(word) for word in vector.split(",")]))
        except ValueError:
            length = float("nan")
        if not 0 < length < float("inf"):
            raise InputError(f"'{path}' has the space direction ({vector}); every axis needs a spacing above 0 mm.")
    return []


def _check_spacing_text(path: Path, field: str, text: str) -> None:
    try:
        values = [float(word) for word in text.split() if word.lower() != "nan"]
    except ValueError as error:
        raise InputError(
            f"'{path}' has {field} '{text[:60]}', which are not numbers; its header is damaged."
        ) from error
    if values and not all(0 < value < float("inf") for value in values):
        raise InputError(
            f"'{path}' has the voxel spacing {text} mm; every spacing must be above 0. Correct its header."
        )


def _read(path: Path, format: str, header: TextHeader, extra: dict[str, Any], notes: list[str]) -> RawImage:
    import SimpleITK as sitk

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if format == "nrrd" else "MetaImageIO")
    reader.SetFileName(str(path))
    image = reader.Execute()
    dimension, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"'{path}' holds complex numbers; save its magnitude as a new file and open that.")
    array = sitk.GetArrayFromImage(image)
    if components in (3, 4) and array.dtype == np.uint8:
        raise InputError(f"'{path}' is a colour (RGB) image; only greyscale volumes can be used.")
    stored = array.T if components == 1 else np.moveaxis(array, -1, 0).T  # fastest index first, components last
    shape = (*stored.shape[:dimension], 1, 1)[:3]
    volumes = stored.reshape((*shape, -1), order="F")
    affine, exact = _itk_affine(image, dimension)
    return RawImage(
        format=format,
        shape=(shape[0], shape[1], shape[2]),
        affine=affine,
        load=_loader(volumes),
        frames=[f"volume {index} of {volumes.shape[3]}" for index in range(volumes.shape[3])],
        header={**extra, "itk": exact},
        notes=notes,
        files=[path, *(file for file in header.files if file != path)],
    )


def _loader(volumes: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda frame: volumes[..., frame]


def _itk_affine(image: Any, dimension: int) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Return the RAS affine, and ITK's own numbers, from which it is written again without rounding."""
    size = min(dimension, 3)
    direction = np.eye(3)
    direction[:size, :size] = np.array(image.GetDirection()).reshape(dimension, dimension)[:size, :size]
    spacing, origin = np.ones(3), np.zeros(3)
    spacing[:size], origin[:size] = image.GetSpacing()[:size], image.GetOrigin()[:size]
    exact = {"spacing": spacing.tolist(), "origin": origin.tolist(), "direction": direction.ravel().tolist()}
    return itk_to_affine(exact), exact


def itk_to_affine(exact: dict[str, list[float]]) -> np.ndarray:
    """Turn ITK's spacing, origin and direction (LPS) into a RAS+ affine."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(exact["direction"], (3, 3)) * np.array(exact["spacing"])
    affine[:3, 3] = exact["origin"]
    return LPS_TO_RAS @ affine
