"""Whether the session that is open may be changed here, and what can be done if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_semiseg.gui.problems import told
from napari_semiseg.session.lock import holder_of

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.session import Session

LOOK_MS = 2000
"""How often it is looked whether the other program has closed the session."""


class Access:
    """Keeps the annotation layer from being painted on while the session is read-only.

    Signals
    -------
    changed()
        `why_not` or `is_free` changed.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.is_free = False
        """Whether nobody holds the session any more, so that it can be taken over."""
        self._session: Session | None = None
        self._timer = QTimer()
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        desk.session_changed.connect(self._on_session)
        desk.volume_changed.connect(self._apply)

    @property
    def why_not(self) -> str:
        """Why the session cannot be changed; empty if it can."""
        return "" if self.desk.session is None else self.desk.session.why_read_only

    def close(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._listen(None)

    @told
    def take_over(self) -> None:
        """Open the session again, as the program that may change it."""
        if self.desk.session is not None:
            self.desk.binder.open(self.desk.session.path)

    def _on_session(self) -> None:
        if self.desk.session is not self._session:
            self._listen(self.desk.session)
        self._apply()

    def _listen(self, session: Session | None) -> None:
        if self._session is not None:
            self._session.access_changed.disconnect(self._heard)
        self._session = session
        if session is not None:
            session.access_changed.connect(self._heard)

    def _heard(self) -> None:
        # It may come from the thread that keeps the lock.
        self.desk.disk.run(lambda: None, lambda _: self._apply())

    def _apply(self) -> None:
        why_not, sheet = self.why_not, self.desk.sheet
        self.is_free = False
        self.desk.training.only_watch = bool(why_not)
        if sheet is not None:
            if not why_not and not sheet.annotation.editable:
                sheet.annotation.editable = True
                sheet.annotation.mode = "paint"
            sheet.annotation.editable = not why_not
        if why_not and not self._timer.isActive():
            self._timer.start()
        elif not why_not:
            self._timer.stop()
        self.changed.emit()

    def _look(self) -> None:
        session = self.desk.session
        if session is None:
            return

        def looked(is_free: bool) -> None:
            if session is self.desk.session and is_free != self.is_free:
                self.is_free = is_free
                self.changed.emit()

        self.desk.disk.run(lambda: session.path.is_dir() and holder_of(session.path) is None, looked)
