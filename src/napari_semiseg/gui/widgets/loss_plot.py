"""The loss curves of a run, one per term."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_semiseg.gui import theme
from napari_semiseg.gui.curves import LossHistory

REDRAW_MS = 400


class LossPlot(QWidget):
    """Draws a `LossHistory` at most a few times a second, however fast the steps come."""

    def __init__(self, history: LossHistory, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.history = history
        self._theme = theme_name
        self._curves: dict[str, pg.PlotDataItem] = {}
        self.plot = pg.PlotWidget()
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.setLabel("bottom", "step")
        self.plot.setToolTip("Loss of each term by training step; falling curves mean that the model learns")
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.plot.getPlotItem().layout.setContentsMargins(0, 8, 8, 6)  # else the letters of "step" lose their feet
        self.plot.setFixedHeight(150)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.plot)
        layout.addWidget(self.legend)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        self.set_theme(theme_name)

    def request(self) -> None:
        """Draw soon."""
        if not self._timer.isActive():
            self._timer.start()

    def redraw(self) -> None:
        """Draw now; without any step there is nothing to see."""
        self.setVisible(len(self.history) > 0)
        if any(name not in self.history.names for name in self._curves):
            self._clear()
        for index, name in enumerate(self.history.names):
            if name not in self._curves:
                pen = pg.mkPen(theme.series(index, self._theme), width=2)
                self._curves[name] = self.plot.plot(pen=pen)
            self._curves[name].setData(*self.history.curve(name))
        self.legend.setText(self._key())

    def _key(self) -> str:
        """Return the names of the terms, each behind a square in the colour of its curve."""
        return " &nbsp; ".join(
            f'<span style="color:{theme.series(index, self._theme)}">■</span>&nbsp;{name.replace(" ", "&nbsp;")}'
            for index, name in enumerate(self.history.names)
        )

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self._theme = theme_name
        text = theme.colour(theme_name, "text")
        self.plot.setBackground(theme.colour(theme_name, "background"))
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setPen(theme.colour(theme_name, "secondary"))
            self.plot.getAxis(side).setTextPen(text)
        self._clear()
        self.redraw()

    def _clear(self) -> None:
        for curve in self._curves.values():
            self.plot.removeItem(curve)
        self._curves.clear()
