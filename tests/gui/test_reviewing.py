"""The strip, accepting by click, rounds and measurements, by mouse and key in one window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication
from tests.gui.conftest import waits_of_the_window

from napari_semiseg import api
from napari_semiseg.engine.events import Finished
from napari_semiseg.gui.annotation_layer import set_plane
from napari_semiseg.gui.survey import SliceLine
from napari_semiseg.gui.widgets.slice_strip import HEIGHT, state_colour
from napari_semiseg.session import Session, SliceState, folder
from napari_semiseg.session.sample import create_sample

pytestmark = pytest.mark.gui
CONTROL = Qt.KeyboardModifier.ControlModifier
FAST = {"method": "supervised", "device": "cpu", "settings": {"crop": 64, "longest_side": 64}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A phantom with five slices, of which one is held out, and two short rounds."""
    session, _ = create_sample(tmp_path_factory.mktemp("trained") / "heart.semiseg")
    for steps in (30, 2):
        list(api.train(session, steps=steps, **FAST))
    session.close()
    return session.path


def ctrl_click_strip(hands, strip, plane):
    hands.qtbot.mouseClick(
        strip, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, strip.cell(plane).center().toPoint()
    )


def shift_click(hands, row, column):
    place = hands.pixel(row, column)
    hands.qtbot.mouseClick(hands.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, place)


def test_reviewing(make_panel, trained, tmp_path, monkeypatch):
    panel, hands = make_panel()
    desk = panel.desk
    waits = waits_of_the_window(monkeypatch, folder, "rounds_in")
    desk.binder.open(trained)
    hands.wait(lambda: desk.sheet is not None and desk.survey.found.ranked and desk.survey.held_out, 30)
    hands.wait(lambda: len(desk.history.rounds) == 2, 30)
    hands.qtbot.wait(200)
    the_strip(panel, hands)
    a_map_leaves_the_image_as_it_is_where_it_says_nothing(panel, hands)
    next_slices(panel, hands)
    accepting_by_click(panel, hands)
    the_rounds(panel, hands)
    the_sizes(panel, hands, tmp_path, monkeypatch)
    hands.wait(lambda: not desk.keeper.pending)
    assert not waits


