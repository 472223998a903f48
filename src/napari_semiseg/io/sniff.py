"""Tell what a file is from its first bytes, never from its name alone."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

from napari_semiseg.errors import InputError
from napari_semiseg.io.guard import PERMISSION_ADVICE

HEAD_BYTES = 1024
READABLE = "NIfTI (.nii, .nii.gz), NRRD, MHA/MHD, DICOM (a folder or a file), TIFF stack or MGZ"

IMAGE_SUFFIXES = (
    ".seg.nrrd", ".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd",
    ".tiff", ".tif", ".mgz", ".mgh", ".dcm",
)  # fmt: skip

# Kinds that are often given by mistake, with what to do about them.
_KNOWN_STRANGERS = (
    (b"\x89PNG", "a PNG picture", "Save the whole stack as TIFF"),
    (b"\xff\xd8\xff", "a JPEG picture", "Use the original volume, not a picture of it"),
    (b"GIF8", "a GIF picture", "Use the original volume, not a picture of it"),
    (b"%PDF", "a PDF document", "Use the original volume"),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it first"),
    (b"BZh", "a bzip2 archive", "Unpack it first"),
    (b"\xfd7zXZ", "an XZ archive", "Unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it first"),
    (b"\x89HDF", "an HDF5 file", "Convert it to NIfTI"),
    (b"CDF", "a NetCDF (MINC 1) file", "Convert it to NIfTI"),
    (b"\x93NUMPY", "a NumPy array without spacing", "Save it as NIfTI or TIFF"),
    (b"MATLAB", "a MATLAB file", "Save the volume as NIfTI"),
)


def check_readable(path: Path) -> None:
    """Raise an `InputError` sentence if ``path`` does not exist or may not be read."""
    try:
        if not path.exists():
            near = path.parent if path.parent.exists() else None
            where = "" if near is None else f" in the folder '{near}'"
            raise InputError(f"There is no file or folder '{path.name}'{where}; check the path '{path}'.")
        if path.is_dir():
            os.listdir(path)
        elif not path.is_file():
            raise InputError(f"'{path}' is neither a file nor a folder; give an image file or a DICOM folder.")
        else:
            with path.open("rb"):
                pass
    except PermissionError as error:
        raise InputError(f"'{path}' may not be read: permission is denied. {PERMISSION_ADVICE}") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty (0 bytes); copy or export it again.")


def image_stem(path: Path) -> str:
    """Return the file name without its image suffix (``heart.nii.gz`` gives ``heart``)."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    return path.stem or path.name


def read_head(path: Path) -> tuple[bytes, bool]:
    """Return the first bytes of a file, decompressed if it is a gzip file, and whether it is one."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.startswith(b"\x1f\x8b"):
        return head, False
    try:
        try:
            with gzip.open(path, "rb") as packed:
                return packed.read(HEAD_BYTES), True
        except EOFError:
            return _start_of_gzip(path), True
    except (OSError, zlib.error) as error:
        raise InputError(f"'{path}' is a damaged gzip file ({error}); copy or export it again.") from error


def _start_of_gzip(path: Path) -> bytes:
    """Decompress what there is of a gzip file that ends within its first bytes."""
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        return unpacker.decompress(file.read(4 * HEAD_BYTES), HEAD_BYTES)


def identify(path: Path) -> str:
    """Name the format of a file by its content.

    Returns
    -------
    str
        ``"nifti"``, ``"analyze"``, ``"mgh"``, ``"nrrd"``, ``"mha"``, ``"dicom"`` or ``"tiff"``.

    Raises
    ------
    InputError
        If the file is none of these; the sentence says what it is, where that can be told, and what would work.
    """
    check_readable(path)
    head, packed = read_head(path)
    kind = _identify_head(head)
    if kind is not None and not (packed and kind not in ("nifti", "analyze", "mgh")):
        return kind
    if kind is not None:
        raise InputError(f"'{path}' is a gzip-compressed {kind.upper()} file; unpack it first (gunzip).")
    if path.name.lower().removesuffix(".gz").endswith(".img"):
        return "nifti"  # the data half of a pair: the reader looks for its header
    if not packed and looks_like_bare_dicom(path):
        return "dicom"
    raise InputError(_stranger_sentence(path, head))


def _identify_head(head: bytes) -> str | None:
    if len(head) >= 348 and head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    if len(head) >= 12 and head[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n"):
        return "nifti"
    if len(head) >= 132 and head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"NRRD000"):
        return "nrrd"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if _is_meta_image(head):
        return "mha"
    if len(head) >= 284 and struct.unpack(">i", head[:4])[0] == 1 and min(struct.unpack(">4i", head[4:20])) > 0:
        return "mgh"
    if len(head) >= 348 and 348 in struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]):
        return "analyze"
    return None


def _is_meta_image(head: bytes) -> bool:
    start = head.lstrip()[:200].replace(b" ", b"")
    return start.startswith((b"ObjectType=", b"NDims=", b"Comment=")) and b"NDims" in head


def looks_like_bare_dicom(path: Path) -> bool:
    """Tell whether a file without the DICM mark is a DICOM data set all the same.

    Old exports lack the 128-byte preamble. The first element of such a file is of group 2 or 8; a second element
    that is well formed as well rules out files that only happen to start so.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    offset = 0
    for _ in range(3):
        if len(head) < offset + 8 or head[offset : offset + 2] not in (b"\x02\0", b"\x08\0"):
            return False
        if head[offset + 4 : offset + 6].isalpha():
            long_form = head[offset + 4 : offset + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
            size = struct.unpack_from("<I", head, offset + 8)[0] + 12 if long_form and len(head) >= offset + 12 else (
                struct.unpack_from("<H", head, offset + 6)[0] + 8
            )  # fmt: skip
        else:
            size = struct.unpack_from("<I", head, offset + 4)[0] + 8
        if size > 512:
            return False
        offset += size
    return True


def _stranger_sentence(path: Path, head: bytes) -> str:
    for mark, name, advice in _KNOWN_STRANGERS:
        if head.startswith(mark):
            return f"'{path}' is {name}, not a volume. {advice}, or give {READABLE}."
    if path.suffix.lower() in (".dcm", ".ima"):
        return f"'{path}' is named like a DICOM file but does not begin like one; it is damaged. Export it again."
    beside = [p for p in _headers_beside(path) if p.exists()]
    if beside:
        return f"'{path}' holds only voxel data; open its header '{beside[0].name}' instead."
    text = head[:512]
    if text and all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in text):
        return f"'{path}' is a text file, not an image. Give {READABLE}."
    return f"'{path}' is not an image that can be read. Give {READABLE}."


def _headers_beside(path: Path) -> list[Path]:
    stem = path.name
    for suffix in (".gz", ".raw", ".zraw", ".img", ".bin"):
        stem = stem.removesuffix(suffix)
    return [path.with_name(stem + suffix) for suffix in (".nhdr", ".mhd", ".hdr")]
