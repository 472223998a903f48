"""A picture of the results of benchmarks/methods.py, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_ROW, _LEFT, _PLOT, _TOP = 22, 190, 520, 40  # px
_INK, _DOT, _MEAN = "#808080", "#4c9be8", "#e8843c"  # readable on light and dark


def write_dice_plots(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write one picture per data set, ``methods-<set>.svg``: the Dice of every seed and their mean, the best first.

    Parameters
    ----------
    record : dict
        What benchmarks/methods.py wrote.
    folder : Path
    """
    written = []
    for name, picture in dice_plots(record).items():
        written.append(folder / name)
        written[-1].write_text(picture, encoding="utf-8")
    return written


def dice_plots(record: dict[str, Any]) -> dict[str, str]:
    """Return the pictures by the names of their files."""
    pictures = {}
    for title in dict.fromkeys(run["set"] for run in record["runs"]):
        found: dict[str, list[float]] = {}
        for run in record["runs"]:
            if run["set"] == title and "failed" not in run:
                name = run["method"] + ("" if run["preset"] == "product" else f" ({run['preset']})")
                found.setdefault(name, []).append(run["dice"])
        pictures[file_of(title)] = dots(f"{title}: mean Dice on unseen volumes", found)
    return pictures


def file_of(title: str) -> str:
    """Return the name of the picture of a data set."""
    return f"methods-{title.partition(' (')[0].lower().replace(' ', '-')}.svg"


def dots(title: str, values: dict[str, Sequence[float]]) -> str:
    """Return an SVG with a row per name, the highest mean first: a dot per value, a bar at the mean.

    Parameters
    ----------
    title : str
    values : dict of str to sequence of float
        From 0 to 1.
    """
    order = sorted(values, key=lambda name: statistics.fmean(values[name]), reverse=True)
    height = _TOP + _ROW * len(order) + 30
    low = min((int(10 * min(v)) / 10 for v in values.values()), default=0.0)

    def x(value: float) -> float:
        return round(_LEFT + _PLOT * (value - low) / (1 - low), 1)

    parts = [f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>']
    for tenth in range(round(10 * low), 11):
        at = x(tenth / 10)
        parts += [
            f'<line x1="{at}" x2="{at}" y1="{_TOP - 8}" y2="{height - 24}" stroke="{_INK}" stroke-opacity="0.3"/>',
            f'<text x="{at}" y="{height - 8}" text-anchor="middle">{tenth / 10:.1f}</text>',
        ]
    for row, name in enumerate(order):
        y = _TOP + _ROW * row + _ROW // 2
        mean = x(statistics.fmean(values[name]))
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts += [f'<circle cx="{x(v)}" cy="{y}" r="4" fill="{_DOT}" fill-opacity="0.8"/>' for v in values[name]]
        parts.append(f'<line x1="{mean}" x2="{mean}" y1="{y - 8}" y2="{y + 8}" stroke="{_MEAN}" stroke-width="3"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _PLOT + 30}" height="{height}" fill="{_INK}" '
        'font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
    )
