"""A bar that says why nothing can be painted, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.pieces import MARGIN, allow, button, column, row, sentence


class AccessBar(QWidget):
    """Shown while the session is read-only.

    Parameters
    ----------
    desk : Desk
    save_as : callable
        Asks for a place and saves a copy there.
    """

    def __init__(self, desk: Desk, save_as: Callable[[], None], parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self.setProperty("role", "notice")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.text = sentence()
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.take_over = button(
            "Take over", "Open the session again, this time to change it", lambda: desk.access.take_over()
        )
        self.save_as = button("Save a copy…", "Go on with a copy of the session in another folder", save_as)
        self.setLayout(column(self.text, row(self.take_over, self.save_as, None), margin=MARGIN))
        desk.access.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        access = self.desk.access
        self.text.setText(f"Read-only: {access.why_not}")
        allow(self.take_over, None if access.is_free else "Possible as soon as nobody else has the session open.")
        self.setVisible(bool(access.why_not))
