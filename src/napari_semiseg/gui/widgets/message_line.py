"""One sentence at the bottom of the panel; errors stay until they are dismissed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_semiseg.gui import theme
from napari_semiseg.gui.widgets.pieces import row


class MessageLine(QWidget):
    """Shows the latest sentence, the latest error until dismissed, and an offer with its button.

    Parameters
    ----------
    theme_name : str
        napari theme whose colours mark warnings and errors.
    """

    def __init__(self, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self._theme = theme_name
        self._action: Callable[[], Any] | None = None
        self._severity = "info"
        self.text = self._label()
        self.error = self._label()
        self.dismiss = QToolButton()
        self.dismiss.setText("×")
        self.dismiss.setAutoRaise(True)
        self.dismiss.setToolTip("Dismiss this message")
        self.dismiss.clicked.connect(self.clear_error)
        self.act = QPushButton()
        self.act.setToolTip("Do what is offered")
        self.act.clicked.connect(self._on_act)
        self.decline = QToolButton()
        self.decline.setText("×")
        self.decline.setAutoRaise(True)
        self.decline.setToolTip("Not now")
        self.decline.clicked.connect(self._end_offer)
        self._error_row = QWidget()
        self._error_row.setLayout(row(self.error, self.dismiss))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._error_row)
        layout.addLayout(row(self.text, self.decline))
        layout.addLayout(row(self.act, None))
        self.clear_error()
        self._end_offer()

    def show_message(self, text: str, severity: str = "info") -> None:
        """Show a sentence; an error is kept readable beside later sentences."""
        if severity == "error":
            self.error.setText(text)
            self._error_row.setVisible(True)
        else:
            self._end_offer()
            self._severity = severity
            self.text.setText(text)
        self._paint()

    def take_back(self, text: str) -> None:
        """Take a sentence away if it is the one that is shown."""
        if self.text.text() == text:
            self.text.clear()

    def show_offer(self, text: str, title: str, action: Callable[[], Any]) -> None:
        """Show a sentence with a button for what can be done about it."""
        self._severity = "info"
        self.text.setText(text)
        self.act.setText(title)
        self.act.setToolTip(f"{title}: {text}")
        self._action = action
        self.act.setVisible(True)
        self.decline.setVisible(True)
        self._paint()

    def clear_error(self) -> None:
        """Take the error away."""
        self.error.clear()
        self._error_row.setVisible(False)

    def set_theme(self, theme_name: str) -> None:
        """Follow napari's theme."""
        self._theme = theme_name
        self._paint()

    def _end_offer(self) -> None:
        if self._action is not None:
            self.text.clear()
        self._action = None
        self.act.setVisible(False)
        self.decline.setVisible(False)

    def _on_act(self) -> None:
        action = self._action
        self._end_offer()
        if action is not None:
            action()

    def _paint(self) -> None:
        role = "warning" if self._severity == "warning" else "text"
        self.text.setStyleSheet(f"color: {theme.colour(self._theme, role)};")
        self.error.setStyleSheet(f"color: {theme.colour(self._theme, 'error')}; font-weight: bold;")

    @staticmethod
    def _label() -> QLabel:
        label = QLabel()
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        return label
