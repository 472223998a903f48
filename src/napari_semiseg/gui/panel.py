"""The dock widget "Semiseg"."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, QSize, QTimer
from qtpy.QtWidgets import QMessageBox, QTabWidget, QWidget
from superqt import QCollapsible

from napari_semiseg.gui import theme
from napari_semiseg.gui.activity import ActivityBar
from napari_semiseg.gui.catalogue import Catalogue
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.dropping import Dropping
from napari_semiseg.gui.hints import Hints
from napari_semiseg.gui.letters import Letters
from napari_semiseg.gui.widgets.export_tab import ExportTab
from napari_semiseg.gui.widgets.header import Header
from napari_semiseg.gui.widgets.hint_line import HintLine
from napari_semiseg.gui.widgets.key_sheet import KeySheet
from napari_semiseg.gui.widgets.label_tab import LabelTab
from napari_semiseg.gui.widgets.message_line import MessageLine
from napari_semiseg.gui.widgets.pieces import MARGIN, CanvasKeys, column, scrolling
from napari_semiseg.gui.widgets.review_tab import ReviewTab
from napari_semiseg.gui.widgets.slice_strip import StripBar
from napari_semiseg.gui.widgets.train_tab import TrainTab
from napari_semiseg.gui.widgets.volumes_tab import KEYS, VolumesTab

if TYPE_CHECKING:
    import napari

WARM_AFTER_MS = 1500
WIDTH = 360
TITLE = "Semiseg (Semiseg)"
"""As napari's menu calls the panel, so that the menu shows the one that is open and makes no second one."""


class Panel(QWidget):
    """Header, five tabs, message line.

    Parameters
    ----------
    napari_viewer : Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__()
        # Qt sends events while the children are built.
        self._window: QWidget | None = None
        self._dropping: Dropping | None = None
        self._closing = False
        self.viewer = napari_viewer
        self.desk = Desk(napari_viewer)
        theme_name = str(napari_viewer.theme)
        self.header = Header(self.desk)
        self.label = LabelTab(self.desk)
        self.train = TrainTab(self.desk, theme_name)
        self.review = ReviewTab(self.desk)
        self.export = ExportTab(self.desk)
        self.volumes = VolumesTab(self.desk)
        self.tabs = QTabWidget()
        for title, tab in (
            ("Label", self.label),
            ("Train", self.train),
            ("Review", self.review),
            ("Export", self.export),
            ("Volumes", self.volumes),
        ):
            self.tabs.addTab(scrolling(tab), title)
        self.tabs.currentChanged.connect(self._on_tab)
        self.messages = MessageLine(theme_name)
        self.hint = HintLine(Hints(self.desk))
        self.strip = StripBar(self.desk, theme_name)
        self.letters = Letters(self.desk)
        self.activity = ActivityBar(self.desk.training)
        self.catalogue = Catalogue(self.desk.compute)
        self.strip_dock = napari_viewer.window.add_dock_widget(self.strip, name="Slices", area="bottom")
        # No title: it saves room, and nobody closes the strip while the panel is open.
        self.strip_dock.setTitleBarWidget(QWidget())
        self.setLayout(column(self.header, self.hint, self.tabs, self.messages, margin=MARGIN))
        self._canvas_keys = CanvasKeys(self)
        self._canvas_keys.serve(self)
        self._paint(theme_name)
        self.desk.message.connect(self.messages.show_message)
        self.desk.outdated.connect(self.messages.take_back)
        self.desk.offer.connect(self.messages.show_offer)
        self.desk.keys_wanted.connect(self.show_keys)
        self.desk.training_wanted.connect(self.train.begin)
        napari_viewer.events.theme.connect(self._on_theme)
        # napari destroys a dock that is closed by its cross, without a close event for what is inside.
        self._farewell = Farewell(self.desk, self.letters, self.activity, self.strip_dock)
        self.destroyed.connect(self._farewell)
        self._warm = QTimer(self)
        self._warm.setSingleShot(True)
        self._warm.setInterval(WARM_AFTER_MS)
        self._warm.timeout.connect(self._on_idle)
        self._warm.start()
        for key, by in KEYS.items():
            napari_viewer.bind_key(key, _stepper(self.desk, by), overwrite=True)
        self.desk.take_present_layers()

    def showEvent(self, event: Any) -> None:
        """Find the window whose closing ends the desk."""
        super().showEvent(event)
        window = self.window()
        if window is not None and window is not self._window and window is not self:
            if self._window is not None:
                self._window.removeEventFilter(self)
            self._window = window
            window.installEventFilter(self)
            self._dropping = self._dropping or Dropping(self.desk, self)
            self._dropping.serve(window)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Save when the window is asked to close, and let go when it does (the user may still refuse)."""
        if event is not None and watched is self._window:
            if event.type() == QEvent.Type.Close:
                self._closing = True
                QTimer.singleShot(0, self._not_closing)
                self.desk.keeper.flush()
            elif event.type() == QEvent.Type.Hide and self._closing and not event.spontaneous():
                self.end()
        return False

    def closeEvent(self, event: Any) -> None:
        """Let go of everything."""
        self.end()
        super().closeEvent(event)

    def end(self) -> None:
        """Write what is left and let go of viewer, worker and threads; may be called again."""
        if self.desk.closed:
            return
        self._warm.stop()
        if self._window is not None:
            # Qt may outlive what Python knows of this panel; no event may come then.
            self._window.removeEventFilter(self)
            self._window = None
        if self._dropping is not None:
            self._dropping.stop()
        self._farewell()
        if self._closing and self.desk.farewell:
            # The window goes, and its messages with it.
            QMessageBox.warning(None, "napari-semiseg", "\n\n".join(self.desk.farewell))

    def show_keys(self) -> KeySheet:
        """Show the list of keys beside the work."""
        sheet = KeySheet(self.desk, self)
        sheet.show()
        return sheet

    def _not_closing(self) -> None:
        self._closing = False

    def minimumSizeHint(self) -> QSize:
        """Return a size at which no tab is cut off."""
        hint = super().minimumSizeHint()
        hint.setWidth(max(WIDTH, hint.width()))
        return hint

    def sizeHint(self) -> QSize:
        """Return a size that leaves the canvas most of a window of 1280 × 800."""
        return QSize(WIDTH, 640)

    def _on_theme(self, event: Any) -> None:
        self._paint(str(event.value))

    def _paint(self, theme_name: str) -> None:
        self.setStyleSheet(theme.stylesheet(theme_name))
        for part in (self.messages, self.train.plot, self.train.rounds, self.strip):
            part.set_theme(theme_name)
        for section in self.findChildren(QCollapsible):
            section.setExpandedIcon(theme.icon("down_arrow", theme_name))
            section.setCollapsedIcon(theme.icon("right_arrow", theme_name))

    def _on_tab(self, index: int) -> None:
        if index == 1:
            self.catalogue.want(self.train.show_methods)

    def _on_idle(self) -> None:
        self.desk.training.warm()


