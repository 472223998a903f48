"""Files of every version ever written are read; those of a later one are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_sessions import truth, write_image

from napari_semiseg.errors import InputError
from napari_semiseg.session import Annotation, Session, SliceState
from napari_semiseg.session.versions import ROUND, SESSION, SLICES, Schema

SAMPLES = Path(__file__).parent / "versions"
SCHEMAS = {"session": SESSION, "slices": SLICES, "config": ROUND}
STORED = [(name, version) for name, schema in SCHEMAS.items() for version in range(1, schema.version + 1)]


def sample(name: str, version: int) -> Path:
    """Return the stored file; who adds a version stores one."""
    return SAMPLES / f"{name}.v{version}.json"


@pytest.fixture
def rename():
    """Three versions: ``a`` became ``b``, then ``c`` joined."""

    def first(content):
        content = dict(content)
        content["b"] = content.pop("a")
        return content

    return Schema((first, lambda content: {**content, "c": content["b"] + 1}))


@pytest.fixture
def old(tmp_path) -> Path:
    """A session as version 1 wrote it, with the image that it names."""
    image = write_image(tmp_path / "heart.nii.gz")
    place = tmp_path / "s.semiseg"
    session = Session.create(place)
    session.add_volume(image)
    shutil.copy(sample("session", 1), place / "session.json")
    shutil.copy(sample("slices", 1), place / "volumes" / "heart" / "slices.json")
    folder = place / "rounds" / "0001"
    folder.mkdir(parents=True)
    shutil.copy(sample("config", 1), folder / "config.json")
    return place


@pytest.mark.parametrize(("name", "version"), STORED)
def test_every_version_is_stored_and_becomes_that_of_today(name, version):
    schema = SCHEMAS[name]
    assert json.loads(sample(name, version).read_text())["schema_version"] == version
    assert schema.read(sample(name, version))["schema_version"] == schema.version


def test_a_session_of_the_first_version_opens_with_everything(old):
    session = Session.open(old)
    assert [c.name for c in session.classes] == ["wall", "cavity"]
    states = session.annotation("heart").states
    expected = {1: SliceState.COMPLETE, 2: SliceState.SCRIBBLED, 4: SliceState.REVIEWED}
    assert {plane: state for plane, state in enumerate(states) if state != SliceState.UNLABELLED} == expected
    (round_,) = session.rounds()
    assert round_.class_ids == (0, 1, 2)
    assert set(round_.digests["heart"]) == {"1", "2", "4"}
    assert session.load_volume("heart").data.shape == truth().shape


def test_steps_are_taken_one_after_the_other_from_where_a_file_stands(rename, tmp_path):
    place = tmp_path / "x.json"
    assert rename.version == 3
    for content in (
        {"schema_version": 1, "a": 4},
        {"schema_version": 2, "b": 4},
        {"schema_version": 3, "b": 4, "c": 5},
    ):
        assert rename.migrated(content, place) == {"schema_version": 3, "b": 4, "c": 5}


def test_reading_changes_nothing_and_writing_keeps_the_old_file(rename, tmp_path):
    place, kept = tmp_path / "x.json", tmp_path / "x.v1.json"
    place.write_text('{"schema_version": 1, "a": 4}')
    rename.read(place)
    assert place.read_text() == '{"schema_version": 1, "a": 4}'
    for value in (7, 8):
        rename.write(place, {"b": value, "c": 0})
        assert kept.read_text() == '{"schema_version": 1, "a": 4}'
        assert rename.read(place)["b"] == value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.v1.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"schema_version": 4}, "newer napari-semiseg .schema 4, this one knows 3.; update"),
        ({}, "no schema version"),
        ({"schema_version": "1"}, "no schema version"),
        ({"schema_version": True}, "no schema version"),
        ({"schema_version": 0}, "no schema version"),
        ([], "no schema version"),
        ({"schema_version": 1}, "damaged"),
        ({"schema_version": 2, "b": "text"}, "damaged"),
    ],
)
def test_newer_and_damaged_files_are_refused_in_a_sentence(rename, tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        rename.migrated(content, tmp_path / "x.json")
    assert "x.json" in str(caught.value)


def test_an_old_session_is_kept_beside_what_a_later_version_writes(old, monkeypatch):
    """As if the next version had come: tables and slices are read, written anew, and the old files stay."""
    before = {name: (old / name).read_bytes() for name in ("session.json", "volumes/heart/slices.json")}
    for schema in (SESSION, SLICES):
        monkeypatch.setattr(schema.__class__, "__setattr__", object.__setattr__)
        monkeypatch.setattr(schema, "steps", (*schema.steps, dict))
    session = Session.open(old)
    assert {name: (old / name).read_bytes() for name in before} == before
    session.add_class("lung")
    session.annotation("heart").set_state(0, SliceState.COMPLETE)
    session.close()
    assert (old / "session.v1.json").read_bytes() == before["session.json"]
    assert (old / "volumes" / "heart" / "slices.v1.json").read_bytes() == before["volumes/heart/slices.json"]
    again = Session.open(old)
    assert [c.name for c in again.classes] == ["wall", "cavity", "lung"]
    assert again.annotation("heart").annotated_planes() == [0, 1, 2, 4]
    monkeypatch.undo()
    with pytest.raises(InputError, match="newer"):
        Session.open(old)
    with pytest.raises(InputError, match="newer"):
        Annotation.open(old / "volumes" / "heart", truth().shape)
