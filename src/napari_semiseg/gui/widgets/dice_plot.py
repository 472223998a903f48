"""Held-out Dice of the rounds against the number of annotated slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_semiseg.engine.learning_curve import Point
from napari_semiseg.gui import theme


class DicePlot(QWidget):
    """One dot per round, with its interval where it has one."""

    def __init__(self, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self._points: list[Point] = []
        self.plot = pg.PlotWidget()
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setLabel("bottom", "annotated slices")
        self.plot.setToolTip(
            "Mean Dice on held-out slices by number of annotated slices; bars are 95 % intervals "
            "(bootstrap over slices)"
        )
        self.plot.getPlotItem().layout.setContentsMargins(0, 8, 8, 6)
        self.plot.setFixedHeight(150)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)
        self.set_theme(theme_name)

    def show_points(self, points: Sequence[Point]) -> None:
        """Draw other points."""
        self._points = list(points)
        self._draw()

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self._theme = theme_name
        self.plot.setBackground(theme.colour(theme_name, "background"))
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(theme.colour(theme_name, "secondary"))
            self.plot.getAxis(side).setTextPen(theme.colour(theme_name, "text"))
        self._draw()

    def _draw(self) -> None:
        self.plot.clear()
        if not self._points:
            return
        colour = theme.series(0, self._theme)
        slices = np.array([point.slices for point in self._points], float)
        dice = np.array([point.dice for point in self._points])
        lows = np.array([point.dice if point.low is None else point.low for point in self._points])
        highs = np.array([point.dice if point.high is None else point.high for point in self._points])
        for x, low, high in zip(slices, lows, highs, strict=True):
            if high > low:
                self.plot.plot([x, x], [low, high], pen=pg.mkPen(colour, width=2))
        self.plot.plot(slices, dice, pen=None, symbol="o", symbolSize=7, symbolBrush=colour, symbolPen=None)
        self.plot.setYRange(max(0.0, float(lows.min()) - 0.05), 1.0)
        self.plot.getAxis("bottom").setTicks([[(n, str(int(n))) for n in np.unique(slices)]])
        self.plot.setXRange(float(slices.min()) - 1, float(slices.max()) + 1)
