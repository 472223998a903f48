"""Locks, range mask, superpixels, proposals: with a real mouse and real keys. One window is shared: opening is slow."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.conftest import held_up

from napari_semiseg.gui.shortcuts import SHORTCUTS
from napari_semiseg.session import Session, SliceState

pytestmark = pytest.mark.gui
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


def settle(panel, hands) -> None:
    """Wait until everything is on disk."""
    hands.wait(lambda: panel.desk.session is not None and not panel.desk.keeper.pending)


def stored(panel):
    """Return what the disk says of the shown volume."""
    return Session.open(panel.desk.session.path).annotation(panel.desk.sheet.entry.id)


def clear(panel) -> None:
    """Leave nothing painted, locked or undoable to the next check."""
    desk = panel.desk
    for entry in desk.classes.all():
        if entry.locked:
            desk.brush.toggle_lock(entry.id)
    desk.brush_settings.set_masked(False)
    for tool in desk.canvas_tools:
        tool.set(False)
    desk.proposals.discard()
    layer = desk.sheet.annotation
    layer.data = np.zeros_like(layer.data)
    layer._reset_history()
    desk.keeper.look()
    for plane in range(len(layer.data)):
        desk.marks.set(plane, SliceState.UNLABELLED)
    layer.mode = "paint"
    layer.brush_size = 5
    desk.brush.select(1)


def steps(panel) -> int:
    """Return how many undo steps there are."""
    return len(panel.desk.sheet.annotation._undo_history)


def check_a_class_locked_while_the_session_is_created_stays_locked(panel, hands):
    desk = panel.desk
    hands.stroke((20, 20), (20, 40))
    hands.wait(lambda: desk.binder.creating or desk.session is not None)
    desk.brush.toggle_lock(1)
    desk.classes.update(2, name="Named meanwhile")
    settle(panel, hands)
    classes = Session.open(desk.session.path).classes
    assert [(entry.name, entry.locked) for entry in classes] == [("Structure 1", True), ("Named meanwhile", False)]


def check_locks_hold_against_every_tool(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    desk.sheet.go_to(5)
    layer.brush_size = 9
    hands.stroke((20, 20), (20, 40))
    first = layer.data[5].copy()
    assert first.any()
    hands.key(Qt.Key.Key_L, SHIFT)
    assert desk.classes.get(1).locked
    desk.brush.select(2)
    hands.stroke((8, 30), (32, 30))  # brush across
    assert (layer.data[5] == 2).any(), "the brush paints beside the locked class"
    assert (layer.data[5][first == 1] == 1).all(), "the brush overwrote a locked class"
    assert steps(panel) == 2, "a stroke and what it left alone are one step"
    layer.mode = "erase"
    hands.stroke((20, 18), (20, 42))
    assert (layer.data[5][first == 1] == 1).all(), "the eraser erased a locked class"
    layer.mode = "fill"
    hands.stroke((20, 25))
    assert (layer.data[5][first == 1] == 1).all(), "the bucket filled a locked class"
    assert "locked" in panel.messages.text.text()
    layer.mode = "polygon"
    for point in ((10, 15), (10, 45), (30, 45), (30, 15)):
        hands.stroke(point)
    hands.key(Qt.Key.Key_Return)
    layer.mode = "paint"
    assert (layer.data[5] == 2).sum() > 100, "the polygon was not painted"
    assert (layer.data[5][first == 1] == 1).all(), "the polygon overwrote a locked class"
    for _ in range(steps(panel) - 1):
        hands.key(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data[5], first)
    hands.key(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data[5], first, "undo erased a class that was locked since")
    assert "unlock" in panel.messages.text.text()
    desk.brush.toggle_lock(1)
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert not layer.data.any()
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    np.testing.assert_array_equal(layer.data[5], first)


def check_the_lock_is_a_column_and_is_kept(panel, hands):
    from napari_semiseg.gui.widgets.class_table import LOCK

    desk, table = panel.desk, panel.label.classes.table
    hands.stroke((20, 20), (20, 40))
    settle(panel, hands)
    table.item(0, LOCK).setCheckState(Qt.CheckState.Checked)
    assert desk.classes.get(1).locked
    assert desk.sheet.annotation.protected == [1]
    assert [entry.locked for entry in Session.open(desk.session.path).classes] == [True, False]
    assert not table.item(2, LOCK).flags() & Qt.ItemFlag.ItemIsUserCheckable, "background strokes cannot be locked"
    hands.key(Qt.Key.Key_B)
    desk.brush.toggle_lock()
    assert "cannot be locked" in panel.messages.error.text()


def check_the_range_mask(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    desk.sheet.go_to(5)
    image = desk.sheet.image.data[5]
    layer.brush_size = 21
    panel.label.tools.low.setValue(140)
    panel.label.tools.high.setValue(10_000)
    hands.key(Qt.Key.Key_M, SHIFT)
    assert panel.label.tools.masked.isChecked()
    hands.stroke((32, 14), (32, 40))
    painted = layer.data[5] == 1
    assert painted.any()
    assert image[painted].min() >= 140
    assert (image[25:40, 14:40][~painted[25:40, 14:40]] < 140).all()
    assert steps(panel) == 1
    layer.mode = "erase"
    hands.stroke((32, 14), (32, 40))
    assert not layer.data.any(), "erasing is free"
    layer.mode = "fill"
    hands.stroke((32, 30))
    assert (layer.data[5] == 1).any()
    assert image[layer.data[5] == 1].min() >= 140


def check_the_brush_is_measured_in_millimetres(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    assert desk.brush_settings.pixel == pytest.approx(1.25)
    panel.label.tools.diameter.setValue(10)
    assert layer.brush_size == 8
    hands.key(Qt.Key.Key_BracketRight)
    assert layer.brush_size == 9
    assert panel.label.tools.diameter.value() == pytest.approx(11.25, abs=0.06)  # shown with one decimal


def check_superpixels(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    desk.sheet.go_to(5)
    hands.key(Qt.Key.Key_P, SHIFT)
    assert panel.label.tools.superpixels.isChecked()
    hands.stroke((32, 36))  # before they are computed: painted when they are there
    hands.wait(lambda: layer.data[5].any())
    numbers = desk.regions.superpixels_of(5)
    np.testing.assert_array_equal(layer.data[5] == 1, numbers == numbers[32, 36])
    assert steps(panel) == 1
    hands.stroke((5, 5), (60, 66))
    crossed = np.unique(numbers[layer.data[5] == 1])
    np.testing.assert_array_equal(layer.data[5] == 1, np.isin(numbers, crossed))
    assert len(crossed) > 1
    assert steps(panel) == 2, "a drag is one step"
    hands.key(Qt.Key.Key_B)
    assert desk.superpixel_brush.active, "choosing what to paint with keeps the tool"
    hands.stroke((32, 36))
    assert (layer.data[5][numbers == numbers[32, 36]] == 255).all(), "background erases"
    for _ in range(3):
        hands.key(Qt.Key.Key_Z, CONTROL)
    assert not layer.data.any()
    panel.viewer.dims.ndisplay = 3
    hands.stroke((32, 36))
    panel.viewer.dims.ndisplay = 2
    assert not layer.data.any(), "in 3D a click has no plane"
    assert "not in 3D" in panel.messages.text.text()
    layer.mode = "paint"
    assert not desk.superpixel_brush.active
    assert not panel.label.tools.superpixels.isChecked()


def check_the_outline_tool(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    desk.sheet.go_to(5)
    hands.key(Qt.Key.Key_P, SHIFT)
    table = panel.label.classes.table
    hands.qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(table.item(0, 1)).center()
    )
    assert hands.window.focusWidget() is table
    hands.key(Qt.Key.Key_O)  # a key of the canvas, though the table has the focus
    assert panel.label.tools.outline.isChecked()
    assert not desk.superpixel_brush.active, "two tools at once"
    square = [(20, 20), (20, 40), (40, 40), (40, 20), (24, 20)]  # left open: releasing closes it
    hands.stroke(*square)
    inside = np.zeros(layer.data.shape[1:], bool)
    inside[20:41, 20:41] = True
    np.testing.assert_array_equal(layer.data[5] == 1, inside)
    assert not layer.data[[4, 6]].any()
    assert steps(panel) == 1
    hands.stroke((50, 60))
    np.testing.assert_array_equal(layer.data[5] == 1, inside, "a click alone outlines nothing")
    assert not desk.brush_settings.masked
    desk.classes.update(1, locked=True)
    desk.brush.select(2)
    assert desk.outline.active, "choosing what to paint with keeps the tool"
    hands.stroke((30, 30), (30, 50), (50, 50), (50, 30))
    assert (layer.data[5][inside] == 1).all(), "a locked class was painted over"
    assert layer.data[5, 45, 45] == 2
    desk.brush.select(0)
    hands.stroke((42, 30), (42, 52), (52, 52), (52, 28), (42, 28))
    assert set(np.unique(layer.data[5])) == {0, 1, 2}
    assert (layer.data[5, 43:52, 29:51] == 0).all(), "the eraser's label erases what is inside"
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data[5] == 1, inside)
    assert not (layer.data[5] == 2).any()
    hands.key(Qt.Key.Key_O)
    assert not panel.label.tools.outline.isChecked()
    assert str(layer.mode) == "paint"


def disc(row: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((64, 72))
    return (np.hypot(rows - row, columns - 36) < radius).astype(np.uint8)


def annotate(panel, planes) -> None:
    from napari_semiseg.gui.annotation_layer import set_plane

    with panel.desk.sheet.annotation.block_history():
        for plane, values in planes.items():
            set_plane(panel.desk.sheet.annotation, plane, values)
    panel.desk.keeper.look()


def check_filling_between(panel, hands):
    desk, layer, proposals, tools = panel.desk, panel.desk.sheet.annotation, panel.desk.proposals, panel.label.tools
    assert not tools.fill.isEnabled()
    assert "Annotate two slices" in tools.fill.toolTip()
    annotate(panel, {2: disc(32, 10), 6: disc(32, 14), 9: disc(32, 8)})
    desk.sheet.go_to(4)
    before = layer.data.copy()
    for means in ("morphology", "walker", "distance"):
        proposals.choose(means=means)
        hands.key(Qt.Key.Key_I, SHIFT)
        hands.wait(lambda: proposals.planes and not proposals.busy)
        assert sorted(proposals.planes) == [3, 4, 5]
    assert desk.sheet.overlays.visible("proposal")
    np.testing.assert_array_equal(layer.data, before, "a preview changes nothing")
    hands.key(Qt.Key.Key_W, SHIFT)
    assert desk.sheet.states[4] is SliceState.PROPOSED
    assert desk.marks.annotated() == [2, 6, 9]
    assert panel.label.slices.title.text() == "Slice 4: proposed"
    assert not layer.data[3].any()
    assert disc(32, 10).sum() <= layer.data[4].sum() <= disc(32, 14).sum()
    assert sorted(proposals.planes) == [3, 5], "what was not applied stays"
    settle(panel, hands)
    assert (stored(panel).said[4] == 1).sum() == layer.data[4].sum()
    assert (stored(panel).resolved(4) == 255).all(), "a proposal is not learned from"

    proposals.choose(everywhere=True)
    hands.click(tools.fill)
    hands.wait(lambda: len(proposals.planes) == 5)
    earlier = steps(panel)
    hands.click(tools.all)
    hands.wait(lambda: steps(panel) == earlier + 1)  # a range is one step
    assert [desk.sheet.states[p] for p in (3, 4, 5, 7, 8)] == [SliceState.PROPOSED] * 5
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.wait(lambda: desk.sheet.states[7] is SliceState.UNLABELLED)
    assert desk.sheet.states[4] is SliceState.PROPOSED
    layer.redo()
    hands.wait(lambda: desk.sheet.states[7] is SliceState.PROPOSED)
    desk.sheet.go_to(7)
    hands.key(Qt.Key.Key_S, SHIFT)
    assert desk.sheet.states[7] is SliceState.COMPLETE
    desk.sheet.go_to(8)
    hands.stroke((10, 10), (10, 20))
    assert desk.sheet.states[8] is SliceState.COMPLETE, "painting on a proposal takes it on"
    settle(panel, hands)
    assert stored(panel).annotated_planes() == [2, 6, 7, 8, 9]


def check_proposals_spare_what_is_painted(panel, hands):
    desk, layer, proposals = panel.desk, panel.desk.sheet.annotation, panel.desk.proposals
    annotate(panel, {2: disc(32, 10), 6: disc(32, 10), 4: 2 * disc(32, 4)})
    desk.marks.set(4, SliceState.UNLABELLED)
    desk.sheet.go_to(4)
    proposals.choose(everywhere=False, means="distance")
    hands.key(Qt.Key.Key_I, SHIFT)
    hands.wait(lambda: 4 in proposals.planes)
    hands.key(Qt.Key.Key_W, SHIFT)
    assert (layer.data[4][disc(32, 4) == 1] == 2).all()
    assert (layer.data[4] == 1).sum() == (disc(32, 10) - disc(32, 4)).sum()
    hands.key(Qt.Key.Key_I, SHIFT)
    hands.wait(lambda: 3 in proposals.planes)
    desk.sheet.go_to(3)
    hands.stroke((10, 10), (10, 20))
    desk.keeper.look()
    assert 3 not in proposals.planes, "what was painted on meanwhile is not overwritten by an older preview"
    proposals.apply()
    assert "nothing for slice 3" in panel.messages.error.text()


def check_what_is_computed_for_all_slices_leaves_the_window_free(panel, hands):
    desk, layer, proposals = panel.desk, panel.desk.sheet.annotation, panel.desk.proposals
    spots = {plane: disc(32, 12) + disc(5, 3) for plane in (3, 4, 5)}
    annotate(panel, spots)
    proposals.choose(everywhere=True)
    with held_up(desk.compute):
        proposals.tidy("largest")
        desk.sheet.go_to(3)
        hands.stroke((50, 10), (50, 20))
    hands.wait(lambda: not proposals.busy)
    assert sorted(proposals.planes) == [4, 5], "a preview would undo a stroke that was drawn while it was computed"
    earlier = steps(panel)
    with held_up(desk.compute):
        hands.key(Qt.Key.Key_E, SHIFT)
        assert steps(panel) == earlier
        assert "being computed" in panel.label.tools.all.toolTip()
        desk.sheet.go_to(4)
        hands.stroke((50, 10), (50, 20))
        drawn = layer.data[4].copy()
    hands.wait(lambda: not proposals.busy)
    np.testing.assert_array_equal(layer.data[4], drawn, "a stroke that was drawn meanwhile was overwritten")
    np.testing.assert_array_equal(layer.data[5], disc(32, 12))
    with held_up(desk.compute):
        proposals.tidy("largest")
        proposals.discard()
    hands.qtbot.wait(50)
    assert not proposals.planes


def check_copying(panel, hands):
    desk, layer, tools = panel.desk, panel.desk.sheet.annotation, panel.label.tools
    annotate(panel, {2: disc(32, 10), 6: disc(30, 14)})
    desk.sheet.go_to(4)
    hands.key(Qt.Key.Key_Left, SHIFT)
    np.testing.assert_array_equal(layer.data[4], disc(32, 10))
    assert desk.sheet.states[4] is SliceState.PROPOSED
    hands.click(tools.after)
    np.testing.assert_array_equal(layer.data[4], disc(30, 14), "an earlier proposal gives way")
    hands.key(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data[4], disc(32, 10))
    desk.sheet.go_to(6)
    assert not tools.before.isEnabled()
    assert "annotated already" in tools.before.toolTip()
    hands.key(Qt.Key.Key_Left, SHIFT)
    np.testing.assert_array_equal(layer.data[6], disc(30, 14))
    assert "annotated already" in panel.messages.error.text()


def check_tidying(panel, hands):
    desk, layer, proposals = panel.desk, panel.desk.sheet.annotation, panel.desk.proposals
    ring = disc(32, 12) - disc(32, 5)
    spot = disc(5, 3)
    annotate(panel, {4: ring + spot, 5: ring + spot})
    desk.sheet.go_to(4)
    proposals.choose(everywhere=False)
    hands.key(Qt.Key.Key_H, SHIFT)
    hands.wait(lambda: 4 in proposals.planes)
    shown = np.asarray(desk.sheet.overlays.stacks["proposal"][4])
    np.testing.assert_array_equal(shown, disc(32, 5), "the preview shows what is filled")
    hands.key(Qt.Key.Key_W, SHIFT)
    np.testing.assert_array_equal(layer.data[4], disc(32, 12) + spot)
    assert desk.sheet.states[4] is SliceState.COMPLETE, "tidying is no proposal"
    proposals.choose(everywhere=True)
    hands.key(Qt.Key.Key_K, SHIFT)
    hands.wait(lambda: len(proposals.planes) == 2)
    assert (np.asarray(desk.sheet.overlays.stacks["proposal"][5]) == 255 * spot).all(), "grey: what is erased"
    earlier = steps(panel)
    hands.key(Qt.Key.Key_E, SHIFT)
    hands.wait(lambda: steps(panel) == earlier + 1)
    np.testing.assert_array_equal(layer.data[4:6], [disc(32, 12), ring])
    desk.brush.toggle_lock(1)
    assert "locked" in panel.label.tools.holes.toolTip()


def check_the_array_is_never_replaced(panel, hands):
    layer = panel.desk.sheet.annotation
    array = layer.data
    hands.stroke((20, 20), (20, 40))
    drawn = array.copy()
    layer.data = np.zeros_like(drawn)
    assert layer.data is array
    layer.undo()
    np.testing.assert_array_equal(array, drawn)
    with pytest.raises(ValueError, match="but this annotation is"):
        layer.data = np.zeros((2, 3, 4), np.uint8)
    assert type(layer)(drawn)._type_string == "labels", "napari saves it as labels"


def check_undo_never_writes_into_the_array_of_another_layer(panel, hands):
    desk, layer = panel.desk, panel.desk.sheet.annotation
    hands.stroke((20, 20), (20, 40))
    drawn = layer.data.copy()
    desk.renew()
    hands.wait(lambda: desk.sheet is not None and desk.sheet.annotation is not layer)
    hands.qtbot.wait(50)
    np.testing.assert_array_equal(desk.sheet.annotation.data, drawn)
    layer.undo()
    hands.key(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(desk.sheet.annotation.data, drawn)
    settle(panel, hands)
    np.testing.assert_array_equal(stored(panel).said == 1, drawn == 1)
    assert desk.sheet.annotation.image is desk.sheet.image.data, "the range mask looks at the image that is shown"


def check_the_sheet_of_keys(panel, hands):
    from qtpy.QtWidgets import QLabel

    hands.key(Qt.Key.Key_F1)
    sheet = panel.findChild(type(panel.show_keys()))
    texts = {label.text() for label in sheet.findChildren(QLabel)}
    assert {entry.text for entry in SHORTCUTS} <= texts
    assert {entry.shown for entry in SHORTCUTS} <= texts
    assert "Paint with Structure 1" in texts
    for found in panel.findChildren(type(sheet)):
        found.close()


CHECKS = (
    check_a_class_locked_while_the_session_is_created_stays_locked,  # first: later ones find a session
    check_locks_hold_against_every_tool,
    check_the_lock_is_a_column_and_is_kept,
    check_the_range_mask,
    check_the_brush_is_measured_in_millimetres,
    check_superpixels,
    check_the_outline_tool,
    check_filling_between,
    check_proposals_spare_what_is_painted,
    check_what_is_computed_for_all_slices_leaves_the_window_free,
    check_copying,
    check_tidying,
    check_the_array_is_never_replaced,
    check_undo_never_writes_into_the_array_of_another_layer,
    check_the_sheet_of_keys,
)


def test_the_tools(opened, subtests):
    panel, hands = opened
    panel.desk.classes.add()
    panel.label.tool_section.expand(animate=False)
    for check in CHECKS:
        clear(panel)
        with subtests.test(check.__name__):
            check(panel, hands)


def test_no_key_has_two_meanings():
    keys = [entry.key for entry in SHORTCUTS]
    assert len(set(keys)) == len(keys)
