"""Parse the text headers of NRRD and MetaImage files far enough to check them before ITK reads the voxels.

ITK fills what is missing of a truncated file with zeros without a word, and follows a data file named in a header to
anywhere on the disk. Both are checked here.
"""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from napari_semiseg.errors import InputError

_MAX_HEADER = 1 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TextHeader:
    """Fields of a text header and where the voxels are.

    Attributes
    ----------
    fields : dict
        Field names in lower case, values as written.
    files : list of Path
        Data files; the header's own file if the voxels follow it.
    offset : int
        Where the voxels begin in the header's file, 0 for detached data.
    sizes : tuple of ints
        Size of every axis as stored, components included.
    item_bytes : int
        Bytes per stored number.
    """

    fields: dict[str, str]
    files: list[Path]
    offset: int
    sizes: tuple[int, ...]
    item_bytes: int


def data_files(header_path: Path, names: list[str]) -> list[Path]:
    """Resolve the data files that a header names.

    Raises
    ------
    InputError
        If a name leads out of the header's folder, or the file is missing or empty.
    """
    files = []
    for name in names:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        outside = posix.is_absolute() or windows.is_absolute() or bool(windows.drive) or ".." in windows.parts
        path = header_path.parent / name
        if not outside and path.is_symlink():
            outside = not path.resolve().is_relative_to(header_path.parent.resolve())
        if outside:
            raise InputError(
                f"'{header_path}' takes its voxels from '{name}', outside of its own folder, which is not followed. "
                "Put the data file beside the header and name it there without a folder."
            )
        if not path.is_file():
            raise InputError(f"'{header_path}' takes its voxels from '{name}', which is not beside it.")
        files.append(path)
    return files


def integers(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Parse a list of whole numbers of at least 1."""
    try:
        values = tuple(int(word) for word in text.split())
    except ValueError:
        values = ()
    if not values or min(values) < 1:
        raise InputError(
            f"'{path}' has {field} '{text[:60]}'; whole numbers above 0 are needed, so its header is damaged."
        )
    return values


def check_complete(path: Path, header: TextHeader, encoding: str, skip: int = 0, limit: int | None = None) -> None:
    """Raise an `InputError` if there are fewer voxels than the header promises.

    Parameters
    ----------
    path : Path
        Named in the sentence.
    header : TextHeader
        What is promised, and where it is.
    encoding : str
        ``"raw"``, ``"gzip"``, ``"zlib"`` or ``"bzip2"``.
    skip : int
        Bytes to leave out at the start of the (decompressed) data; -1 takes the last bytes of a raw file.
    limit : int, optional
        Number of compressed bytes, where the header gives it.
    """
    needed = math.prod(header.sizes) * header.item_bytes
    present = 0
    for file in header.files:
        offset = header.offset if file == path else 0
        if encoding == "raw":
            present += file.stat().st_size - offset - max(skip, 0)
        else:
            present += _unpacked_length(file, offset, encoding, limit, needed) - max(skip, 0)
    if encoding == "zlib" and present > needed:
        # ITK would decompress into too small a buffer and go on with what is left of it.
        raise InputError(f"'{path}' holds more voxels than its header says; it is damaged. Copy or export it again.")
    if present < needed:
        raise InputError(
            f"'{path}' is cut short: {needed} bytes of voxels are needed for {' x '.join(map(str, header.sizes))}, "
            f"but only {max(present, 0)} are there. Copy or export it again."
        )


def _unpacked_length(file: Path, offset: int, encoding: str, limit: int | None, needed: int) -> int:
    """Count the bytes of a compressed stream, checking its checksum where it has one."""
    length = 0
    try:
        with file.open("rb") as raw:
            raw.seek(offset)
            if encoding == "zlib":
                return _zlib_length(raw.read() if limit is None else raw.read(limit), needed)
            stream = gzip.GzipFile(fileobj=raw) if encoding == "gzip" else bz2.BZ2File(raw)
            while chunk := stream.read(_CHUNK):
                length += len(chunk)
                if length > needed + _CHUNK:
                    break
    except EOFError:
        return min(length, needed - 1)
    except (OSError, zlib.error) as error:
        # Teem may leave bytes after the stream; they are no gzip member and harmless once everything is there.
        if length >= needed and "gzipped" in str(error):
            return length
        raise InputError(
            f"'{file}' is damaged: its compressed data fail their checksum ({error}). Copy or export it again."
        ) from error
    return length


def _zlib_length(data: bytes, needed: int) -> int:
    unpacker = zlib.decompressobj(wbits=47)  # zlib or gzip, as MetaImage writers differ
    length = 0
    while data and not unpacker.eof and length <= needed + _CHUNK:
        length += len(unpacker.decompress(data, _CHUNK))
        data = unpacker.unconsumed_tail
    length += len(unpacker.flush()) if not unpacker.eof else 0
    return length if unpacker.eof else min(length, needed - 1) if length < needed else length


def read_start(path: Path) -> bytes:
    """Return enough of a file to hold its text header."""
    with path.open("rb") as file:
        return file.read(_MAX_HEADER)