def the_strip(panel, hands):
    desk, strip = panel.desk, panel.strip.strip
    sheet = desk.sheet
    annotated = desk.marks.annotated()
    assert desk.survey.held_out == {annotated[2]}
    assert strip.isVisible()
    assert strip.height() == HEIGHT
    assert strip.width() > 300
    assert panel.strip.mapTo(hands.window, QPoint(0, 0)).y() > hands.canvas.mapTo(hands.window, QPoint(0, 0)).y()

    hands.qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=strip.cell(annotated[0]).center().toPoint())
    assert sheet.plane == annotated[0]
    image = strip.grab().toImage()
    for plane in (annotated[1], annotated[1] + 1):
        cell = strip.cell(plane)
        shown = image.pixelColor(round(cell.left() + 2), round(cell.top() + 2))
        assert shown.name() == state_colour(str(sheet.states[plane]), str(panel.viewer.theme))
    shown = strip._lines
    strip._lines = [SliceLine("complete" if plane % 2 else "unlabelled", plane == 7, "", 0.5) for plane in range(321)]
    image = strip.grab().toImage()
    assert {image.pixelColor(x, round(strip.cell(0).center().y())).name() for x in range(0, strip.width(), 3)} >= {
        state_colour(state, str(panel.viewer.theme)) for state in ("complete", "unlabelled")
    }
    assert [strip.plane_at(strip.cell(plane).center().x()) for plane in range(321)] == list(range(321))
    strip._lines = shown
    tip = strip.tip(strip.cell(annotated[2]).center().x())
    for part in (f"Slice {annotated[2]}: complete", "held out", "mean entropy"):
        assert part in tip

    ctrl_click_strip(hands, strip, annotated[1])
    hands.wait(lambda: annotated[1] in desk.survey.held_out)
    desk.sheet.go_to(annotated[1])
    hands.key(Qt.Key.Key_H)
    hands.wait(lambda: annotated[1] not in desk.survey.held_out)
    volume = sheet.entry.id
    assert not Session.open(desk.session.path).annotation(volume).decided[annotated[1]]
    desk.sheet.go_to(annotated[0] + 1)
    desk.survey.hold_out()
    assert "only complete slices" in panel.messages.error.text()

    hands.key(Qt.Key.Key_A)
    assert sheet.plane == annotated[1]
    hands.key(Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert sheet.plane == annotated[0]
    hands.key(Qt.Key.Key_N)
    assert sheet.plane in desk.survey.suggested
    hands.key(Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    assert sheet.states[sheet.plane] is SliceState.REVIEWED
    reviewed = sheet.plane
    for _ in range(len(sheet.states)):
        hands.key(Qt.Key.Key_U)
        assert sheet.plane != reviewed
    desk.marks.set(reviewed, SliceState.UNLABELLED)
    hands.click(panel.strip.buttons["annotated", 1])
    assert sheet.plane in annotated


def a_map_leaves_the_image_as_it_is_where_it_says_nothing(panel, hands):
    desk, sheet = panel.desk, panel.desk.sheet
    desk.show_overlay("labels", False)
    sheet.go_to(desk.survey.found.ranked[0].plane)
    entropy, image = sheet.overlays.stored.entropy[sheet.plane], sheet.image.data[sheet.plane]
    certain = np.argwhere((entropy == 0) & (image > np.percentile(image, 80)))[0]
    unsure = np.unravel_index(entropy.argmax(), entropy.shape)

    def colours() -> list[list[int]]:
        canvas = panel.viewer.screenshot(canvas_only=True, flash=False)
        places = [hands.pixel(*voxel) for voxel in (certain, unsure)]
        return [canvas[place.y(), place.x(), :3].tolist() for place in places]

    before = colours()
    hands.key(Qt.Key.Key_2, CONTROL)
    assert sheet.overlays.visible("entropy")
    assert panel.review.toggles["entropy"].isChecked()
    after = colours()
    hands.key(Qt.Key.Key_2, CONTROL)
    assert not sheet.overlays.visible("entropy")
    hands.key(Qt.Key.Key_1, CONTROL)
    assert sheet.overlays.visible("labels")
    hands.key(Qt.Key.Key_6, CONTROL)
    assert "Compare two rounds first" in panel.messages.error.text()
    panel.messages.clear_error()
    assert after[0] == before[0]
    assert after[1] != before[1]


def next_slices(panel, hands):
    desk, tab = panel.desk, panel.review.slices
    panel.tabs.setCurrentIndex(2)
    hands.wait(lambda: tab.list.count() == len(desk.survey.found.ranked) > 1)
    first = desk.survey.found.ranked[0]
    assert tab.list.item(0).text() == first.reason
    tab.list.itemClicked.emit(tab.list.item(1))
    assert desk.sheet.plane == desk.survey.found.ranked[1].plane
    hands.click(tab.spaced[0])
    assert desk.sheet.plane == desk.survey.found.equidistant[0].plane
    legend = panel.review.legends["entropy"].text()
    assert "Calibrated" in legend
    assert "calibration error" in legend


def accepting_by_click(panel, hands):
    desk, sheet = panel.desk, panel.desk.sheet
    stored = sheet.overlays.stored.labels[:]
    plane = next(p for p in range(len(stored)) if sheet.states[p] is SliceState.UNLABELLED and (stored[p] == 3).any())
    sheet.go_to(plane)
    predicted = stored[plane]
    row, column = np.argwhere(predicted == 3)[len(np.argwhere(predicted == 3)) // 2]
    hands.key(Qt.Key.Key_R)
    assert desk.accepting.active
    assert panel.review.clicking.isChecked()
    panel.review.unit.setCurrentIndex(panel.review.unit.findData("class"))
    panel.viewer.dims.ndisplay = 3
    hands.stroke((row + 9, column + 9))  # at the same place the next click would be a double click
    panel.viewer.dims.ndisplay = 2
    assert "In the 3D view a click has no slice" in panel.messages.text.text()
    assert not sheet.annotation.data[plane].any()
    hands.stroke((row, column))
    painted = sheet.annotation.data[plane]
    np.testing.assert_array_equal(painted == 3, predicted == 3)
    assert sheet.states[plane] is SliceState.SCRIBBLED, "nothing is said of the rest of the slice"
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not sheet.annotation.data[plane].any()
    hands.wait(lambda: sheet.states[plane] is SliceState.UNLABELLED)
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 3, predicted == 3)
    hands.wait(lambda: sheet.states[plane] is SliceState.SCRIBBLED)

    shift_click(hands, row, column)
    assert not (sheet.annotation.data[plane] == 255).any(), "painted voxels stay"
    assert "painted already" in panel.messages.text.text()
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    shift_click(hands, *np.argwhere(predicted == 3)[5])  # at the same place it would be a double click
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 255, predicted == 3)
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)

    hands.key(Qt.Key.Key_Y)
    np.testing.assert_array_equal(sheet.annotation.data[plane], predicted)
    assert sheet.states[plane] is SliceState.COMPLETE
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)

    panel.review.unit.setCurrentIndex(panel.review.unit.findData("superpixel"))
    hands.stroke((row, column))
    hands.wait(lambda: sheet.annotation.data[plane].any(), 20)
    taken = sheet.annotation.data[plane]
    assert 0 < (taken == 3).sum() <= (predicted == 3).sum()
    numbers = desk.regions.superpixels_of(plane)
    np.testing.assert_array_equal(taken != 0, numbers == numbers[row, column])
    computed = desk.regions.computed["superpixels"]
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    sheet.go_to(plane + 1)
    sheet.go_to(plane)
    hands.wait(lambda: desk.regions.superpixels_of(plane) is not None)
    hands.key(Qt.Key.Key_P, Qt.KeyboardModifier.ShiftModifier)
    assert not desk.accepting.active
    hands.stroke((row, column))
    np.testing.assert_array_equal(sheet.annotation.data[plane] != 0, numbers == numbers[row, column])
    assert desk.regions.computed["superpixels"] <= computed + 1, "the brush knows the superpixels of the clicks"
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hands.key(Qt.Key.Key_R)
    locked_classes(panel, hands, plane, (row, column))
    hands.key(Qt.Key.Key_R)
    assert not desk.accepting.active
    assert str(sheet.annotation.mode) == "paint"


