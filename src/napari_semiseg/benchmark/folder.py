"""A benchmark in a folder: its rows are kept as they come, and an interrupted one goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from napari_semiseg.benchmark.cases import Case
from napari_semiseg.benchmark.design import Design
from napari_semiseg.benchmark.record import Row, read_rows, write_rows
from napari_semiseg.benchmark.report import report_files
from napari_semiseg.benchmark.trial import run
from napari_semiseg.io.atomic import storing, write_files

ROWS = "results.json"


def measure(
    sets: Mapping[str, Sequence[Case]],
    design: Design,
    folder: Path,
    tell: Callable[[str, float], object] = lambda what, part: None,
) -> Iterator[Row]:
    """Try what a design asks for, keep the rows in ``results.json``, and write the report at the end.

    Parameters
    ----------
    sets, design, tell
        See `napari_semiseg.benchmark.trial.run`.
    folder : Path
        Created when missing. Rows that it holds stay, and are not measured again.

    Yields
    ------
    Row
        New ones only.

    Raises
    ------
    InputError
        See `napari_semiseg.benchmark.trial.run`; also if the folder holds something else under that name.
    StorageError
        If the folder cannot be written.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rows = read_rows(folder / ROWS)
    for row in run(sets, design, list(rows), tell):
        # What was interrupted between two rounds begins anew.
        rows = [other for other in rows if not row.replaces(other)] + [row]
        write_rows(folder / ROWS, rows)
        yield row
    write_files(folder, {name: text.encode() for name, text in report_files(rows).items()})
