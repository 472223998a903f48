"""Nothing of the panel is cut off in a window of 1280 × 800."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gui


def test_every_tab_is_as_wide_as_its_content_also_beside_a_scroll_bar(opened):
    from qtpy.QtWidgets import QApplication

    panel, hands = opened
    hands.window.resize(1280, 800)
    for index in range(panel.tabs.count()):
        panel.tabs.setCurrentIndex(index)
        area = panel.tabs.widget(index)
        area.widget().setMinimumHeight(2000)  # the bar is shown
        QApplication.processEvents()
        assert area.verticalScrollBar().isVisible()
        content = area.widget()
        assert content.width() <= area.viewport().width(), panel.tabs.tabText(index)
        assert content.minimumSizeHint().width() <= content.width(), panel.tabs.tabText(index)


def test_content_that_needs_more_room_widens_the_panel(opened):
    from qtpy.QtWidgets import QLabel

    panel, hands = opened
    hands.window.resize(1280, 800)
    area = panel.tabs.currentWidget()
    wide = QLabel("wide")
    wide.setMinimumSize(panel.width() + 20, 1000)
    area.widget().layout().addWidget(wide)
    hands.wait(lambda: area.verticalScrollBar().isVisible(), 5)
    hands.wait(lambda: area.viewport().width() >= area.widget().width() > wide.minimumWidth(), 5)


def test_going_through_slices_lays_nothing_out_anew(opened):
    from qtpy.QtCore import QEvent, QObject
    from qtpy.QtWidgets import QApplication

    panel, hands = opened
    hands.window.resize(1280, 800)
    laid_out = []

    class Watcher(QObject):
        def eventFilter(self, watched, event):
            if event.type() == QEvent.Type.LayoutRequest:
                laid_out.append(watched)
            return False

    panel.tabs.setCurrentIndex(0)
    QApplication.processEvents()
    watcher = Watcher()
    panel.installEventFilter(watcher)
    titles = set()
    for plane in range(4):
        panel.desk.viewer.dims.set_current_step(0, plane)
        QApplication.processEvents()
        titles.add(panel.label.slices.title.text())
    assert len(titles) == 4
    assert laid_out == []
