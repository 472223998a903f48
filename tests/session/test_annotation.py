from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session import Annotation, SliceState, swap_unsaid

SHAPE = (5, 8, 9)


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3)))
def test_swapping_twice_changes_nothing(array):
    assert np.array_equal(swap_unsaid(swap_unsaid(array)), array)


def test_the_layer_value_of_unpainted_is_zero_and_of_a_background_stroke_255():
    assert swap_unsaid(np.array([255, 0, 1, 254], np.uint8)).tolist() == [0, 255, 1, 254]


def test_what_was_painted_comes_back(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    plane = np.random.default_rng(0).integers(0, 256, SHAPE[1:]).astype(np.uint8)
    annotation.set_plane(3, plane)
    annotation.set_state(3, SliceState.SCRIBBLED)
    assert annotation.flush() == [3]
    again = Annotation.open(tmp_path / "v", SHAPE)
    assert np.array_equal(again.said[3], plane)
    assert (np.delete(again.said, 3, axis=0) == 255).all()
    assert again.states[3] == SliceState.SCRIBBLED
    assert again.annotated_planes() == [3]


def test_only_changed_planes_are_written(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    for plane in (0, 1):
        annotation.set_plane(plane, np.full(SHAPE[1:], 7, np.uint8))
    annotation.flush()
    chunks = {p: tmp_path / "v" / "annotation.zarr" / "c" / str(p) / "0" / "0" for p in (0, 1)}
    before = {p: chunk.stat().st_mtime_ns for p, chunk in chunks.items()}
    time.sleep(0.01)
    annotation.set_plane(1, np.full(SHAPE[1:], 8, np.uint8))
    assert annotation.flush() == [1]
    assert chunks[0].stat().st_mtime_ns == before[0]
    assert chunks[1].stat().st_mtime_ns > before[1]
    assert annotation.flush() == []


def test_states_decide_what_unpainted_means():
    annotation = Annotation(None, SHAPE)  # type: ignore[arg-type]
    annotation.said[:, 0, 0] = 4
    annotation.said[:, 0, 1] = 0
    annotation.states = [SliceState.UNLABELLED, SliceState.SCRIBBLED, SliceState.COMPLETE, SliceState.REVIEWED,
                         SliceState.UNLABELLED]  # fmt: skip
    resolved = annotation.resolved()
    assert (resolved[0] == 255).all()
    assert [resolved[1, 0, 0], resolved[1, 0, 1], resolved[1, 5, 5]] == [4, 0, 255]
    for plane in (2, 3):
        assert [resolved[plane, 0, 0], resolved[plane, 0, 1], resolved[plane, 5, 5]] == [4, 0, 0]
    assert annotation.said[2, 5, 5] == 255


def test_toggling_a_state_loses_no_stroke(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    strokes = np.full(SHAPE[1:], 255, np.uint8)
    strokes[2, 2:5], strokes[4, 2:5] = 3, 0
    annotation.set_plane(1, strokes)
    for state in (SliceState.SCRIBBLED, SliceState.COMPLETE, SliceState.SCRIBBLED):
        annotation.set_state(1, state)
        annotation.flush()
    assert np.array_equal(Annotation.open(tmp_path / "v", SHAPE).resolved(1)[0], strokes)


def test_a_digest_tells_changes_of_content_and_of_state():
    annotation = Annotation(None, SHAPE)  # type: ignore[arg-type]
    annotation.states[2] = SliceState.SCRIBBLED
    empty = annotation.digest(2)
    annotation.said[2, 1, 1] = 5
    painted = annotation.digest(2)
    annotation.states[2] = SliceState.COMPLETE
    assert len({empty, painted, annotation.digest(2)}) == 3


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(2, np.full(SHAPE[1:], 9, np.uint8))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        annotation.flush()
    assert annotation.is_dirty
    assert (Annotation.open(tmp_path / "v", SHAPE).said == 255).all()
    monkeypatch.undo()
    assert annotation.flush() == [2]
    assert (Annotation.open(tmp_path / "v", SHAPE).said[2] == 9).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: (v / "slices.json").write_text("{"),
        lambda v: (v / "slices.json").write_text('{"slices": {"99": {"state": "complete", "revision": 1}}}'),
        lambda v: (v / "slices.json").write_text('{"slices": {"1": {"state": "done", "revision": 1}}}'),
        lambda v: (v / "slices.json").write_text("[]"),
        lambda v: (v / "slices.json").unlink(),
        lambda v: (v / "annotation.zarr" / "zarr.json").write_text("{}"),
        lambda v: (v / "annotation.zarr" / "zarr.json").unlink(),
        lambda v: (v / "annotation.zarr" / "c" / "1" / "0" / "0").write_bytes(b"no chunk"),
    ],
)
def test_damaged_files_are_named(tmp_path, damage):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    annotation.flush()
    damage(tmp_path / "v")
    with pytest.raises(InputError, match=r"slices\.json|annotation\.zarr"):
        Annotation.open(tmp_path / "v", SHAPE)


def test_strokes_whose_state_a_crash_lost_count_as_scribbles(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    states = (tmp_path / "v" / "slices.json").read_bytes()
    strokes = np.full(SHAPE[1:], 255, np.uint8)
    strokes[3] = 4
    annotation.set_plane(1, strokes)
    annotation.set_state(1, SliceState.COMPLETE)
    annotation.flush()
    (tmp_path / "v" / "slices.json").write_bytes(states)
    again = Annotation.open(tmp_path / "v", SHAPE)
    assert again.healed == [1]
    assert np.array_equal(again.resolved(1)[0], strokes)
    again.flush()
    assert Annotation.open(tmp_path / "v", SHAPE).healed == []


def test_strokes_on_a_slice_that_was_set_unlabelled_are_not_healed(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    annotation.flush()
    again = Annotation.open(tmp_path / "v", SHAPE)
    assert (again.healed, again.annotated_planes()) == ([], [])


def test_painting_while_a_flush_runs_is_written_by_the_next(tmp_path, monkeypatch):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    sync = os.fsync

    def paint_meanwhile(handle):
        annotation.said[1, 0, 0] = 7
        annotation.mark_dirty(1)
        sync(handle)

    monkeypatch.setattr(os, "fsync", paint_meanwhile)
    annotation.flush()
    monkeypatch.undo()
    assert annotation.is_dirty
    assert annotation.flush() == [1]
    assert Annotation.open(tmp_path / "v", SHAPE).said[1, 0, 0] == 7


def test_chunks_are_named_only_when_they_are_whole(tmp_path, monkeypatch):
    """A power failure between the two leaves the old chunk: the new one is on the disk before it gets its name."""
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    chunk = tmp_path / "v" / "annotation.zarr" / "c" / "1" / "0" / "0"
    synced_before_named = []
    sync = os.fsync

    def note(handle):
        if not synced_before_named:
            synced_before_named.append(not chunk.exists())
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    annotation.flush()
    assert synced_before_named == [True]
    assert chunk.exists()


def test_slice_states_of_a_newer_version_are_not_guessed_at(tmp_path):
    Annotation.create(tmp_path / "v", SHAPE)
    (tmp_path / "v" / "slices.json").write_text('{"schema_version": 99, "slices": {}}')
    with pytest.raises(InputError, match="newer"):
        Annotation.open(tmp_path / "v", SHAPE)


def test_a_read_only_annotation_writes_nothing(tmp_path):
    Annotation.create(tmp_path / "v", SHAPE)
    annotation = Annotation.open(tmp_path / "v", SHAPE)
    annotation.may_write = lambda: False
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    assert annotation.flush() == []
    assert (Annotation.open(tmp_path / "v", SHAPE).said == 255).all()


def test_a_killed_writer_leaves_each_plane_old_or_new(tmp_path):
    """kill -9 at random moments: every plane is one that was written, and the states fit."""
    Annotation.create(tmp_path / "v", (4, 64, 64))
    program = (
        "import sys, numpy as np; from pathlib import Path; from napari_semiseg.session import Annotation, SliceState\n"
        f"a = Annotation.open(Path({str(tmp_path / 'v')!r}), (4, 64, 64)); print('go', flush=True)\n"
        "for i in range(10**6):\n"
        "    a.set_plane(i % 4, np.full((64, 64), 1 + i % 200, np.uint8)); a.set_state(i % 4, SliceState.COMPLETE)\n"
        "    a.flush()\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.4))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        again = Annotation.open(tmp_path / "v", (4, 64, 64))
        for plane in again.said:
            assert len(np.unique(plane)) == 1
        json.loads((tmp_path / "v" / "slices.json").read_text())


def test_a_proposal_is_kept_but_says_nothing_until_it_is_confirmed(tmp_path):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(2, np.full(SHAPE[1:], 3, np.uint8))
    annotation.set_state(2, SliceState.PROPOSED)
    annotation.flush()
    again = Annotation.open(tmp_path / "v", SHAPE)
    assert (again.said[2] == 3).all()
    assert (again.resolved() == 255).all()
    assert again.annotated_planes() == []
    again.set_state(2, SliceState.COMPLETE)
    assert (again.resolved(2) == 3).all()


def test_a_proposal_that_a_crash_interrupts_does_not_count_as_scribbles(tmp_path, monkeypatch):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(2, np.full(SHAPE[1:], 3, np.uint8))
    annotation.set_state(2, SliceState.PROPOSED)
    annotation.set_plane(4, np.full(SHAPE[1:], 3, np.uint8))
    annotation.set_state(4, SliceState.COMPLETE)

    write = annotation._write_planes

    def crash(*planes):
        write(*planes)
        raise KeyboardInterrupt

    monkeypatch.setattr(annotation, "_write_planes", crash)  # after the voxels, before the states
    with pytest.raises(KeyboardInterrupt):
        annotation.flush()
    again = Annotation.open(tmp_path / "v", SHAPE)
    assert (again.said[2] == 3).all()
    assert again.states[2] == SliceState.PROPOSED
    assert again.healed == [4], "a plane without its state counts as scribbled, as ever"


SAYS = {"unlabelled": 0, "proposed": 0, "scribbled": 1, "complete": 2}


@pytest.mark.parametrize(
    ("before", "after"),
    [("complete", "scribbled"), ("complete", "unlabelled"), ("scribbled", "proposed"), ("scribbled", "complete"),
     ("unlabelled", "complete")],
)  # fmt: skip
def test_a_writer_that_dies_at_any_point_never_leaves_a_slice_that_says_too_much(tmp_path, monkeypatch, before, after):
    sync = os.fsync
    for last in range(20):
        left = iter(range(last))

        def die(handle, left=left):
            if next(left, None) is None:
                raise OSError(errno.EIO, "gone")
            sync(handle)

        annotation = Annotation.create(tmp_path / str(last), SHAPE)
        annotation.set_plane(2, np.full(SHAPE[1:], 1, np.uint8))
        annotation.set_state(2, SliceState(before))
        annotation.flush()
        annotation.set_plane(2, np.full(SHAPE[1:], 7, np.uint8))
        annotation.set_state(2, SliceState(after))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", die)
            try:
                annotation.flush()
                return
            except StorageError:
                pass
        found = Annotation.open(tmp_path / str(last), SHAPE)
        meant = after if (found.said[2] == 7).all() else before
        assert SAYS[found.states[2]] <= SAYS[meant], f"{last}: {found.states[2]} is said of what is {meant}"
        annotation.flush()
        assert Annotation.open(tmp_path / str(last), SHAPE).states[2] == after
    pytest.fail("the writing does not end")


def test_a_plane_that_changes_while_it_is_written_gets_no_state_that_its_voxels_have_not(tmp_path, monkeypatch):
    annotation = Annotation.create(tmp_path / "v", SHAPE)
    annotation.set_plane(1, np.ones(SHAPE[1:], np.uint8))
    annotation.set_state(1, SliceState.SCRIBBLED)
    sync = os.fsync

    def finish_meanwhile(handle):
        annotation.set_plane(1, np.full(SHAPE[1:], 7, np.uint8))
        annotation.set_state(1, SliceState.COMPLETE)
        sync(handle)

    monkeypatch.setattr(os, "fsync", finish_meanwhile)
    annotation.flush()
    monkeypatch.undo()
    found = Annotation.open(tmp_path / "v", SHAPE)
    assert ((found.said[1] == 1).all(), found.states[1]) == (True, SliceState.SCRIBBLED)
    annotation.flush()
    found = Annotation.open(tmp_path / "v", SHAPE)
    assert ((found.said[1] == 7).all(), found.states[1]) == (True, SliceState.COMPLETE)
