"""Tables and curves from the rows of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_semiseg.benchmark.curves import Point, curves
from napari_semiseg.benchmark.record import METRICS, Row, mean_of

Group = tuple[str, str, int, str]
"""Data set, where it was judged, annotated slices, budget."""


def group_of(row: Row) -> Group:
    """Return what a row is averaged with: the same over all volumes and seeds."""
    return row.set, row.where, row.count, row.budget


def summary(rows: Sequence[Row], metric: str = "dice") -> tuple[list[str], dict[Group, list[float | None]]]:
    """Return the peers, ``auto`` first, and for every group the mean of each over volumes and seeds.

    Parameters
    ----------
    rows : sequence of Row
    metric : str
        ``dice``, ``hd95_mm`` or ``asd_mm``.
    """
    peers = sorted(dict.fromkeys(row.peer for row in rows), key=lambda peer: peer != "auto")
    groups = {}
    for group in dict.fromkeys(map(group_of, rows)):
        alike = [row for row in rows if group_of(row) == group]
        groups[group] = [mean_of([row for row in alike if row.peer == peer], metric) for peer in peers]
    return peers, groups


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; every column but the first is right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def means_table(rows: Sequence[Row], metric: str = "dice") -> str:
    """Return the means over volumes and seeds as a Markdown table; the best of a line is bold."""
    peers, groups = summary(rows, metric)
    lines = [[title_of(group), str(group[2]), group[3], *_cells(values, metric)] for group, values in groups.items()]
    return table([METRICS[metric], "slices", "budget", *peers], lines)


def title_of(group: Group) -> str:
    """Return what a line of a table is about."""
    return group[0] if group[1] == "annotated volumes" else f"{group[0]}, {group[1]}"


def _cells(values: Sequence[float | None], metric: str) -> list[str]:
    known = [value for value in values if value is not None]
    best = (max if metric == "dice" else min)(known, default=None)
    digits = 3 if metric == "dice" else 2
    texts = ["–" if value is None else f"{value:.{digits}f}" for value in values]
    wins = [value is not None and value == best for value in values]
    return [f"**{text}**" if win else text for text, win in zip(texts, wins, strict=True)]


def class_table(rows: Sequence[Row]) -> str:
    """Return Dice, HD95 and ASD of every class as a Markdown table: means over volumes and seeds."""
    lines = []
    for group in dict.fromkeys(map(group_of, rows)):
        alike = [row for row in rows if group_of(row) == group]
        for peer in dict.fromkeys(row.peer for row in alike):
            own = [row for row in alike if row.peer == peer]
            for class_id in sorted({i for row in own for i in row.scores}):
                scores = [row.scores[class_id] for row in own if class_id in row.scores]
                values = [_mean([score[metric] for score in scores]) for metric in METRICS]
                lines.append([title_of(group), group[2], group[3], peer, class_id, *values])
    return table(["", "slices", "budget", "peer", "class", *METRICS.values()], lines)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else "–"


def against_slices(rows: Sequence[Row]) -> dict[str, list[Point]]:
    """Return the mean Dice by the number of annotated slices, for every peer."""
    lines: dict[str, list[Point]] = {}
    for peer in dict.fromkeys(row.peer for row in rows):
        for count in sorted({row.count for row in rows}):
            dice = mean_of([row for row in rows if (row.peer, row.count) == (peer, count)])
            if dice is not None:
                lines.setdefault(peer, []).append((float(count), dice))
    return lines


def against_seconds(rows: Sequence[Row]) -> dict[str, list[Point]]:
    """Return the mean Dice by the mean seconds that it took, for every peer and budget."""
    lines: dict[str, list[Point]] = {}
    for peer in dict.fromkeys(row.peer for row in rows):
        for budget in dict.fromkeys(row.budget for row in rows):
            own = [row for row in rows if (row.peer, row.budget) == (peer, budget)]
            dice = mean_of(own)
            if dice is not None:
                lines.setdefault(peer, []).append((float(np.mean([row.seconds for row in own])), dice))
    return lines


def report_files(rows: Sequence[Row]) -> dict[str, str]:
    """Return the report by file name: ``report.md``, and the curves that it shows.

    Dice against slices for every data set and budget, and against seconds for every number of slices.
    """
    pictures: dict[str, str] = {}
    for set_name, where in dict.fromkeys((row.set, row.where) for row in rows):
        own = [row for row in rows if (row.set, row.where) == (set_name, where)]
        for budget in dict.fromkeys(row.budget for row in own):
            lines = against_slices([row for row in own if row.budget == budget])
            title = f"{set_name}, {where}, {budget}"
            pictures[f"{title}, by slices"] = curves(title, "annotated slices of a volume", "Dice", lines)
        for count in dict.fromkeys(row.count for row in own):
            lines = against_seconds([row for row in own if row.count == count])
            title = f"{set_name}, {where}, {count} slices"
            pictures[f"{title}, by seconds"] = curves(title, "seconds until everything is predicted", "Dice", lines)
    parts = ["# Benchmark", *(means_table(rows, metric) for metric in METRICS)]
    parts += [f"![{title}]({_file_name(title)})" for title in pictures]
    parts += ["## Every class", class_table(rows)]
    failures = dict.fromkeys(f"- {row.peer}, {row.set}, {row.case}: {row.note}" for row in rows if row.failed)
    if failures:
        parts += ["## Failures, which count as nothing found", "\n".join(failures)]
    drawn = {_file_name(title): picture for title, picture in pictures.items()}
    return {"report.md": "\n\n".join(parts) + "\n", **drawn}


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split()) + ".svg"