def _stepper(desk: Desk, by: int) -> Callable[[object], None]:
    """Return what a key does; napari asks functions for their name, so that a partial would not do."""

    def step(_: object) -> None:
        desk.step(by)

    return step


class Farewell:
    """Writes what is left and lets go; may be called again.

    A program that ends without closing the window has Qt's objects deleted in any order, a timer before the panel that
    stops it, and by then Python has ended the threads that write. So this is called first, as executors are.

    Parameters
    ----------
    desk : Desk
    letters : Letters
    activity : ActivityBar
    strip_dock : QWidget
    """

    def __init__(self, desk: Desk, letters: Letters, activity: ActivityBar, strip_dock: QWidget):
        self.desk, self.letters, self.activity, self.strip_dock = desk, letters, activity, strip_dock
        there = weakref.ref(self)
        threading._register_atexit(lambda: (farewell := there()) and farewell())  # type: ignore[attr-defined]

    def __call__(self, *_: object) -> None:
        """Do it; whoever calls may give anything."""
        if self.desk.closed:
            return
        # The window may be gone already, and the strip with it.
        with suppress(LookupError, RuntimeError):
            self.desk.viewer.window.remove_dock_widget(self.strip_dock)
        self.activity.close()
        self.letters.remove()
        for key in KEYS:
            self.desk.viewer.bind_key(key, None)
        self.desk.close()
        for sentence in self.desk.farewell:
            print(sentence, file=sys.stderr)
            with suppress(Exception):  # the window may be gone already
                show_warning(sentence)


def dock(viewer: napari.Viewer) -> Panel:
    """Return the panel of a viewer, shown; it is docked if it is not yet."""
    present = next((widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, Panel)), None)
    if present is None:
        present = Panel(viewer)
        viewer.window.add_dock_widget(present, name=TITLE)
    around = present.parentWidget()
    if around is not None and not around.isVisible():
        around.setVisible(True)
    return present