def locked_classes(panel, hands, plane, place):
    """What is painted in a locked class stays, whether the prediction is accepted or rejected there."""
    desk, sheet = panel.desk, panel.desk.sheet
    predicted = sheet.overlays.stored.labels[plane]
    wrong = (predicted == 3) & (np.arange(predicted.shape[1]) < place[1])
    assert wrong.any()
    set_plane(sheet.annotation, plane, np.where(wrong, 1, 0).astype(np.uint8))
    desk.keeper.look()
    desk.brush.toggle_lock(1)
    panel.review.overwrite.setChecked(True)
    panel.review.unit.setCurrentIndex(panel.review.unit.findData("class"))
    hands.stroke(place)
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 1, wrong)
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 3, (predicted == 3) & ~wrong)
    assert f"{wrong.sum()} of locked classes stayed" in panel.messages.text.text()
    shift_click(hands, *np.argwhere(predicted == 3)[5])
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 1, wrong)
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 255, (predicted == 3) & ~wrong)
    steps = len(sheet.annotation._undo_history)
    hands.qtbot.wait(QApplication.doubleClickInterval())
    shift_click(hands, *np.argwhere(predicted == 3)[5])
    assert "locked class" in panel.messages.text.text()
    assert len(sheet.annotation._undo_history) == steps
    hands.key(Qt.Key.Key_Y)
    np.testing.assert_array_equal(sheet.annotation.data[plane] == 1, wrong)
    assert (sheet.annotation.data[plane][~wrong] == predicted[~wrong]).all()
    assert sheet.states[plane] is SliceState.COMPLETE
    assert "locked classes stayed" in panel.messages.text.text()
    desk.brush.toggle_lock(1)
    panel.review.overwrite.setChecked(False)


