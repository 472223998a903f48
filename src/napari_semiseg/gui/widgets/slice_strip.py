"""The strip under the canvas: one cell per slice, and the keys and buttons that step through them."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolButton, QToolTip, QWidget

from napari_semiseg.gui import theme
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.survey import HOLD_OUT_KEY, STEP_KEYS, SliceLine
from napari_semiseg.gui.widgets.pieces import row

MARKS, CELLS, BARS = 8, 12, 10  # pixels: suggestions above the cells, the cells, the bars of uncertainty
HEIGHT = MARKS + CELLS + BARS + 4
COLOURS = {
    # State: in dark themes, in light ones. Hues of Okabe and Ito, which people with colour-blindness tell apart.
    "scribbled": ("#e69f00", "#d98c00"),
    "complete": ("#56b4e9", "#0072b2"),
    "reviewed": ("#009e73", "#00805d"),
    "proposed": ("#cc79a7", "#b0578b"),
}
LEGEND = (
    ("■", "scribbled"), ("■", "complete"), ("■", "reviewed"), ("■", "proposed"), ("◇", "held out"), ("▼", "suggested")
)  # fmt: skip


def state_colour(state: str, theme_name: str) -> str:
    """Return the colour of a slice state; that of unlabelled ones is between the ground and the text."""
    if state not in COLOURS:
        return theme.mix(theme_name, 0.75)
    return COLOURS[state][0 if theme.is_dark(theme_name) else 1]


def facts_of(plane: int, line: SliceLine) -> str:
    """Return what the tooltip says about a slice."""
    said = [f"Slice {plane}: {line.state}"]
    if line.held_out:
        said.append("held out: rounds do not learn from it, they are judged by it")
    if line.entropy is not None:
        said.append(f"mean entropy {line.entropy:.2f} of 1 around the prediction")
    if line.suggestion:
        said.append(f"suggested. {line.suggestion}")
    return "\n".join(said)


class SliceStrip(QWidget):
    """Draws a cell per slice in the colour of its state, however many there are; a click shows the slice.

    A diamond marks a held-out slice, a triangle above it a suggested one, the bar below is the mean uncertainty (full
    for the most uncertain slice), the frame is the shown slice.
    """

    def __init__(self, desk: Desk, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self._theme = theme_name
        self._lines: list[SliceLine] = []
        self._picture: QPixmap | None = None
        self.drawn = 0
        """How often all slices were drawn; showing another one only moves the frame."""
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setAccessibleName("Slices")
        desk.survey.changed.connect(self.refresh)
        desk.plane_changed.connect(lambda _: self.update())
        desk.volume_changed.connect(self.refresh)
        self.refresh()

    def sizeHint(self) -> QSize:
        """Return a thin wide size."""
        return QSize(600, HEIGHT)

    def refresh(self) -> None:
        """Draw what is known now."""
        lines = self.desk.survey.lines()
        if lines != self._lines:
            self._lines = lines
            self._draw_anew()

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self._theme = theme_name
        self._draw_anew()

    def resizeEvent(self, event: Any) -> None:
        """Draw the slices as wide as they are now."""
        self._draw_anew()
        super().resizeEvent(event)

    def plane_at(self, x: float) -> int | None:
        """Return the slice at a place, None without a volume."""
        if not self._lines:
            return None
        return min(len(self._lines) - 1, max(0, int(x * len(self._lines) / max(1, self.width()))))

    def cell(self, plane: int) -> QRectF:
        """Return where a slice is drawn."""
        width = self.width() / max(1, len(self._lines))
        return QRectF(plane * width, MARKS, width, CELLS)

    def mousePressEvent(self, event: Any) -> None:
        """Show the slice; with Ctrl hold it out, or have it learned from again."""
        plane = self.plane_at(event.position().x())
        if plane is None or self.desk.sheet is None:
            return
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.desk.survey.hold_out(plane)
        else:
            self.desk.sheet.go_to(plane)

    def mouseMoveEvent(self, event: Any) -> None:
        """Follow a drag."""
        plane = self.plane_at(event.position().x())
        if event.buttons() & Qt.MouseButton.LeftButton and plane is not None and self.desk.sheet is not None:
            self.desk.sheet.go_to(plane)

    def event(self, event: QEvent | None) -> bool:
        """Tell the facts of the slice under the mouse."""
        if event is not None and event.type() == QEvent.Type.ToolTip:
            place: Any = event
            QToolTip.showText(place.globalPos(), self.tip(place.pos().x()), self)
            return True
        return super().event(event)

    def tip(self, x: float) -> str:
        """Return the tooltip at a place."""
        plane = self.plane_at(x)
        if plane is None:
            return "Open a volume: every slice gets a cell here."
        return (
            f"{facts_of(plane, self._lines[plane])}\n\nClick shows it; Ctrl-click (or key {HOLD_OUT_KEY}) holds it out."
        )

    def paintEvent(self, event: Any) -> None:
        """Draw the slices, and a frame around the shown one."""
        if self._picture is None:
            self._picture = self._draw()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        if self._lines and self.desk.sheet is not None:
            cell = self.cell(self.desk.sheet.plane)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(theme.colour(self._theme, "text")), 2))
            middle = max(cell.width(), 5.0) / 2
            painter.drawRect(QRectF(cell.center().x() - middle, 1, 2 * middle, HEIGHT - 2))
        painter.end()

    def _draw_anew(self) -> None:
        self._picture = None
        self.update()

    def _draw(self) -> QPixmap:
        """Return a picture of all slices: drawing hundreds takes longer than showing the next one."""
        self.drawn += 1
        picture = QPixmap(self.size() * self.devicePixelRatio())
        picture.setDevicePixelRatio(self.devicePixelRatio())
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = QColor(theme.colour(self._theme, "text"))
        accent = QColor(theme.colour(self._theme, "warning"))
        colours = {state: QColor(state_colour(state, self._theme)) for state in {line.state for line in self._lines}}
        highest = max((line.entropy for line in self._lines if line.entropy is not None), default=0.0) or 1.0
        for plane, line in enumerate(self._lines):
            cell = self.cell(plane)
            gap = 1.0 if cell.width() > 4 else 0.0
            painter.fillRect(cell.adjusted(0, 0, -gap, 0), colours[line.state])
            if line.state == "scribbled" and cell.width() > 4:
                painter.fillRect(cell.adjusted(0, 0, -gap, 0), QBrush(text, Qt.BrushStyle.BDiagPattern))
            if line.entropy is not None:
                height = max(1.0, line.entropy / highest * BARS)
                painter.fillRect(QRectF(cell.left(), cell.bottom() + 2, cell.width() - gap, height), accent)
            if line.suggestion:
                self._triangle(painter, cell, accent)
            if line.held_out:
                self._diamond(painter, cell, text)
        painter.end()
        return picture

    @staticmethod
    def _triangle(painter: QPainter, cell: QRectF, colour: QColor) -> None:
        x, y = cell.center().x(), cell.top() - 1
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(QPolygonF([QPointF(x - 4, y - 6), QPointF(x + 4, y - 6), QPointF(x, y)]))

    @staticmethod
    def _diamond(painter: QPainter, cell: QRectF, colour: QColor) -> None:
        x, y = cell.center().x(), cell.center().y()
        painter.setPen(QPen(colour, 1.5))
        painter.setBrush(QColor(0, 0, 0, 120))
        painter.drawPolygon(QPolygonF([QPointF(x, y - 5), QPointF(x + 5, y), QPointF(x, y + 5), QPointF(x - 5, y)]))


class StripBar(QWidget):
    """The strip, the buttons that step through slices, and what the signs mean."""

    def __init__(self, desk: Desk, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.strip = SliceStrip(desk, theme_name)
        self.buttons: dict[tuple[str, int], QToolButton] = {}
        parts: list[QWidget] = [self.strip]
        for kind, key in STEP_KEYS.items():
            for direction, sign in ((-1, "‹"), (1, "›")):
                parts.append(self._stepper(kind, direction, sign, key))
                if direction < 0:
                    parts.append(QLabel(kind))
        self.hold_out = QToolButton()
        self.hold_out.setText("◇ hold out")
        self.hold_out.setToolTip(
            f"Set the shown slice aside, or have it learned from again (key {HOLD_OUT_KEY}). Rounds do not learn from "
            "held-out slices; they are judged and calibrated by them. Default: one of five annotated ones."
        )
        self.hold_out.clicked.connect(lambda: desk.survey.hold_out())
        parts.append(self.hold_out)
        self.legend = QLabel()
        parts.append(self.legend)
        layout = row(*parts)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.setSpacing(2)
        layout.setStretch(0, 1)
        self.setLayout(layout)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_theme(theme_name)

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self.strip.set_theme(theme_name)
        signs = "".join(f'<span style="color:{_sign_colour(name, theme_name)}">{sign}</span>' for sign, name in LEGEND)
        self.legend.setText(signs)
        self.legend.setToolTip(
            "".join(
                f'<div><span style="color:{_sign_colour(name, theme_name)}">{sign}</span> {name}</div>'
                for sign, name in LEGEND
            )
            + "<div>Bars below: mean uncertainty, full for the most uncertain slice</div>"
        )

    def _stepper(self, kind: str, direction: int, sign: str, key: str) -> QToolButton:
        made = QToolButton()
        made.setText(sign)
        which = "next" if direction > 0 else "previous"
        shift = "" if direction > 0 else "Shift-"
        made.setToolTip(f"Show the {which} {kind} slice (key {shift}{key})")
        made.clicked.connect(lambda: self.desk.survey.step(kind, direction))
        self.buttons[kind, direction] = made
        return made


def _sign_colour(name: str, theme_name: str) -> str:
    if name == "suggested":
        return theme.colour(theme_name, "warning")
    return theme.colour(theme_name, "text") if name == "held out" else state_colour(name, theme_name)
