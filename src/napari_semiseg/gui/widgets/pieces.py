"""Small pieces that all tabs share: spacing, captions, numbers, buttons that say why they are disabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QStylePainter,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

MARGIN = 6
GAP = 6


def column(*parts: QWidget | QLayout, margin: int = 0, gap: int = GAP) -> QVBoxLayout:
    """Return a vertical layout of widgets and layouts."""
    layout = QVBoxLayout()
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(gap)
    for part in parts:
        if isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)
    return layout


def row(*parts: QWidget | QLayout | None) -> QHBoxLayout:
    """Return a horizontal layout; None is a stretch."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(GAP)
    for part in parts:
        if part is None:
            layout.addStretch(1)
        elif isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)
    return layout


def heading(text: str) -> QLabel:
    """Return a section title."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def caption(text: str = "") -> QLabel:
    """Return a quiet explanation that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setProperty("role", "caption")
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def sentence(text: str = "") -> QLabel:
    """Return a sentence that wraps and never widens the panel."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


class SteadyLabel(QLabel):
    """A text that changes often, in a room that does not.

    A new text of an ordinary label makes Qt lay out and paint the whole window anew, which takes longer than showing
    the next slice.

    Parameters
    ----------
    lines : int
        Lines of text that find room; what is longer is cut.
    quiet : bool
        Looks like a caption.
    """

    def __init__(self, *, lines: int = 1, bold: bool = False, quiet: bool = False):
        super().__init__()
        self._shown = ""
        font = self.font()
        font.setBold(bold)
        self.setFont(font)
        if quiet:
            self.setProperty("role", "caption")
        self._lines = lines
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def text(self) -> str:
        """Return the text."""
        return self._shown

    def setText(self, text: str | None) -> None:
        """Show another text."""
        if text != self._shown:
            self._shown = text or ""
            self.setAccessibleName(self._shown)
            self.update()

    def sizeHint(self) -> QSize:
        """Return room for the lines, whatever the text."""
        return QSize(0, self._lines * self.fontMetrics().lineSpacing() + 2)

    def minimumSizeHint(self) -> QSize:
        """Return room for the lines, whatever the text."""
        return self.sizeHint()

    def paintEvent(self, event: Any) -> None:
        """Draw the text."""
        where = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextWordWrap
        painter = QStylePainter(self)
        indent = self.fontMetrics().horizontalAdvance("x") // 2  # that of an ordinary label, so that both are in line
        place = self.contentsRect().adjusted(indent, 0, 0, 0)
        painter.drawItemText(place, int(where), self.palette(), self.isEnabled(), self._shown, self.foregroundRole())


def button(text: str, tooltip: str, pressed: Callable[[], object] | None = None) -> QPushButton:
    """Return a push button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setProperty("purpose", tooltip)
    if pressed is not None:
        made.clicked.connect(lambda: pressed())
    return made


def allow(target: QWidget, why_not: str | None) -> None:
    """Enable a widget, or disable it and say why in its tooltip."""
    if not target.property("purpose"):
        target.setProperty("purpose", target.toolTip())
    target.setEnabled(why_not is None)
    tip = str(target.property("purpose")) if why_not is None else why_not
    if tip != target.toolTip():
        target.setToolTip(tip)


def set_suffix(box: QDoubleSpinBox, unit: str) -> None:
    """Show a unit after a number; Qt lays everything out anew even for one that is shown already."""
    suffix = f" {unit}" if unit else ""
    if suffix != box.suffix():
        box.setSuffix(suffix)


def whole(value: int, low: int, high: int, tooltip: str, *, step: int = 1, unit: str = "") -> QSpinBox:
    """Return a field for a whole number; its tooltip names the default."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setSuffix(f" {unit}" if unit else "")
    box.setValue(value)
    box.setKeyboardTracking(False)
    box.setToolTip(f"{tooltip}. Default: {value}{f' {unit}' if unit else ''}.")
    return box


def number(
    value: float, low: float, high: float, tooltip: str, *, step: float, decimals: int, unit: str = ""
) -> QDoubleSpinBox:
    """Return a field for a number; its tooltip names the default."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setSuffix(f" {unit}" if unit else "")
    box.setValue(value)
    box.setKeyboardTracking(False)
    box.setToolTip(f"{tooltip}. Default: {value:g}{f' {unit}' if unit else ''}.")
    return box


def collapsible(title: str, content: QWidget) -> QCollapsible:
    """Return a section that is closed at first."""
    section = QCollapsible(title)
    section.setDuration(0)
    for layout, top in ((section.layout(), 0), (section.content().layout(), 4)):
        if layout is not None:
            layout.setContentsMargins(0, top, 0, 0)
    section.addWidget(content)
    section.collapse(animate=False)
    section.setProperty("role", "section")
    section.toggleButton().setToolTip(f"{title}: click to unfold or to fold away. Default: folded away.")
    return section


def line() -> QFrame:
    """Return a thin line between sections."""
    frame = QFrame()
    frame.setFrameShape(QFrame.Shape.HLine)
    frame.setFixedHeight(1)
    return frame


class VerticalScrollArea(QScrollArea):
    """A scroll area that is never narrower than its content and the bar beside it."""

    def minimumSizeHint(self) -> QSize:
        """Leave room for the bar, which would otherwise cover the right edge of the content."""
        hint = super().minimumSizeHint()
        content, bar = self.widget(), self.verticalScrollBar()
        if content is not None and bar is not None:
            hint.setWidth(content.minimumSizeHint().width() + bar.sizeHint().width())
        return hint

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more room when the content needs it: Qt's own areas only scroll then."""
        if event is not None and watched is self.widget() and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class CanvasKeys(QObject):
    """Keeps the keys of the canvas working after the mouse was in the panel.

    A click on a button leaves the focus where it was (Tab still reaches it, and one that is disabled hands it to the
    next field otherwise), Enter in a number gives it back, and lists do not search their rows for letters.
    """

    def serve(self, panel: QWidget) -> None:
        """Look after all that is in a panel."""
        for made in panel.findChildren(QAbstractButton):
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for area in panel.findChildren(VerticalScrollArea):
            area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it would get the focus instead, and the arrow keys
        for box in panel.findChildren(QAbstractSpinBox):
            box.editingFinished.connect(box.clearFocus)
        for widget in (*panel.findChildren(QAbstractItemView), *panel.findChildren(QComboBox)):
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Leave letters and digits to whoever contains the widget, and so in the end to napari."""
        pressed, window = cast(Any, event), cast(Any, watched).window()
        if pressed.type() != QEvent.Type.KeyPress or window.windowType() == Qt.WindowType.Popup:
            return False
        text = pressed.text().strip()
        passed = bool(text) and text.isprintable()
        if passed:
            pressed.ignore()
        return passed


def scrolling(content: QWidget) -> QScrollArea:
    """Return a scroll area that lets content scroll vertically rather than be cut off."""
    area = VerticalScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    for choice in content.findChildren(QComboBox):
        # A long entry must not make the panel wider than its place.
        choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        choice.setMinimumContentsLength(6)
    area.setWidget(content)
    return area
