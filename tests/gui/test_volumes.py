"""Several volumes on the desk: the list, next and previous, what is in memory, a run over chosen ones."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from tests.gui.conftest import held_up, waits_of_the_window

from napari_semiseg.io import Geometry
from napari_semiseg.session import Session, SliceState, voxels
from napari_semiseg.session.annotation import Annotation

pytestmark = pytest.mark.gui

SHAPE = (8, 48, 56)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A session of four volumes of different sizes; two are annotated."""
    session = Session.create(tmp_path / "study.semiseg", classes={1: "wall", 2: "cavity"})
    rng = np.random.default_rng(0)
    for number in range(4):
        shape = (SHAPE[0] + number, *SHAPE[1:])
        image = rng.normal(100, 10, shape).astype(np.float32)
        image[:, 10:30, 10:30] += 80
        record = session.add_array(image, Geometry.from_spacing(shape, (3.0, 1.0, 1.0)), f"patient {number}")
        if number in (0, 3):
            annotation = session.annotation(record.id)
            said = np.full(shape[1:], 255, np.uint8)
            said[10:30, 10:30], said[15:25, 15:25] = 1, 2
            for plane in (2, 5):
                annotation.set_plane(plane, said)
                annotation.set_state(plane, SliceState.REVIEWED if plane == 2 else SliceState.COMPLETE)
    session.close()
    return session.path


def tick(hands, listing, row: int) -> None:
    """Click the box of a list's row."""
    rect = listing.visualItemRect(listing.item(row))
    hands.qtbot.mouseClick(
        listing.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(rect.left() + 9, rect.center().y())
    )


def lines(panel) -> list[str]:
    """The texts of the list."""
    return [panel.volumes.list.item(i).text() for i in range(panel.volumes.list.count())]


