"""Truncated and missing files: the rest opens, what is damaged is set aside, named, and never deleted."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from small_sessions import only, plan, truth

from napari_semiseg.errors import DamagedError, InputError
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.run import train_round


def halve(path):
    """Cut a file in the middle."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def held(path):
    """Open a session as a viewer does."""
    session = Session.open(path)
    session.hold()
    return session


def kept(session, name):
    """The damaged file of that name."""
    (found,) = (session.path / "damaged").glob(f"*/{name}")
    return found


@pytest.fixture
def volume(session):
    """The folder of the volume, whose planes 1 and 4 are complete."""
    return session.path / "volumes" / only(session)


def test_a_slice_that_cannot_be_read_counts_as_unlabelled_and_the_others_stay(session, volume):
    chunk = volume / "annotation.zarr" / "c" / "4" / "0" / "0"
    before, said = chunk.read_bytes(), session.annotation("heart").said.copy()
    halve(chunk)
    cut = chunk.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        Session.open(session.path).annotation("heart")
    again = held(session.path)
    annotation = again.annotation("heart")
    assert np.array_equal(annotation.said[:4], said[:4])
    assert (annotation.said[4] == 255).all()
    assert annotation.annotated_planes() == [1], "a complete slice without its strokes would say: all background"
    (sentence,) = again.reports
    assert "heart: slice 4 could not be read and counts as unlabelled" in sentence
    assert kept(session, "volumes/heart/annotation.zarr/c/4/0/0").read_bytes() == cut != before
    again.let_go()
    third = held(session.path)
    assert third.annotation("heart").annotated_planes() == [1]
    assert not third.reports
    third.let_go()


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), halve, lambda f: f.write_text("{}")])
def test_lost_states_make_painted_slices_scribbled(session, volume, damage):
    said = session.annotation("heart").said.copy()
    damage(volume / "slices.json")
    again = held(session.path)
    annotation = again.annotation("heart")
    assert np.array_equal(annotation.said, said)
    assert [annotation.states[p] for p in (1, 4)] == [SliceState.SCRIBBLED] * 2
    assert "states of its slices" in again.reports[0]
    again.let_go()


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), halve, lambda f: f.write_text("{}")])
def test_an_array_without_its_description_is_put_together_from_its_chunks(session, volume, damage):
    said, states = session.annotation("heart").said.copy(), list(session.annotation("heart").states)
    damage(volume / "annotation.zarr" / "zarr.json")
    again = held(session.path)
    annotation = again.annotation("heart")
    assert np.array_equal(annotation.said, said)
    assert annotation.states == states
    assert "everything that was painted is there" in again.reports[0]
    again.let_go()


def test_an_array_that_is_gone_says_nothing(session, volume):
    shutil.rmtree(volume / "annotation.zarr")
    again = held(session.path)
    assert again.annotation("heart").annotated_planes() == []
    assert "what was painted could not be read" in again.reports[0]
    again.let_go()


def test_a_kill_while_mending_loses_nothing_of_what_could_be_read(session, volume, monkeypatch):
    from napari_semiseg.session import damage

    halve(volume / "annotation.zarr" / "c" / "4" / "0" / "0")
    whole = damage.set_aside

    def killed(*places):
        whole(*places)
        raise KeyboardInterrupt

    monkeypatch.setattr(damage, "set_aside", killed)
    first = held(session.path)
    with pytest.raises(KeyboardInterrupt):
        first.annotation("heart")
    first.lock.release()
    monkeypatch.undo()
    again = held(session.path)
    assert np.array_equal(again.annotation("heart").said[1], np.where(truth()[1] == 0, 255, truth()[1]))
    assert again.annotation("heart").annotated_planes() == [1]
    again.let_go()


def test_files_of_a_newer_version_are_not_taken_for_damaged(session, volume):
    (volume / "slices.json").write_text('{"schema_version": 99, "slices": {}}')
    again = held(session.path)
    with pytest.raises(InputError, match="newer"):
        again.annotation("heart")
    assert not (session.path / "damaged").exists()
    again.let_go()


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("config.json", "Round 1 cannot be read any more"),
        ("model.safetensors", "its model cannot be read"),
        ("model.json", "its model cannot be read"),
        ("state.safetensors", "its training state cannot be read"),
        ("metrics.json", "its measurements cannot be read"),
        ("predictions/heart.zarr/zarr.json", "its prediction of heart cannot be read"),
    ],
)
def test_damaged_parts_of_a_round_are_set_aside_and_the_other_round_stays(session, file, sentence):
    for _ in range(2):
        assert list(train_round(session, plan(steps=1)))[-1].terminal
    whole = session.rounds()[0]
    shutil.copytree(whole.path, session.path / "rounds" / "0003")
    halve(session.path / "rounds" / "0001" / file)
    again = held(session.path)
    assert len(again.reports) == 1
    assert sentence in again.reports[0]
    assert kept(session, f"rounds/0001/{file}").exists()
    assert [r.number for r in again.rounds()] == ([2, 3] if file == "config.json" else [1, 2, 3])
    assert again.latest_round().number == 3
    assert again.latest_prediction("heart") is not None
    again.let_go()
    assert not held_reports(session.path)


def test_the_number_of_a_round_that_was_set_aside_is_not_given_out_again(session):
    for _ in range(2):
        session.new_round(plan())
    (session.path / "rounds" / "0002" / "config.json").write_text("{")
    assert len(held_reports(session.path)) == 1
    assert [r.number for r in session.rounds()] == [1]
    assert session.new_round(plan()).number == 3


def held_reports(path):
    """What a second opening has to tell."""
    session = held(path)
    reports = list(session.reports)
    session.let_go()
    return reports


def test_a_round_that_runs_is_left_alone(session):
    round_ = session.new_round(plan())
    round_.claim()
    (round_.path / "model.safetensors").write_bytes(b"half")
    again = held(session.path)
    assert not again.reports
    assert (round_.path / "model.safetensors").exists()
    again.let_go()


def test_what_a_killed_program_left_beside_its_files_is_swept(session, volume):
    for folder in (volume, volume / "annotation.zarr" / "c" / "1" / "0"):
        (folder / ".semiseg-abc").mkdir()
        (folder / ".semiseg-abc" / "0").write_bytes(b"half")
    held(session.path).let_go()
    assert not list(session.path.rglob(".semiseg-*"))
    assert json.loads((volume / "slices.json").read_text())["slices"]


def test_a_chunk_of_a_prediction_that_cannot_be_read_is_told_in_a_sentence(session, tmp_path):
    from napari_semiseg.session.export import export_masks

    assert list(train_round(session, plan(steps=1)))[-1].terminal
    halve(session.rounds()[0].prediction_path("heart") / "labels" / "c" / "2" / "0" / "0")
    stored = session.latest_prediction("heart")
    assert stored.labels[1].shape == (48, 48)
    with pytest.raises(DamagedError, match=r"heart\.zarr cannot be read any more") as caught:
        stored.labels[2]
    assert caught.value.place == session.rounds()[0].prediction_path("heart")
    with pytest.raises(InputError, match="predict or train again"):
        export_masks(session, tmp_path / "masks", source="prediction")
    assert not list((tmp_path / "masks").iterdir())


def test_a_round_that_was_killed_before_it_began_is_no_damage(session):
    empty = session.path / "rounds" / "0001"
    (empty / ".semiseg-abc").mkdir(parents=True)
    held(session.path).let_go()
    assert empty.exists(), "another program may be creating it"
    os.utime(empty, (1, 1))
    assert not held_reports(session.path)
    assert not empty.exists()
