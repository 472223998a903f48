"""Two viewers on one session, damage, disks that are full, read-only or gone: in the real window."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tests.gui.conftest import open_session

from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.predictions import StoringWriter

pytestmark = pytest.mark.gui

HOLD = (
    "import sys, time; from pathlib import Path; from napari_semiseg.session.lock import SessionLock\n"
    "SessionLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


ELSEWHERE = {"pid": 7, "started": "1", "host": "ward-7", "user": "ada", "token": "x"}


def paint(panel, hands, plane):
    """Draw a stroke on a plane."""
    panel.desk.sheet.go_to(plane)
    hands.stroke((20, 20), (20, 40))


def on_disk(session, plane):
    """What the disk says of a plane of the first volume."""
    again = Session.open(session.path)
    return again.annotation(next(iter(again.volumes))).said[plane]


def held_by_ada(place):
    """Put the lock of a living program of another computer into a session."""
    (place / "lock.json").write_text(json.dumps({**ELSEWHERE, "since": time.time()}))


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_who_may_change_a_session(make_panel, make_session, tmp_path, monkeypatch):
    panel, hands = make_panel()
    the_second_viewer_reads_and_takes_over(panel, hands, make_session("first"))
    a_read_only_session_goes_on_as_a_copy(panel, hands, make_session("second"), tmp_path)
    from napari_semiseg.session import lock

    monkeypatch.setattr(lock, "_BEAT", 0.05)
    a_lock_lost_to_another_computer(panel, hands, make_session("third"), tmp_path)
    damage_is_named_and_the_rest_opens(panel, hands, make_session("fourth"))
    a_damaged_prediction(panel, hands, make_session("fifth"))


def the_second_viewer_reads_and_takes_over(panel, hands, place):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    other.stdout.readline()
    before = (place / "volumes" / "heart" / "slices.json").read_bytes()
    desk, bar = open_session(panel, hands, place), panel.header.access
    assert bar.isVisible()
    assert "Read-only" in bar.text.text()
    assert "on this computer since" in bar.text.text()
    assert not bar.take_over.isEnabled()
    paint(panel, hands, 3)
    assert not desk.sheet.annotation.data[3].any(), "a read-only annotation was painted on"
    panel.label.slices.states[SliceState.COMPLETE].click()
    assert "open elsewhere" in panel.messages.error.text()
    assert desk.sheet.states[3] is SliceState.UNLABELLED
    panel.tabs.setCurrentIndex(1)
    assert not panel.train.start.isEnabled()
    assert "open elsewhere" in panel.train.start.toolTip()
    panel.tabs.setCurrentIndex(0)
    assert (place / "volumes" / "heart" / "slices.json").read_bytes() == before

    other.kill()
    other.wait()
    other.stdout.close()
    hands.wait(lambda: bar.take_over.isEnabled(), 10)
    hands.click(bar.take_over)
    hands.wait(lambda: not bar.isVisible() and desk.sheet is not None, 20)
    hands.qtbot.wait(100)
    paint(panel, hands, 3)
    assert desk.sheet.annotation.data[3].any()
    hands.wait(lambda: (on_disk(desk.session, 3) == 1).any(), 5)


def a_read_only_session_goes_on_as_a_copy(panel, hands, place, tmp_path):
    earlier = panel.desk.session
    held_by_ada(place)
    desk = open_session(panel, hands, place)
    hands.wait(lambda: not (earlier.path / "lock.json").exists(), 5)
    assert "ada on ward-7" in panel.header.access.text.text()
    desk.binder.move(tmp_path / "mine.semiseg")
    hands.wait(lambda: desk.session.path == tmp_path / "mine.semiseg", 20)
    assert not panel.header.access.isVisible()
    paint(panel, hands, 3)
    hands.wait(lambda: (on_disk(desk.session, 3) == 1).any(), 5)
    assert (on_disk(desk.session, 6) == 1).sum() == 400
    assert (Session.open(place).annotation("heart").said[3] == 255).all(), "the other's session was changed"
    assert desk.session.volumes["heart"].source == place.parent / "heart.nii.gz"


def a_lock_lost_to_another_computer(panel, hands, place, tmp_path):
    desk = open_session(panel, hands, place)
    held_by_ada(place)
    hands.wait(lambda: panel.header.access.isVisible(), 10)
    assert "ada on ward-7" in panel.header.access.text.text()
    desk.sheet.annotation.data[3, 5, 5:9] = 1  # as a script would
    hands.wait(lambda: "Not saved yet" in panel.messages.error.text(), 10)
    desk.binder.move(tmp_path / "rescued.semiseg")
    hands.wait(lambda: desk.session.path == tmp_path / "rescued.semiseg" and not desk.keeper.pending, 20)
    assert (on_disk(desk.session, 3) == 1).sum() == 4
    assert json.loads((place / "lock.json").read_text())["host"] == "ward-7"


def damage_is_named_and_the_rest_opens(panel, hands, place):
    round_ = place / "rounds" / "0001"
    round_.mkdir(parents=True)
    (round_ / "config.json").write_text('{"schema_ver')
    (place / "volumes" / "heart" / "slices.json").write_text("{")
    desk = open_session(panel, hands, place)
    assert "Round 1 cannot be read" in panel.messages.error.text()
    assert "painted slices count as scribbled" in panel.messages.error.text()
    assert desk.sheet.states[6] is SliceState.SCRIBBLED
    assert len(list((place / "damaged").rglob("config.json"))) == 1


def a_damaged_prediction(panel, hands, place):
    shape = Session.open(place).volumes["heart"].geometry.shape
    for number, value in ((1, 0), (2, 1)):
        (place / "rounds" / f"000{number}").mkdir(parents=True)
        (place / "rounds" / f"000{number}" / "config.json").write_text('{"schema_version": 1, "classes": []}')
        (place / "rounds" / f"000{number}" / "seen").touch()
        writer = StoringWriter(place / "rounds" / f"000{number}" / "predictions" / "heart.zarr", shape, (0, 1), False)
        ones = np.ones(shape, np.uint8)
        maps = {
            "labels": ones,
            "entropy": 255 * value * ones,
            "disagreement": None,
            "probabilities": np.stack([ones] * 2),
        }
        writer.write(0, SimpleNamespace(**maps))
        writer.close(complete=True)
    chunk = place / "rounds" / "0002" / "predictions" / "heart.zarr" / "labels" / "c" / "6" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    desk = open_session(panel, hands, place)
    assert desk.sheet.plane == 6
    hands.wait(lambda: "cannot be read any more" in panel.messages.error.text(), 10)
    aside = "*/rounds/0002/predictions/heart.zarr"
    hands.wait(lambda: list((place / "damaged").glob(aside)) and not desk.sheet.overlays.stored.entropy[6].any(), 10)
    assert (np.asarray(desk.sheet.overlays.stacks["labels"][6]) == 1).all()


def test_disks_that_fail(make_panel, make_session, disk, tmp_path, monkeypatch):
    from napari_semiseg.gui import keeper

    monkeypatch.setattr(keeper, "RETRY_S", 0.5)
    panel, hands = make_panel()
    a_removed_folder(panel, hands, make_session("removed"), tmp_path)
    place = make_session(disk)
    filler, away = disk / "filler", disk.with_name("away")
    away.mkdir()
    remount = ["mount", "-o"]
    troubles = {
        "disk is full": (lambda: fill(filler), filler.unlink),
        "disk is read-only": (
            lambda: subprocess.run([*remount, "remount,ro", str(disk)], check=True),
            lambda: subprocess.run([*remount, "remount,rw", str(disk)], check=True),
        ),
        "removed or damaged": (
            lambda: subprocess.run(["mount", "--move", str(disk), str(away)], check=True),
            lambda: subprocess.run(["mount", "--move", str(away), str(disk)], check=True),
        ),
    }
    open_session(panel, hands, place)
    for plane, (sentence, (happen, end)) in enumerate(troubles.items()):
        happen()
        try:
            the_disk_fails(panel, hands, plane, sentence)
        finally:
            end()
        the_disk_is_back(panel, hands, plane)
    open_session(panel, hands, make_session("elsewhere"))
    hands.wait(lambda: not (place / "lock.json").exists(), 5)
    subprocess.run([*remount, "remount,ro", str(disk)], check=True)
    a_session_on_read_only_media(panel, hands, place)


def test_closing_the_window_while_nothing_can_be_saved_keeps_a_copy(make_panel, make_session, sessions, capsys):
    panel, hands = make_panel()
    place, other = make_session("first"), make_session("other")
    desk = open_session(panel, hands, place)
    away = place.with_name("away")
    place.rename(away)
    paint(panel, hands, 3)
    hands.wait(lambda: "removed or damaged" in panel.messages.error.text(), 10)
    desk.binder.open(other)
    hands.wait(lambda: "not saved yet; press “Save as…”" in panel.messages.error.text(), 10)
    assert desk.session.path == place
    drawn = desk.sheet.annotation.data[3] == 1
    panel.end()
    (rescued,) = sessions.iterdir()
    assert str(rescued) in capsys.readouterr().err
    assert np.array_equal(Session.open(rescued).annotation("heart").said[3] == 1, drawn)
    assert (Session.open(other).annotation("heart").said[3] == 255).all()


def fill(filler):
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(4096))


def a_removed_folder(panel, hands, place, tmp_path):
    desk = open_session(panel, hands, place)
    shutil.rmtree(place)
    paint(panel, hands, 3)
    hands.wait(lambda: "removed or damaged" in panel.messages.error.text(), 10)
    assert panel.messages.act.isVisible()
    assert panel.messages.act.text() == "Save as…"
    drawn = desk.sheet.annotation.data[3] == 1
    desk.binder.move(tmp_path / "rescued.semiseg")
    hands.wait(lambda: desk.session.path == tmp_path / "rescued.semiseg" and not desk.keeper.pending, 20)
    assert np.array_equal(on_disk(desk.session, 3) == 1, drawn)
    assert (on_disk(desk.session, 6) == 1).sum() == 400
    paint(panel, hands, 4)
    hands.wait(lambda: (on_disk(desk.session, 4) == 1).any(), 5)


def the_disk_fails(panel, hands, plane, sentence):
    panel.messages.clear_error()
    paint(panel, hands, plane)
    hands.wait(lambda: sentence in panel.messages.error.text(), 10)
    assert panel.desk.keeper.pending
    assert panel.messages.act.isVisible()
    assert panel.messages.act.text() == "Save as…"


def the_disk_is_back(panel, hands, plane):
    hands.wait(lambda: not panel.desk.keeper.pending, 10)
    drawn = panel.desk.sheet.annotation.data[plane] == 1
    assert drawn.any()
    assert np.array_equal(on_disk(panel.desk.session, plane) == 1, drawn)
    assert "saved now" in panel.messages.text.text()


def a_session_on_read_only_media(panel, hands, place):
    desk = panel.desk
    before = desk.session
    desk.binder.open(place)
    hands.wait(lambda: desk.session is not before and desk.sheet is not None, 20)
    assert "disk is read-only" in panel.header.access.text.text()
    assert not desk.sheet.annotation.editable
    assert panel.header.access.save_as.isEnabled()