def the_rounds(panel, hands):
    desk, rounds = panel.desk, panel.train.rounds
    panel.tabs.setCurrentIndex(1)
    assert rounds.list.count() == 2
    assert "Dice" in rounds.list.item(0).text()
    assert "(current)" in rounds.list.item(0).text()
    assert not rounds.restore.isEnabled()
    assert "Select one round" in rounds.restore.toolTip()
    assert "another round with more slices" in rounds.verdict.text()
    for index in (0, 1):
        rounds.list.item(index).setSelected(True)
    hands.click(rounds.compare)
    hands.wait(lambda: desk.history.comparison is not None, 20)
    assert desk.sheet.overlays.visible("difference")
    assert "ml" in rounds.changes.text()
    one, two = (entry.prediction(desk.sheet.entry.id).labels[:] for entry in desk.session.rounds())
    shown = np.asarray(desk.sheet.overlays.made["difference"].data)
    np.testing.assert_array_equal(shown != 0, one != two)
    rounds.list.item(0).setSelected(False)
    hands.click(rounds.restore)
    hands.wait(lambda: desk.history.current == 1, 20)
    assert desk.session.latest_round().number == 1
    hands.wait(lambda: np.array_equal(np.asarray(desk.sheet.overlays.stacks["labels"][4]), one[4]))
    rounds.list.item(1).setSelected(False)
    rounds.list.item(0).setSelected(True)
    hands.click(rounds.show_round)
    hands.wait(lambda: np.array_equal(np.asarray(desk.sheet.overlays.stacks["labels"][4]), two[4]), 20)
    assert desk.session.latest_round().number == 1, "showing is not going back"
    desk.training.ended.emit(Finished(reason="budget", steps=2, seconds=1.0))
    hands.wait(lambda: "Dice" in panel.messages.text.text())
    assert panel.messages.act.text() == "Final training on all slices"
    assert panel.train.plan().hold_out
    panel.train.final.setChecked(True)
    assert not panel.train.plan().hold_out


def the_sizes(panel, hands, folder, monkeypatch):
    desk, sizes = panel.desk, panel.export.sizes
    panel.tabs.setCurrentIndex(3)
    panel.export.section.expand(animate=False)
    assert not sizes.copy.isEnabled()
    hands.qtbot.wait(100)
    panel.messages.clear_error()
    hands.click(sizes.measure)
    hands.wait(lambda: desk.sizes.found or panel.messages.error.text(), 20)
    assert desk.sizes.found, panel.messages.error.text()
    assert sizes.table.rowCount() == 3
    for index, entry in enumerate(desk.sizes.found):
        texts = "\n".join(sizes.table.item(index, column).text() for column in range(3))
        for part in (f"{entry.volume_ml:.2f} ml", f"{entry.voxels} voxels", f"{entry.slices} slices", "Ø", "×"):
            assert part in texts
    hands.window.resize(1280, 800)
    hands.wait(lambda: sizes.table.horizontalHeader().length() <= sizes.table.viewport().width())
    hands.click(sizes.copy)
    assert QApplication.clipboard().text() == desk.sizes.as_text()
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getSaveFileName", lambda *a, **k: (str(folder / "s.csv"), ""))
    hands.click(sizes.csv)
    hands.wait(lambda: (folder / "s.csv").exists())
    assert (folder / "s.csv").read_text().count("\n") == 4
