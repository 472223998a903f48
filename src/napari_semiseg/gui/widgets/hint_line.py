"""What to do next, in one sentence above the tabs."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QMenu, QToolButton, QWidget

from napari_semiseg.gui.hints import Hints
from napari_semiseg.gui.widgets.pieces import row, sentence


class HintLine(QFrame):
    """Shows the present hint with a cross that dismisses it for good."""

    def __init__(self, hints: Hints, parent: QWidget | None = None):
        super().__init__(parent)
        self.hints = hints
        self.text = sentence()
        self.text.setToolTip("What to do next. The cross dismisses this hint; its menu all of them.")
        self.cross = QToolButton()
        self.cross.setText("×")
        self.cross.setAutoRaise(True)
        self.cross.setToolTip("Do not show this hint again. Right-click for no hints at all, or for all of them again.")
        self.cross.clicked.connect(lambda: hints.dismiss())
        self.cross.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.cross.customContextMenuRequested.connect(self._on_menu)
        self.menu = QMenu(self)
        for title, action in (
            ("Do not show this hint again", hints.dismiss),
            ("Show no hints at all", hints.dismiss_all),
            ("Show all hints again", hints.bring_back),
        ):
            added = self.menu.addAction(title)
            assert added is not None
            added.triggered.connect(lambda _=False, action=action: action())
        layout = row(self.text, self.cross)
        layout.setAlignment(self.cross, Qt.AlignmentFlag.AlignTop)
        self.setLayout(layout)
        self.setProperty("role", "hint")
        hints.changed.connect(self.show_text)
        hints.refresh()
        self.show_text(hints.text)

    def show_text(self, text: str) -> None:
        """Show a sentence; nothing takes no room."""
        self.text.setText(text)
        self.setVisible(bool(text))

    def _on_menu(self, place: Any) -> None:
        self.menu.popup(self.cross.mapToGlobal(place))
