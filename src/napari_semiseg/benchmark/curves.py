"""Curves as SVG: a text file that every browser shows, without a drawing library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 150, 40, 50
# Okabe & Ito: told apart with every kind of colour vision; dashes help where colours repeat.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

Point = tuple[float, float]


def curves(title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Draw lines with a legend.

    Parameters
    ----------
    title, x_label, y_label : str
    lines : mapping of str to sequence of (x, y)
        x is positive and drawn logarithmically where its values span more than a factor of ten.

    Returns
    -------
    str
        An SVG image.
    """
    xs = sorted({x for points in lines.values() for x, _ in points})
    ys = [y for points in lines.values() for _, y in points]
    if not xs:
        xs, ys = [0.0, 1.0], [0.0, 1.0]
    logarithmic = xs[0] > 0 and xs[-1] > 10 * xs[0]
    bend = math.log10 if logarithmic else float
    across = _scale(bend(xs[0]), bend(xs[-1]), _LEFT, _WIDTH - _RIGHT)
    ticks = _ticks(min(ys), max(ys))
    up = _scale(ticks[0], ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, size=14),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, x_label, anchor="middle"),
        f'<g transform="translate(16 {_HEIGHT / 2}) rotate(-90)">{_text(0, 0, y_label, anchor="middle")}</g>',
    ]
    for tick in ticks:
        parts.append(_line([(_LEFT, up(tick)), (_WIDTH - _RIGHT, up(tick))], "#dddddd"))
        parts.append(_text(_LEFT - 8, up(tick) + 4, f"{tick:.3g}", anchor="end"))
    for x in _apart(xs, lambda value: across(bend(value))):
        parts.append(_line([(across(bend(x)), _HEIGHT - _BOTTOM), (across(bend(x)), _HEIGHT - _BOTTOM + 5)], "#333333"))
        parts.append(_text(across(bend(x)), _HEIGHT - _BOTTOM + 20, f"{x:.3g}", anchor="middle"))
    for index, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        dashes = "" if index < len(_COLOURS) else ' stroke-dasharray="5 3"'
        placed = [(across(bend(x)), up(y)) for x, y in sorted(points)]
        parts.append(_line(placed, colour, f' stroke-width="2"{dashes}'))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        height = _TOP + 10 + 18 * index
        start = _WIDTH - _RIGHT + 12
        parts.append(_line([(start, height), (start + 18, height)], colour, f' stroke-width="2"{dashes}'))
        parts.append(_text(start + 24, height + 4, name))
    return "\n".join([*parts, "</svg>", ""])


def _scale(low: float, high: float, start: float, end: float):  # type: ignore[no-untyped-def]
    """Return the function that takes values to places; a single value lies in the middle."""
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Return round values from below the lowest to above the highest, about five of them."""
    span = max(high - low, 1e-6)
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _apart(values: Sequence[float], place) -> list[float]:  # type: ignore[no-untyped-def]
    """Return those values whose labels do not lie on each other."""
    kept: list[float] = []
    for value in values:
        if not kept or place(value) - place(kept[-1]) >= 32:
            kept.append(value)
    return kept


def _line(points: Sequence[Point], colour: str, more: str = "") -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
