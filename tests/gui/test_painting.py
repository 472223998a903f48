"""Opening, painting, saving: with a real window, a real mouse and a real session folder."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_semiseg.session import Session, SliceState

pytestmark = pytest.mark.gui


def painted(session: Session, volume: str, plane: int) -> np.ndarray:
    """Return what the disk says of a plane."""
    return Session.open(session.path).annotation(volume).said[plane]


def test_a_volume_opens_in_millimetres_with_its_annotation_selected(opened):
    panel, hands = opened
    for visible in (False, True):  # the menu hides and shows the panel that is open; there is never a second one
        hands.choose("Plugins", "Semiseg")
        hands.wait(lambda visible=visible: panel.isVisible() is visible)
    assert sum(type(widget) is type(panel) for widget in panel.viewer.window.dock_widgets.values()) == 1
    sheet = panel.desk.sheet
    np.testing.assert_allclose(sheet.image.scale, (6.0, 1.25, 1.5), rtol=1e-5)
    assert [str(unit) for unit in sheet.annotation.units] == ["millimeter"] * 3
    assert sheet.annotation.data.dtype == np.uint8
    np.testing.assert_array_equal(sheet.annotation.scale, sheet.image.scale)
    assert panel.viewer.layers.selection.active.name == sheet.annotation.name
    assert sheet.annotation.n_edit_dimensions == 2
    assert sheet.annotation.contiguous
    assert sheet.image.metadata["semiseg"]["geometry"]["format"] == "nifti"
    assert panel.desk.session is None, "a session before the first stroke"
    assert not panel.desk.place.exists()


@pytest.mark.clock
def test_a_stroke_creates_the_session_and_reaches_the_disk_within_two_seconds(opened, sessions):
    panel, hands = opened
    sheet = panel.desk.sheet
    sheet.go_to(5)
    start = time.monotonic()
    hands.stroke((20, 20), (20, 40))
    assert sheet.annotation.data[5, 20, 30] == 1, "the stroke did not reach the layer"
    hands.wait(lambda: panel.desk.session is not None and not panel.desk.keeper.pending, 5)
    assert time.monotonic() - start < 2.0
    session = panel.desk.session
    assert session.path.parent == sessions
    said = painted(session, sheet.entry.id, 5)
    np.testing.assert_array_equal(said == 1, sheet.annotation.data[5] == 1)
    assert sheet.states[5] is SliceState.COMPLETE
    assert Session.open(session.path).annotation(sheet.entry.id).states[5] is SliceState.COMPLETE


@pytest.mark.clock
def test_undo_emits_nothing_but_reaches_the_disk(opened):
    panel, hands = opened
    sheet = panel.desk.sheet
    sheet.go_to(5)
    hands.stroke((20, 20), (20, 40))
    hands.wait(lambda: panel.desk.session is not None and not panel.desk.keeper.pending, 5)
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not sheet.annotation.data.any()
    start = time.monotonic()
    hands.wait(lambda: (painted(panel.desk.session, sheet.entry.id, 5) == 255).all(), 5)
    assert time.monotonic() - start < 2.0
    assert sheet.states[5] is SliceState.UNLABELLED


@pytest.mark.clock
def test_undo_on_a_slice_that_is_not_shown_is_found(opened):
    panel, hands = opened
    sheet = panel.desk.sheet
    sheet.go_to(5)
    hands.stroke((20, 20), (20, 40))
    hands.wait(lambda: panel.desk.session is not None and not panel.desk.keeper.pending, 5)
    sheet.go_to(9)
    sheet.annotation.undo()
    start = time.monotonic()
    hands.wait(lambda: (painted(panel.desk.session, sheet.entry.id, 5) == 255).all(), 5)
    assert time.monotonic() - start < 2.0


def test_keys_choose_classes_background_and_states(opened):
    panel, hands = opened
    desk = panel.desk
    second = desk.classes.add("Myocardium")
    hands.key(Qt.Key.Key_2)
    assert desk.brush.selected == second.id
    hands.key(Qt.Key.Key_B)
    assert desk.brush.selected == 255
    assert desk.sheet.annotation.mode == "paint"
    hands.key(Qt.Key.Key_1)
    assert desk.brush.selected == 1
    desk.sheet.go_to(2)
    hands.key(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert desk.sheet.states[2] is SliceState.SCRIBBLED
    hands.key(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert desk.sheet.states[2] is SliceState.COMPLETE
    assert panel.label.slices.states[SliceState.COMPLETE].isChecked()


def test_a_background_stroke_is_0_on_disk_and_unpainted_is_255(opened):
    panel, hands = opened
    desk = panel.desk
    panel.label.slices.mode.setCurrentIndex(1)
    desk.sheet.go_to(4)
    hands.key(Qt.Key.Key_B)
    hands.stroke((10, 10), (10, 30))
    hands.key(Qt.Key.Key_1)
    hands.stroke((30, 30), (30, 40))
    hands.wait(lambda: desk.session is not None and not desk.keeper.pending, 5)
    said = painted(desk.session, desk.sheet.entry.id, 4)
    assert said[10, 20] == 0
    assert said[30, 35] == 1
    assert said[60, 60] == 255
    assert desk.sheet.states[4] is SliceState.SCRIBBLED


def test_the_state_buttons_and_the_list_of_slices(opened):
    panel, hands = opened
    desk, slices = panel.desk, panel.label.slices
    desk.sheet.go_to(7)
    hands.click(slices.states[SliceState.COMPLETE])
    assert desk.sheet.states[7] is SliceState.COMPLETE
    assert slices.list.count() == 1
    desk.sheet.go_to(0)
    item = slices.list.item(0)
    slices.list.itemDoubleClicked.emit(item)
    assert desk.sheet.plane == 7
    assert slices.title.text() == "Slice 7"


def test_the_class_table_adds_renames_recolours_and_removes(opened, monkeypatch):
    from qtpy.QtGui import QColor

    from napari_semiseg.gui.widgets import class_table

    panel, hands = opened
    desk, table = panel.desk, panel.label.classes
    hands.click(table.add)
    assert [entry.name for entry in desk.classes] == ["Structure 1", "Structure 2"]
    table.table.item(1, class_table.NAME).setText("Atrium")
    assert desk.classes.get(2).name == "Atrium"
    table.table.item(1, class_table.NAME).setText("Structure 1")
    assert desk.classes.get(2).name == "Atrium", "two classes of one name"
    assert "already" in panel.messages.error.text()
    table.table.item(1, class_table.KEY).setText("y")
    assert desk.classes.get(2).key == "2", "the key that accepts a prediction would paint"
    assert "has a meaning already" in panel.messages.error.text()
    monkeypatch.setattr(class_table.QColorDialog, "getColor", lambda *_: QColor("#123456"))
    table.table.cellDoubleClicked.emit(1, class_table.COLOUR)
    assert desk.classes.get(2).colour == "#123456"
    rgba = desk.sheet.annotation.colormap.color_dict[2]
    np.testing.assert_allclose(rgba[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-6)

    table.table.setCurrentCell(1, class_table.NAME)
    assert desk.brush.selected == 2
    hands.stroke((20, 20), (20, 40))
    hands.wait(lambda: desk.session is not None and not desk.keeper.pending, 5)
    assert [entry.colour for entry in Session.open(desk.session.path).classes][1] == "#123456"

    asked = []
    monkeypatch.setattr(
        class_table.QMessageBox,
        "question",
        lambda *a, **_: asked.append(a) or class_table.QMessageBox.StandardButton.Yes,
    )
    hands.click(table.remove)
    hands.wait(lambda: desk.classes.get(2) is None and desk.sheet is not None, 5)
    assert asked, "a painted class was removed without a question"
    assert not (desk.sheet.annotation.data == 2).any()
    desk.sheet.annotation.undo()
    assert not (desk.sheet.annotation.data == 2).any(), "undo brought the removed class back"


def test_switching_volumes_keeps_both_and_shows_one(opened, tmp_path):
    import nibabel
    from tests.gui.conftest import blob

    panel, hands = opened
    desk = panel.desk
    first = desk.sheet.entry
    desk.sheet.go_to(5)
    hands.stroke((20, 20), (20, 40))
    other = tmp_path / "second.nii"
    nibabel.save(nibabel.Nifti1Image(blob((30, 40, 9), 1)[0], np.diag([1, 1, 5.0, 1])), other)
    panel.viewer.open(str(other), plugin="napari-semiseg")
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry is not first)
    hands.wait(lambda: desk.session is not None and len(desk.session.volumes) == 2)
    assert panel.header.volumes.count() == 2
    assert len(panel.viewer.layers) == 2, [layer.name for layer in panel.viewer.layers]
    desk.sheet.go_to(3)
    hands.stroke((10, 10), (10, 20))
    assert desk.sheet.annotation.data[3, 10, 15] == 1
    desk.show(first)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry is first)
    assert desk.sheet.annotation.data[5, 20, 30] == 1
    assert len(panel.viewer.layers) == 2
    second = next(entry for entry in desk.entries if entry is not first)
    hands.wait(lambda: not desk.keeper.pending)
    assert painted(desk.session, second.id, 3)[10, 15] == 1


def test_closing_the_window_right_after_a_stroke_loses_nothing(opened, sessions):
    panel, hands = opened
    panel.desk.sheet.go_to(5)
    hands.stroke((20, 20), (20, 40))
    drawn = panel.desk.sheet.annotation.data[5].copy()
    panel.viewer.close()
    saved = Session.open(next(sessions.iterdir()))
    np.testing.assert_array_equal(saved.annotation(next(iter(saved.volumes))).said[5] == 1, drawn == 1)


def test_an_image_from_memory_is_kept_in_the_session(make_panel):
    from tests.gui.conftest import blob

    panel, hands = make_panel()
    image, _ = blob((8, 40, 44))
    panel.viewer.add_image(image, name="from memory", scale=(4, 1, 1))
    hands.wait(lambda: panel.desk.sheet is not None)
    panel.desk.sheet.go_to(3)
    hands.qtbot.wait(100)
    hands.stroke((10, 10), (10, 20))
    hands.wait(lambda: panel.desk.session is not None and not panel.desk.keeper.pending)
    session = Session.open(panel.desk.session.path)
    volume = session.load_volume(next(iter(session.volumes)))
    np.testing.assert_array_equal(volume.data, image)
    np.testing.assert_allclose(volume.geometry.spacing, (4, 1, 1))


def test_reopening_finds_everything(opened, make_panel):
    panel, hands = opened
    desk = panel.desk
    desk.classes.update(1, name="Left atrium")
    desk.sheet.go_to(5)
    hands.stroke((20, 20), (20, 40))
    hands.wait(lambda: desk.session is not None and not desk.keeper.pending)
    place, drawn = desk.session.path, desk.sheet.annotation.data.copy()
    panel.end()
    panel.viewer.layers.clear()

    again, hands = make_panel()
    again.viewer.open(str(place), plugin="napari-semiseg")
    hands.wait(lambda: again.desk.sheet is not None)
    np.testing.assert_array_equal(again.desk.sheet.annotation.data, drawn)
    assert again.desk.sheet.states[5] is SliceState.COMPLETE
    assert [entry.name for entry in again.desk.classes] == ["Left atrium"]
    assert again.desk.sheet.plane == 5


def test_a_label_without_a_class_is_refused(opened):
    panel, _ = opened
    panel.desk.sheet.annotation.selected_label = 77
    assert panel.desk.brush.selected == 1
    assert "77" in panel.messages.text.text()
