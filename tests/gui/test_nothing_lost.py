"""What was painted reaches the disk, whatever else goes wrong, takes long or happens at the same time."""

from __future__ import annotations

import json
import shutil
import threading

import nibabel
import numpy as np
import pytest
from tests.gui.conftest import blob, open_session

from napari_semiseg.engine.plan import Plan
from napari_semiseg.session import Session, SliceState, export
from napari_semiseg.session.supervisor import Supervisor

pytestmark = pytest.mark.gui


class IdleSupervisor(Supervisor):
    """Has nothing trained."""

    def start(self):
        """Start no process."""

    def _request(self, session, round_):
        """Ask for nothing."""


def paint(panel, hands, plane):
    """Draw a stroke on a plane of the shown volume."""
    panel.desk.sheet.go_to(plane)
    hands.stroke((20, 20), (20, 40))
    return panel.desk.sheet.annotation.data[plane].copy()


def on_disk(session, name, plane):
    """What the disk says of a plane, in layer values."""
    again = Session.open(session.path)
    (volume,) = [i for i, record in again.volumes.items() if record.name == name]
    said = again.annotation(volume).said[plane]
    return np.where(said == 255, 0, said)


def image_file(folder, name):
    """A small image."""
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(blob((12, 64, 72))[0].transpose(2, 1, 0), np.eye(4)), path)
    return path


def opened(panel, hands, path):
    """Open an image file in the viewer."""
    panel.viewer.open(str(path), plugin="napari-semiseg")
    name = path.name.removesuffix(".nii.gz")
    hands.wait(lambda: panel.desk.sheet is not None and panel.desk.sheet.entry.name == name)
    hands.qtbot.wait(100)


def test_what_was_painted_reaches_the_disk(make_panel, make_session, tmp_path, sessions, monkeypatch):
    from napari_semiseg.gui import keeper

    monkeypatch.setattr(keeper, "RETRY_S", 0.3)
    panel, hands = make_panel()
    panel.desk.training._supervisor = IdleSupervisor()
    one_volume_that_cannot_be_added_keeps_no_other_from_the_disk(panel, hands, tmp_path)
    strokes_are_saved_while_something_is_exported(panel, hands, tmp_path, monkeypatch)
    a_round_is_created_by_the_session_that_is_open(panel, hands, make_session("trained"), monkeypatch)
    what_is_undone_brings_no_removed_class_back(panel, hands)
    a_session_without_classes_is_offered_one(panel, hands, make_session("empty"))
    what_has_no_place_when_the_window_closes_is_kept_or_told(panel, hands, tmp_path, sessions, monkeypatch)


def one_volume_that_cannot_be_added_keeps_no_other_from_the_disk(panel, hands, tmp_path):
    desk, files = panel.desk, [image_file(tmp_path, name) for name in ("gone", "here")]
    for path in files:
        opened(panel, hands, path)
    files[0].rename(tmp_path / "away.nii.gz")
    drawn = paint(panel, hands, 3)
    hands.wait(lambda: desk.session is not None and "here" in [r.name for r in desk.session.volumes.values()], 20)
    hands.wait(lambda: np.array_equal(on_disk(desk.session, "here", 3), drawn))
    hands.wait(lambda: "gone.nii.gz" in panel.messages.error.text())

    desk.show(desk.entries[0])
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry is desk.entries[0])
    panel.messages.clear_error()
    first = paint(panel, hands, 5)
    hands.wait(lambda: "Not saved yet, trying again: gone: " in panel.messages.error.text())
    desk.show(desk.entries[1])
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry is desk.entries[1], 20)
    drawn = paint(panel, hands, 4)
    hands.wait(lambda: np.array_equal(on_disk(desk.session, "here", 4), drawn))
    assert desk.keeper.pending
    desk.show(desk.entries[0])
    hands.wait(lambda: desk.sheet is not None and desk.sheet.entry is desk.entries[0], 20)
    assert np.array_equal(desk.sheet.annotation.data[5], first), "strokes that have no place yet were forgotten"

    (tmp_path / "away.nii.gz").rename(files[0])
    hands.wait(lambda: not desk.keeper.pending, 20)
    assert np.array_equal(on_disk(desk.session, "gone", 5), first)
    assert "saved now" in panel.messages.text.text()
    assert len(desk.session.volumes) == 2
    drawn = paint(panel, hands, 6)
    hands.wait(lambda: np.array_equal(on_disk(desk.session, "gone", 6), drawn))


