"""The measurements as a table: for the screen, the clipboard and CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_semiseg.regions.measures import Measures
from napari_semiseg.session.storage import write_bytes

COLUMNS = (
    "volume", "class", "name", "ml", "voxels", "slices", "first slice", "last slice", "rows", "columns",
    "box mm", "diameter mm",
)  # fmt: skip


def table_of(
    found: Sequence[tuple[str, Measures]], names: Mapping[int, str], volumes: Mapping[str, str]
) -> list[list[str]]:
    """Return a heading and one line per structure.

    Parameters
    ----------
    found : sequence of (volume id, Measures)
    names : mapping of int to str
        Class names.
    volumes : mapping of str to str
        Names of volumes.
    """
    return [list(COLUMNS), *(_line(volumes.get(volume, volume), names, entry) for volume, entry in found)]


def _line(volume: str, names: Mapping[int, str], entry: Measures) -> list[str]:
    start = [volume, str(entry.class_id), names.get(entry.class_id, ""), f"{entry.volume_ml:.3f}", str(entry.voxels)]
    if entry.box is None or entry.extent_mm is None:
        return [*start, "0", "", "", "", "", "", ""]
    (first, last), *sides = entry.box
    return [
        *start,
        str(entry.slices),
        str(first),
        str(last),
        *(f"{low}-{high}" for low, high in sides),
        " x ".join(f"{size:.1f}" for size in entry.extent_mm),
        f"{entry.diameter_mm:.1f}",
    ]


def as_text(lines: Sequence[Sequence[str]], separator: str = "\t") -> str:
    """Return the table with tabs between its columns, as spreadsheets take it from the clipboard."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def write_csv(path: Path, lines: Sequence[Sequence[str]]) -> Path:
    """Write the table as CSV (UTF-8, comma).

    Raises
    ------
    StorageError
    """
    write_bytes(path, as_text(lines, ",").encode())
    return path
