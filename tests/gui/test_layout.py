"""Nothing of the panel is cut off in a window of 1280 × 800."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication, QLabel, QWidget

pytestmark = pytest.mark.gui


def test_every_tab_is_as_wide_as_its_content_also_beside_a_scroll_bar(opened):
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


def test_the_title_below_a_plot_is_not_cut_off(opened):
    panel, _ = opened
    panel.tabs.setCurrentIndex(1)
    panel.train.plot.setVisible(True)  # as it is once there are steps
    panel.train.rounds.section.expand(animate=False)
    QApplication.processEvents()
    for chart in (panel.train.plot, panel.train.rounds.plot):
        axis = chart.plot.getAxis("bottom")
        letters = axis.label.mapRectToScene(axis.label.boundingRect())
        assert letters.bottom() <= chart.plot.sceneRect().bottom() + 1
        assert letters.top() >= axis.mapRectToScene(axis.boundingRect()).top()


def test_content_that_needs_more_room_widens_the_panel(opened):
    panel, hands = opened
    hands.window.resize(1280, 800)
    area = panel.tabs.currentWidget()
    wide = QLabel("wide")
    wide.setMinimumSize(panel.width() + 20, 1000)
    area.widget().layout().addWidget(wide)
    hands.wait(lambda: area.verticalScrollBar().isVisible(), 5)
    hands.wait(lambda: area.viewport().width() >= area.widget().width() > wide.minimumWidth(), 5)


class Layouts(QObject):
    """Notes which widgets are laid out anew, by their kind."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts
        self.seen = []

    def eventFilter(self, watched, event):
        laid_out = event.type() == QEvent.Type.LayoutRequest and isinstance(watched, QWidget)
        if laid_out and any(watched is part or part.isAncestorOf(watched) for part in self.parts):
            self.seen.append(type(watched).__name__)
        return False


def test_showing_another_slice_lays_nothing_out_anew(opened):
    panel, hands = opened
    sheet = panel.desk.sheet
    sheet.go_to(6)
    hands.fill_circle(32, 36, 8)
    hands.wait(lambda: panel.desk.marks.annotated() == [6])
    hands.wait(lambda: not panel.desk.keeper.pending)
    for section in (panel.label.tool_section, panel.label.section):
        section.expand(animate=False)
    panel.desk.show_overlay("superpixels")
    hands.wait(lambda: panel.desk.regions.superpixels_of(6) is not None)
    hands.wait(lambda: panel.desk.survey.found.equidistant)
    hands.qtbot.wait(500)  # the list of volumes and the hints follow, too
    layouts, drawn = Layouts(panel, panel.strip), panel.strip.strip.drawn
    QApplication.instance().installEventFilter(layouts)
    copying = []
    for plane in (5, 6, 7, 11, 0):  # unlabelled, complete, and the ends: other states, titles, buttons
        sheet.go_to(plane)
        QApplication.processEvents()
        copying.append((panel.label.tools.before.isEnabled(), panel.label.tools.after.isEnabled()))
    QApplication.instance().removeEventFilter(layouts)
    assert copying == [(False, True), (False, False), (True, False), (True, False), (False, True)]
    assert layouts.seen == []
    assert panel.strip.strip.drawn == drawn, "hundreds of slices are drawn anew to move a frame"


def test_texts_that_follow_the_shown_slice_lay_nothing_out_anew(opened, qtbot):
    from napari_semiseg.gui.widgets.pieces import SteadyLabel, caption, column

    panel, _ = opened
    assert isinstance(panel.label.slices.title, SteadyLabel)
    assert isinstance(panel.label.slices.meaning, SteadyLabel)

    def requests_of(label):
        box = QWidget()
        layouts = Layouts(box)
        qtbot.addWidget(box)
        box.setLayout(column(label))
        box.resize(200, 100)
        box.show()
        label.setText("short")
        QApplication.processEvents()
        box.installEventFilter(layouts)
        label.setText("a text that is so much longer that it needs a second line, or even a third")
        QApplication.processEvents()
        box.removeEventFilter(layouts)
        return len(layouts.seen)

    assert requests_of(caption()) > 0  # an ordinary label does
    assert requests_of(SteadyLabel(lines=2)) == 0
