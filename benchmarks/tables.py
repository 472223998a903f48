"""Write the tables of docs/benchmarks.md from the results that the benchmarks left.

    python benchmarks/tables.py

Every table stands between two comments in the page and is made anew from its file in benchmarks/results/; so are the
pictures of benchmarks/methods.py.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import plots
from napari_semiseg.benchmark.record import Row, mean_of
from napari_semiseg.benchmark.report import group_of, summary, table, title_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"
PERCENTILES = ("p50_ms", "p99_ms", "max_ms")


def listing(head: Sequence[str], names: dict[str, str], result: dict[str, Any]) -> str:
    """Return a table of single figures: their titles, and what the result holds under their keys."""
    return table(head, [[title, result[key]] for title, key in names.items()])


def imports(rows: list[dict[str, Any]]) -> str:
    return table(
        ["", "seconds", "of torch, Qt and napari loaded"],
        [[r["what"], r["seconds"], ", ".join(r["loaded"]) or "none"] for r in rows],
    )


def responsiveness(result: dict[str, Any]) -> str:
    windows = {
        "napari alone: the volume and a labels layer": "napari_alone",
        "the same beside a process that computes on the other core": "napari_alone_beside_work",
        "napari alone with as many layers as there are overlays": "napari_as_many_layers",
        "with the plugin and all overlays": "idle",
        "with the plugin and all overlays, training": "training",
    }
    measures = {"lag of the event loop (ms)": "lag", "from the mouse to the screen (ms)": "screen"}
    seconds = {
        "panel shown after the click": "panel_shown_s",
        "first step after Train": "first_step_after_s",
        "idle after Stop": "idle_after_stop_s",
    }
    return "\n\n".join(
        [
            listing(["", "seconds"], seconds, result),
            *(
                table(
                    [head, "median", "99th percentile", "largest"],
                    [[title, *(result[k][measure][p] for p in PERCENTILES)] for title, k in windows.items()],
                )
                for head, measure in measures.items()
            ),
        ]
    )


def annotators_hour(result: dict[str, Any]) -> str:
    """Return what every step costs, and their sum."""
    costs = ("clicks", "strokes", "keys", "waited_s")
    lines = [[step["step"], *[step[cost] for cost in costs]] for step in result["steps"]]
    sums = [round(sum(step[cost] for step in result["steps"]), 1) for cost in costs]
    return table(["step", "clicks", "strokes", "keys", "seconds waited"], [*lines, ["**together**", *sums]])


def prediction(rows: list[dict[str, Any]]) -> str:
    return table(
        ["volume", "method", "seconds", "peak memory (MB)", "before it (MB)"],
        [[r["case"], f"`{r['method']}`", r["seconds"], r["peak_MB"], r["before_MB"]] for r in rows],
    )


def large_volume(result: dict[str, Any]) -> str:
    names = {
        "opening napari and the session (s)": "open_with_napari_s",
        "Train to first step (s)": "first_step_s",
        "Train to first prediction of the shown slice (s)": "first_shown_slice_s",
        "a minute of training and the prediction of all slices (s)": "train_and_predict_s",
        "peak memory of the window's process (MB)": "viewer_peak_MB",
        "peak memory of the worker (MB)": "worker_peak_MB",
    }
    return listing(["300 × 512 × 512 CT", ""], names, result)


def switching(result: dict[str, Any]) -> str:
    names = {
        "the first time that this machine sees it": "first_s",
        "a neighbour of the one that is shown, which was prepared": "neighbour_s",
        "again (median)": "again_s",
        "again (slowest of six)": "again_largest_s",
    }
    return listing(["opening a CT of 300 × 512 × 512", "seconds"], names, result)


def step_time(rows: list[dict[str, Any]]) -> str:
    return table(
        ["method", "step (s)", "bare networks (s)", "ratio"],
        [[f"`{r['method']}`", r["step_s"], r["bare_s"], r["ratio"]] for r in rows],
    )


def few_slices(result: dict[str, Any]) -> str:
    """Return the Dice of every volume, and their mean per data set."""
    rows = [Row.model_validate(row) for row in result["rows"]]
    peers, means = summary(rows)
    lines: list[list[str]] = []
    for group, figures in means.items():
        of_group = [row for row in rows if group_of(row) == group]
        for case in dict.fromkeys(row.case for row in of_group):
            cells = [_classes([row for row in of_group if (row.case, row.peer) == (case, peer)]) for peer in peers]
            lines.append([f"{title_of(group)}, {group[2]} slices, {case}", *cells])
        cells = ["" if mean is None else f"**{mean:.3f}**" for mean in figures]
        lines.append([f"**{title_of(group)}, {group[2]} slices, mean**", *cells])
    return table(["", *(f"`{peer}`" for peer in peers)], lines)


def _classes(rows: Sequence[Row]) -> str:
    """Return the mean over the seeds, in brackets that of every class."""
    mean = mean_of(rows)
    if mean is None:
        return ""
    ids = sorted({i for row in rows for i in row.scores})
    each = [f"{sum(row.scores[i]['dice'] or 0 for row in rows if i in row.scores) / len(rows):.2f}" for i in ids]
    return f"{mean:.3f}" + (f" ({', '.join(each)})" if len(each) > 1 else "")


def methods(result: dict[str, Any]) -> str:
    """Return the ranking of every data set, mean and spread over the seeds, and its picture."""
    ratios = {r["method"]: r["ratio"] for r in json.loads((RESULTS / "step_time.json").read_text())}
    published = json.loads((RESULTS / "published.json").read_text())
    parts = []
    for title in dict.fromkeys(r["set"] for r in result["runs"]):
        told = published.get(title, {})
        head = [
            title,
            "seeds",
            "Dice %",
            "Jaccard %",
            "HD95 mm",
            "ASD mm",
            "not found",
            "step ÷ bare",
            "peak MB",
            *(f"Dice % in print, {setting}" for setting in told),
        ]
        lines = []
        for (method, preset), runs in _ranked([r for r in result["runs"] if r["set"] == title]):
            name = f"`{method}`" + (", then `supervised`" if method == "lrc" else "")
            lines.append(
                [
                    name if preset == "product" else f"{name}, {preset}",
                    len(runs),
                    _spread(runs, "dice", 100),
                    _spread(runs, "jaccard", 100),
                    _spread(runs, "hd95_mm"),
                    _spread(runs, "asd_mm"),
                    sum(r["missed"] for r in runs),
                    ratios.get(method, "–"),
                    max(r["peak_MB"] for r in runs),
                    *(figures.get(method, "–") for figures in told.values()),
                ]
            )
        parts += [table(head, lines), f"![Dice of every seed: {title}](images/{plots.file_of(title)})"]
    return "\n\n".join(parts)


def _ranked(runs: list[dict[str, Any]]) -> list[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Return the runs of each method and preset that came to an end, the highest mean Dice first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        if "failed" not in run:
            found.setdefault((run["method"], run["preset"]), []).append(run)
    return sorted(found.items(), key=lambda each: -statistics.fmean(r["dice"] for r in each[1]))


def _spread(runs: list[dict[str, Any]], key: str, factor: float = 1) -> str:
    """Return mean ± standard deviation of a score over the runs that have one."""
    values = [factor * r[key] for r in runs if r[key] is not None]
    if not values:
        return "–"
    return f"{statistics.fmean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


TABLES: dict[str, Callable[[Any], str]] = {
    make.__name__: make
    for make in (
        imports,
        responsiveness,
        annotators_hour,
        prediction,
        large_volume,
        switching,
        step_time,
        few_slices,
        methods,
    )
} | dict.fromkeys(("three_slices", "several_volumes"), few_slices)


def filled(page: str) -> str:
    """Return the page with all tables made anew.

    Raises
    ------
    KeyError
        A table that no function makes.
    """

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        kept = RESULTS / f"{name}.json"
        if not kept.exists():
            kept = RESULTS / name / "results.json"  # of benchmarks/annotate.py, which leaves a folder
        made = TABLES[name](json.loads(kept.read_text())) if kept.exists() else "Not measured since it was changed."
        return f"<!-- {name} -->\n\n{made}\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    plots.write_dice_plots(json.loads((RESULTS / "methods.json").read_text()), PICTURES)
