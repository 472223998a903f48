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


def test_texts_that_follow_the_shown_slice_lay_nothing_out_anew(opened, qtbot):
    from qtpy.QtCore import QEvent, QObject
    from qtpy.QtWidgets import QApplication, QWidget

    from napari_semiseg.gui.widgets.pieces import SteadyLabel, caption, column

    panel, _ = opened
    assert isinstance(panel.label.slices.title, SteadyLabel)
    assert isinstance(panel.label.slices.meaning, SteadyLabel)
    requests = []

    class Watcher(QObject):
        def eventFilter(self, watched, event):
            if event.type() == QEvent.Type.LayoutRequest:
                requests.append(watched)
            return False

    watcher = Watcher()

    def requests_of(label):
        box = QWidget()
        qtbot.addWidget(box)
        box.setLayout(column(label))
        box.resize(200, 100)
        box.show()
        label.setText("short")
        QApplication.processEvents()
        requests.clear()
        box.installEventFilter(watcher)
        label.setText("a text that is so much longer that it needs a second line, or even a third")
        QApplication.processEvents()
        box.removeEventFilter(watcher)
        return len(requests)

    assert requests_of(caption()) > 0  # an ordinary label does
    assert requests_of(SteadyLabel(lines=2)) == 0
