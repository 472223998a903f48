"""Colours and icons that follow napari's theme."""

from __future__ import annotations

import colorsys
from typing import Any

from napari.resources import get_icon_path
from napari.utils.theme import get_theme
from qtpy.QtCore import QByteArray, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer


def colour(theme: str, role: str) -> str:
    """Return a colour of a napari theme as ``#rrggbb``.

    Parameters
    ----------
    theme : str
        Such as ``viewer.theme``.
    role : str
        ``text``, ``background``, ``foreground``, ``primary``, ``secondary``, ``highlight``, ``icon``, ``warning``,
        ``error``, ``current``.
    """
    value: Any = getattr(get_theme(theme), role)
    red, green, blue = value.as_rgb_tuple()[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def is_dark(theme: str) -> bool:
    """Return whether a theme has light text on dark ground."""
    return get_theme(theme).type == "dark"


def mix(theme: str, share: float) -> str:
    """Return the text colour with a share of the background in it, for what is said quietly."""
    pair = [colour(theme, role) for role in ("text", "background")]
    text, ground = ([int(value[i : i + 2], 16) for i in (1, 3, 5)] for value in pair)
    return "#" + "".join(f"{round(t * (1 - share) + g * share):02x}" for t, g in zip(text, ground, strict=True))


def stylesheet(theme: str) -> str:
    """Return what the panel adds to napari's style: quiet captions, frames around hints, a ground under notices and
    every other row, boxes in tables that are seen when empty.
    """
    return (
        f'QLabel[role="caption"] {{ color: {mix(theme, 0.35)}; }}'
        f'QFrame[role="hint"] {{ border: 1px solid {colour(theme, "highlight")}; border-radius: 4px; }}'
        'QFrame[role="hint"] QLabel { border: none; padding: 3px; }'
        f'QWidget[role="notice"] {{ background: {mix(theme, 0.85)}; }}'
        f"QListView {{ alternate-background-color: {mix(theme, 0.85)}; }}"
        f"QTableWidget::indicator:unchecked {{ border: 1px solid {mix(theme, 0.35)}; }}"
    )


def series(index: int, theme: str) -> str:
    """Return the colour of the index-th curve: hues a golden angle apart, in contrast to the theme."""
    hue = (0.58 + index * 0.381966) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.68 if is_dark(theme) else 0.38, 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def icon(name: str, theme: str, role: str = "icon") -> QIcon:
    """Return one of napari's icons in a colour of the theme, crisp at 16 pixels on dense screens too."""
    with open(get_icon_path(name), encoding="utf-8") as file:
        renderer = QSvgRenderer(QByteArray(file.read().encode()))
    pixmap = QPixmap(64, 64)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, 64, 64))
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceIn)
    painter.fillRect(pixmap.rect(), QColor(colour(theme, role)))
    painter.end()
    return QIcon(pixmap)


def swatch(colour_name: str, size: int = 14) -> QIcon:
    """Return a small square of a class colour."""
    pixmap = QPixmap(size * 4, size * 4)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour_name))
    painter.drawRoundedRect(QRectF(2, 2, size * 4 - 4, size * 4 - 4), 8, 8)
    painter.end()
    made = QIcon(pixmap)
    made.addPixmap(pixmap, QIcon.Mode.Selected)  # Qt would dye it, and it would be another class's colour
    return made
