"""Disks that are full, read-only or gone: real file systems where the tests may mount one."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from small_sessions import write_image

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session import Session, SliceState


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk):
    """Use up the disk; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(os.urandom(4096))
        except OSError:
            return filler


def noise(seed):
    """A plane that does not compress."""
    return np.random.default_rng(seed).integers(0, 3, (48, 48)).astype(np.uint8)


def test_a_full_disk_costs_nothing_once_there_is_space_again(small_disk, tmp_path):
    session = Session.create(small_disk / "s.semiseg", classes={1: "a", 2: "b"})
    record = session.add_volume(write_image(tmp_path / "heart.nii.gz"))
    annotation = session.annotation(record.id)
    annotation.set_plane(0, noise(0))
    annotation.set_state(0, SliceState.SCRIBBLED)
    annotation.flush()
    filler = fill(small_disk)
    annotation.set_plane(1, noise(1))
    annotation.set_plane(0, noise(2))
    annotation.set_state(1, SliceState.SCRIBBLED)
    with pytest.raises(StorageError, match="disk is full"):
        annotation.flush()
    with pytest.raises(StorageError, match="disk is full"):
        session.add_class("c")
    assert [c.name for c in session.classes] == ["a", "b"]
    with pytest.raises(StorageError, match="disk is full"):
        session.add_volume(write_image(tmp_path / "second.nii.gz", seed=1))
    assert list(session.volumes) == [record.id]
    # What was on the disk before is whole, and every plane is old or new.
    again = Session.open(session.path)
    said = again.annotation(record.id).said
    assert np.array_equal(said[0], noise(0)) or np.array_equal(said[0], noise(2))
    assert (said[1] == 255).all() or np.array_equal(said[1], noise(1))
    filler.unlink()
    session.close()
    session.add_class("c")
    assert session.add_volume(tmp_path / "second.nii.gz").id == "second"
    again = Session.open(session.path)
    assert np.array_equal(again.annotation(record.id).said[:2], np.stack([noise(2), noise(1)]))
    assert again.annotation(record.id).annotated_planes() == [0, 1]
    assert [c.name for c in again.classes] == ["a", "b", "c"]


def test_a_session_on_read_only_media_opens_and_says_why_it_cannot_be_changed(small_disk, tmp_path):
    session = Session.create(small_disk / "s.semiseg", classes={1: "a"})
    record = session.add_volume(write_image(tmp_path / "heart.nii.gz"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    again = Session.open(session.path)
    assert again.load_volume(record.id).data.shape == (6, 48, 48)
    annotation = again.annotation(record.id)
    again.close()
    annotation.set_plane(2, noise(0))
    with pytest.raises(StorageError, match="read-only"):
        again.close()
    with pytest.raises(StorageError, match="read-only"):
        again.add_class("b")
    assert [c.name for c in again.classes] == ["a"]
    assert np.array_equal(annotation.said[2], noise(0))


def test_saving_to_another_disk_keeps_the_session_whole(small_disk, session):
    record = next(iter(session.volumes.values()))
    said = session.annotation(record.id).said.copy()
    old = session.path
    session.move(small_disk / "moved.semiseg")
    assert not old.exists()
    again = Session.open(small_disk / "moved.semiseg")
    assert np.array_equal(again.annotation(record.id).said, said)
    assert again.load_volume(record.id).data.shape == (6, 48, 48)


def test_a_disk_too_small_to_save_on_leaves_the_session_where_it_was(small_disk, session):
    record = next(iter(session.volumes.values()))
    (session.path / "rounds").mkdir()
    (session.path / "rounds" / "big").write_bytes(os.urandom(2_000_000))
    old = session.path
    with pytest.raises(StorageError, match="cannot be written"):
        session.move(small_disk / "moved.semiseg")
    assert session.path == old
    assert not os.listdir(small_disk)
    session.annotation(record.id).set_plane(0, noise(0))
    session.close()
    assert np.array_equal(Session.open(old).annotation(record.id).said[0], noise(0))


def test_a_folder_that_was_removed_is_told_and_the_strokes_stay(session):
    record = next(iter(session.volumes.values()))
    annotation = session.annotation(record.id)
    away = session.path.with_name("away")
    session.path.rename(away)
    annotation.set_plane(0, noise(0))
    with pytest.raises(StorageError, match="removed or damaged"):
        session.close()
    with pytest.raises(StorageError):
        session.add_class("x")
    away.rename(session.path)
    session.close()
    assert np.array_equal(Session.open(session.path).annotation(record.id).said[0], noise(0))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_told(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="permission is denied"):
        Session.create(tmp_path / "locked" / "s.semiseg")


def test_a_session_is_not_moved_into_itself_or_over_something(session, tmp_path):
    with pytest.raises(InputError, match="lies inside"):
        session.move(session.path / "deeper")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        session.move(tmp_path / "full")
    (tmp_path / "empty.semiseg").mkdir()
    session.move(tmp_path / "empty.semiseg")
    shutil.rmtree(tmp_path / "full")
    assert Session.open(tmp_path / "empty.semiseg").classes == session.classes