def strokes_are_saved_while_something_is_exported(panel, hands, tmp_path, monkeypatch):
    desk, go_on, seen = panel.desk, threading.Event(), []

    def slow(session, folder, **options):
        seen.append(export.mask_of(session, "gone", "annotation"))
        go_on.wait(60)
        seen.append(export.mask_of(session, "gone", "annotation"))
        return []

    monkeypatch.setattr(export, "export_masks", slow)
    desk.exporter.export_masks(tmp_path / "out", format="nii.gz", source="annotation", all_volumes=True)
    hands.wait(lambda: seen)
    drawn = paint(panel, hands, 7)
    hands.wait(lambda: np.array_equal(on_disk(desk.session, "gone", 7), drawn))
    assert desk.exporter.running
    desk.binder.move(tmp_path / "moved.semiseg")
    hands.qtbot.wait(200)
    assert desk.session.path != tmp_path / "moved.semiseg", "the folder was moved while it was exported from"
    go_on.set()
    hands.wait(lambda: desk.session.path == tmp_path / "moved.semiseg", 20)
    assert not desk.exporter.running
    assert not seen[0][7].any()
    assert np.array_equal(seen[1][7], drawn)
    drawn = paint(panel, hands, 8)
    hands.wait(lambda: np.array_equal(on_disk(desk.session, "gone", 8), drawn))


def a_round_is_created_by_the_session_that_is_open(panel, hands, place, monkeypatch):
    desk, created = open_session(panel, hands, place), []
    for plane in range(4, 9):
        paint(panel, hands, plane)
    create = Session.new_round

    def new_round(self, plan):
        created.append((self, threading.current_thread().name))
        return create(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "new_round", new_round)
        patch.setattr(Session, "open", None)  # a second one in this process would overwrite what this one wrote
        desk.runs.start(Plan(steps=1))
        # Who paints on while the round is created need not press again.
        desk.sheet.annotation.data[9, 30, 30] = 1
        desk.keeper.look()
        assert desk.keeper.pending
        hands.wait(lambda: (place / "rounds" / "0001" / "config.json").exists())
        hands.wait(lambda: not desk.training.phase.active, 20)
    ((session, thread),) = created
    assert session is desk.session
    assert thread.startswith("semiseg-disk")
    config = json.loads((place / "rounds" / "0001" / "config.json").read_text())
    assert config["held_out"]["heart"] == sorted(desk.session.annotation("heart").held_out) != []


def what_is_undone_brings_no_removed_class_back(panel, hands):
    desk = panel.desk
    valve = desk.classes.add("valve").id
    layer = desk.sheet.annotation
    layer.selected_label = valve
    paint(panel, hands, 2)
    assert (layer.data[2] == valve).any()
    layer.undo()
    hands.wait(lambda: not desk.keeper.pending)
    desk.removal.start(valve)
    hands.wait(lambda: desk.classes.get(valve) is None)
    assert desk.sheet.annotation is layer
    layer.redo()
    assert not (layer.data == valve).any()
    layer.selected_label = 1


def a_session_without_classes_is_offered_one(panel, hands, place):
    content = json.loads((place / "session.json").read_text())
    (place / "session.json").write_text(json.dumps({**content, "classes": []}))
    desk = open_session(panel, hands, place)
    assert [(entry.id, entry.name) for entry in desk.classes] == [(1, "Structure 1")]
    assert [entry.name for entry in Session.open(place).classes] == ["Structure 1"]
    paint(panel, hands, 3)
    assert (desk.sheet.annotation.data[3] == 1).any()
    hands.wait(lambda: (on_disk(desk.session, "heart", 3) == 1).any())


def what_has_no_place_when_the_window_closes_is_kept_or_told(panel, hands, tmp_path, sessions, monkeypatch):
    desk, place = panel.desk, panel.desk.session.path
    drawn = {}
    for name in ("file gone", "all gone"):
        opened(panel, hands, image_file(tmp_path, name))
        hands.wait(lambda: desk.sheet.entry.id is not None, 20)
        # As if it had never been added.
        desk.entries[-1].id = None
        (tmp_path / f"{name}.nii.gz").unlink()
        drawn[name] = paint(panel, hands, 3)
        hands.wait(lambda name=name: f"{name}: " in panel.messages.error.text())
    voxels, desk.entries[-1].volume = desk.entries[-1].volume, None
    assert voxels is not None
    panel.end()
    assert [s for s in desk.farewell if "all gone" in s and "not saved" in s] == desk.farewell != []
    again = Session.open(place)
    assert not (place / "lock.json").exists()
    (stored,) = [i for i, r in again.volumes.items() if r.name == "file gone" and r.source.is_relative_to(place)]
    said = again.annotation(stored).said[3]
    assert np.array_equal(np.where(said == 255, 0, said), drawn["file gone"])
    assert again.annotation(stored).states[3] is SliceState.COMPLETE
    assert again.load_volume(stored).data.shape == (12, 64, 72)
    shutil.rmtree(place)