def test_many_volumes(make_panel, place, monkeypatch):
    panel, hands = make_panel()
    desk, tab = panel.desk, panel.volumes
    desk.binder.open(place)
    hands.wait(lambda: desk.sheet is not None)
    panel.tabs.setCurrentIndex(4)
    assert panel.tabs.tabText(4) == "Volumes"

    # The list: names, states, thumbnails that are kept in the session folder.
    hands.wait(lambda: len(desk.shelf.thumbnails) == 4, 20)
    assert [line.split("\n")[0] for line in lines(panel)] == [f"patient {i}" for i in range(4)]
    assert "2 of 8 slices, 1 reviewed, no prediction" in lines(panel)[0]
    assert "0 of 9 slices, no prediction" in lines(panel)[1]
    assert all(not tab.list.item(i).icon().isNull() for i in range(4))
    assert all((place / "volumes" / volume / "thumbnail.npy").exists() for volume in desk.session.volumes)
    # The shown volume and its neighbours are decoded for the next time.
    records = list(desk.session.volumes.values())
    hands.wait(lambda: all(voxels.recall(record) is not None for record in records[:2]), 20)

    # Next and previous, by button, key and double click; only the shown volume is in memory.
    first = weakref.ref(desk.sheet.annotation.data.base if desk.sheet.annotation.data.base is not None
                        else desk.sheet.annotation.data)  # fmt: skip
    assert not tab.previous.isEnabled()
    assert "first" in tab.previous.toolTip()
    hands.click(tab.next)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 1")
    hands.key(Qt.Key.Key_PageDown, Qt.KeyboardModifier.ControlModifier)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 2")
    hands.wait(lambda: first() is None, 5)  # nobody holds the first volume's annotation
    assert [entry.volume is not None for entry in desk.entries] == [False, False, True, False]
    assert list(desk.session._annotations) == [desk.sheet.entry.id]
    assert len(panel.viewer.layers) == 2
    hands.key(Qt.Key.Key_PageUp, Qt.KeyboardModifier.ControlModifier)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 1")
    rect = tab.list.visualItemRect(tab.list.item(3))
    hands.qtbot.mouseClick(tab.list.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    hands.qtbot.mouseDClick(tab.list.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 3")
    assert not tab.next.isEnabled()
    np.testing.assert_array_equal(np.unique(desk.sheet.annotation.data[5]), (0, 1, 2))

    # What is painted before a change of volume is there afterwards.
    desk.sheet.go_to(7)
    hands.qtbot.wait(100)
    hands.stroke((20, 20), (20, 26))
    painted = desk.sheet.annotation.data[7].copy()
    assert painted.any()
    desk.step(-1)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 2")
    assert "3 of 11 slices" in lines(panel)[3]
    desk.step(1)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 3")
    np.testing.assert_array_equal(desk.sheet.annotation.data[7], painted)

    # What is said while a volume is opened stays; that it is being opened does not.
    with held_up(desk.disk):
        desk.step(-1)
        assert panel.messages.text.text() == "Opening patient 2 …"
        desk.tell("A round is still training.")
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 2")
    assert panel.messages.text.text() == "A round is still training."
    desk.step(1)
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry.name == "patient 3")
    assert panel.messages.text.text() == ""

    # Which classes are looked for.
    assert tab.title.text() == "Looked for in patient 3"
    tick(hands, tab.classes, 1)
    assert desk.session.volumes[desk.entries[3].id].looked_for == (1,)
    assert Session.open(place).volumes[desk.entries[3].id].looked_for == (1,)
    tick(hands, tab.classes, 0)
    assert desk.entries[3].looked_for == (1,), "at least one is looked for"
    tick(hands, tab.classes, 1)
    assert desk.session.volumes[desk.entries[3].id].looked_for is None

    # A run over ticked volumes, one of which is gone.
    tick(hands, tab.list, 2)
    assert "On 3 of 4 volumes" in tab.count.text()
    assert "On 3 of 4 volumes" in panel.train.volumes.text()
    (place / "volumes" / desk.entries[1].id / "image.nii.gz").unlink()
    told = []
    desk.message.connect(lambda text, severity: told.append((severity, text)))
    panel.tabs.setCurrentIndex(1)
    panel.train.unit.setCurrentIndex(1)
    panel.train.steps.setValue(2)
    hands.wait(lambda: panel.train.start.isEnabled(), 30)
    hands.click(panel.train.start)
    hands.wait(lambda: desk.training.phase.active, 30)
    hands.wait(lambda: not desk.training.phase.active, 180)
    round_ = desk.session.rounds()[-1]
    assert round_.status == "finished", round_.last_event()
    hands.wait(lambda: "predicted just now" in lines(panel)[0], 20)
    assert "left out" in lines(panel)[1]
    assert "is gone" in tab.list.item(1).toolTip()
    assert "no prediction" in lines(panel)[2]
    assert any(severity == "warning" and "patient 1 was left out" in text for severity, text in told)

    # Predicting what was left out before.
    panel.tabs.setCurrentIndex(4)
    hands.click(tab.none)
    assert not tab.predict.isEnabled()
    hands.wait(lambda: "No volume is ticked" in tab.predict.toolTip())
    assert not panel.train.start.isEnabled()
    tick(hands, tab.list, 2)
    hands.click(tab.predict)
    hands.wait(lambda: round_.prediction(desk.entries[2].id) is not None, 120)
    hands.wait(lambda: not desk.training.phase.active, 60)
    hands.wait(lambda: "predicted just now" in lines(panel)[2], 20)
    a_class_is_removed_from_all_volumes(panel, hands, monkeypatch)


def a_class_is_removed_from_all_volumes(panel, hands, monkeypatch):
    desk, table, removal = panel.desk, panel.label.classes, panel.desk.removal
    waits = waits_of_the_window(monkeypatch, Annotation, "planes_with")
    panel.tabs.setCurrentIndex(0)
    with held_up(desk.disk):
        removal.start(2)
        assert "removing cavity" in table.removing.text()
        assert not table.remove.isEnabled()
        shown = desk.sheet.entry
        desk.step(-1)
        assert desk.sheet.entry is shown
        assert "is being removed" in panel.messages.error.text()
        hands.click(table.stop)
    hands.wait(lambda: not removal.name)
    assert "was not removed" in panel.messages.text.text()
    assert not table.stop.isVisible()

    removal.start(2)
    hands.wait(lambda: panel.messages.act.text() == "Erase and remove")
    assert "is painted on 4 slices" in panel.messages.text.text()
    hands.click(panel.messages.act)
    hands.wait(lambda: desk.classes.get(2) is None and desk.sheet is not None, 20)
    assert desk.sheet.entry is shown
    assert not (desk.sheet.annotation.data == 2).any()
    desk.sheet.annotation.undo()
    assert not (desk.sheet.annotation.data == 2).any()
    kept = Session.open(desk.session.path)
    assert [entry.id for entry in kept.classes] == [1]
    assert not any((kept.annotation(volume).said == 2).any() for volume in kept.volumes)
    assert (kept.annotation(desk.entries[0].id).said[2] == 1).sum() == 300
    assert not waits
