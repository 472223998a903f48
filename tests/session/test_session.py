from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from small_sessions import truth, write_image

from napari_semiseg import io
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.io import Geometry
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.export import export_masks
from napari_semiseg.session.masks import from_mask
from napari_semiseg.session.merge import accepted, merged


def test_a_session_comes_back_as_it_was(session):
    record = next(iter(session.volumes.values()))
    again = Session.open(session.path)
    assert again.classes == session.classes
    assert again.volumes[record.id].geometry == record.geometry
    assert again.volumes[record.id].source == record.source
    assert again.annotation(record.id).annotated_planes() == [1, 4]
    assert np.array_equal(again.annotation(record.id).said, session.annotation(record.id).said)
    assert again.load_volume(record.id).data.shape == (6, 48, 48)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(schema_version=99), "newer"),
        (lambda c: c.pop("schema_version"), "damaged"),
        (lambda c: c.pop("classes"), "classes"),
        (lambda c: c["classes"][0].update(id=300), "damaged"),
        (lambda c: c["volumes"][0].update(id="../../etc"), "damaged"),
        (lambda c: c["volumes"][0].update(source="../../../etc/passwd"), "outside its surroundings|not beside"),
        (lambda c: c["volumes"][0]["geometry"].update(affine=[[1]]), "damaged"),
        (lambda c: c["volumes"][0]["geometry"].pop("axes"), "damaged"),
    ],
)
def test_damaged_and_hostile_sessions_are_refused(session, change, sentence):
    file = session.path / "session.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        Session.open(session.path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"'])
def test_a_session_file_that_is_no_session_is_refused(session, content):
    (session.path / "session.json").write_text(content)
    with pytest.raises(InputError, match=r"session\.json"):
        Session.open(session.path)


def test_no_session_is_created_over_something_else(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        Session.create(tmp_path / "full")
    with pytest.raises(InputError, match="not a session folder"):
        Session.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no session\.json"):
        Session.open(tmp_path / "full")


def test_a_moved_or_changed_image_is_told(session, image):
    record = next(iter(session.volumes.values()))
    image.rename(image.with_name("elsewhere.nii.gz"))
    with pytest.raises(InputError, match="is gone"):
        Session.open(session.path).load_volume(record.id)
    write_image(image, seed=5)
    with pytest.raises(InputError, match="content changed"):
        Session.open(session.path).load_volume(record.id)


def test_folder_and_image_move_together(session, image, tmp_path):
    record = next(iter(session.volumes.values()))
    other = tmp_path / "other"
    other.mkdir()
    shutil.move(session.path, other / "s.semiseg")
    shutil.move(image, other / image.name)
    again = Session.open(other / "s.semiseg")
    assert again.load_volume(record.id).data.shape == (6, 48, 48)


def test_save_as_moves_everything_and_goes_on_writing_there(session, tmp_path):
    record = next(iter(session.volumes.values()))
    old = session.path
    session.move(tmp_path / "deep" / "t.semiseg")
    assert not old.exists()
    session.annotation(record.id).set_plane(0, np.full((48, 48), 2, np.uint8))
    session.close()
    assert (Session.open(session.path).annotation(record.id).said[0] == 2).all()
    with pytest.raises(InputError, match="exists already"):
        session.move(tmp_path)


def test_an_image_from_memory_is_kept_in_the_session(session):
    data = np.random.default_rng(0).normal(size=(4, 10, 12)).astype(np.float32)
    record = session.add_array(data, Geometry.from_spacing((4, 10, 12), (5, 1, 2)), "from memory")
    again = Session.open(session.path)
    assert again.load_volume(record.id).data == pytest.approx(data)
    assert again.volumes[record.id].geometry.spacing == pytest.approx((5, 1, 2))


def test_two_volumes_of_one_name_live_side_by_side(session, image):
    assert [session.add_volume(image).id for _ in range(2)] == ["heart-2", "heart-3"]


@pytest.mark.parametrize(
    ("fill", "states", "said"),
    [
        (lambda m: m.__setitem__((2, 1, 1), 3), {2: "complete"}, {(2, 1, 1): 3, (2, 0, 0): 255}),
        (lambda m: (m.fill(255), m.__setitem__(1, 0), m.__setitem__((1, 0, 0), 3)), {1: "complete"}, {(1, 0, 0): 3}),
        (lambda m: (m.fill(255), m.__setitem__((3, 1, 1), 3), m.__setitem__((3, 2, 2), 0)), {3: "scribbled"},
         {(3, 1, 1): 3, (3, 2, 2): 0, (3, 0, 0): 255}),
        (lambda m: None, {}, {}),
    ],
)  # fmt: skip
def test_what_a_mask_says(fill, states, said):
    mask = np.zeros((4, 5, 5), np.uint8)
    fill(mask)
    values, found = from_mask(mask, mask.shape, ())
    assert {p: str(s) for p, s in enumerate(found) if s != SliceState.UNLABELLED} == states
    for place, value in said.items():
        assert values[place] == value


def test_complete_slices_are_added_to_the_mask():
    _, states = from_mask(None, (4, 5, 5), (0, 3))
    assert [p for p, s in enumerate(states) if s == SliceState.COMPLETE] == [0, 3]


def test_a_mask_that_does_not_fit_leaves_the_session_alone(session, tmp_path, image):
    before = (session.path / "session.json").read_bytes()
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    with pytest.raises(InputError):
        session.add_volume(image, labels=tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match="0 to 5"):
        session.add_volume(image, complete_slices=[6])
    assert (session.path / "session.json").read_bytes() == before
    assert len(list((session.path / "volumes").iterdir())) == 1


def test_classes_of_a_mask_join_the_table(session, tmp_path, image):
    mask = np.zeros((48, 48, 6), np.uint8)
    mask[5, 5, 2] = 77
    nib.save(nib.Nifti1Image(mask, nib.load(image).affine), tmp_path / "mask.nii.gz")
    session.add_volume(image, labels=tmp_path / "mask.nii.gz")
    assert [(c.id, c.name) for c in session.classes] == [(2, "cavity"), (77, "class 77")]


def test_classes_are_added_renamed_and_recoloured(session):
    added = session.add_class("apex")
    assert added.id == 1
    assert len({c.colour for c in session.classes}) == 2
    assert session.update_class(1, name="tip", colour="#123456", key="7").rgb == (0x12, 0x34, 0x56)
    session.update_class(2, key="7")
    assert [(c.id, c.name, c.key) for c in Session.open(session.path).classes] == [(2, "cavity", "7"), (1, "tip", "")]
    with pytest.raises(InputError, match="already"):
        session.add_class("tip")
    with pytest.raises(InputError, match="needs a name"):
        session.update_class(1, name=" ")
    with pytest.raises(InputError, match="no class 9"):
        session.update_class(9, name="x")


def test_the_255th_class_is_refused(session):
    for i in range(253):
        session.add_class(f"c{i}")
    with pytest.raises(InputError, match="254 classes"):
        session.add_class("one too many")


def test_a_painted_class_is_not_removed_without_asking(session):
    record = next(iter(session.volumes.values()))
    with pytest.raises(InputError, match="painted on 2 slices"):
        session.remove_class(2)
    session.remove_class(2, erase=True)
    assert session.classes == []
    assert (Session.open(session.path).annotation(record.id).said == 255).all()


def test_an_id_that_a_round_knows_is_not_given_to_another_class(session):
    session.new_round(Plan())
    session.remove_class(2, erase=True)
    assert session.add_class("something else").id == 1
    assert session.add_class("one more").id == 3


def test_who_holds_a_session_adds_classes_without_looking_at_the_rounds(session, monkeypatch):
    session.new_round(Plan())
    session.remove_class(2, erase=True)
    session.hold()
    monkeypatch.setattr(Session, "rounds", lambda self: pytest.fail("the rounds were listed"))
    assert session.add_class("something else").id == 1
    session.remove_class(1)
    assert session.add_class("one more").id == 3, "a round may have learned the class meanwhile"
    session.let_go()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": "red"}, "colour 'red' cannot be used"),
        ({"name": "x" * 300}, "1 to 200 characters"),
        ({"key": "ctrl"}, "single character"),
    ],
)
def test_a_class_that_cannot_be_leaves_the_table_as_it_was(session, change, sentence):
    before = list(session.classes)
    with pytest.raises(InputError, match=sentence):
        session.update_class(2, **change)
    with pytest.raises(InputError, match=sentence):
        session.add_class(**{"name": "new", **change})
    assert session.classes == before
    assert Session.open(session.path).classes == before


@pytest.mark.parametrize("classes", [{0: "a"}, {255: "a"}, {1: " "}, {1: "a", 2: "a"}])
def test_classes_that_cannot_be_leave_no_folder(tmp_path, classes):
    with pytest.raises(InputError):
        Session.create(tmp_path / "new.semiseg", classes=classes)
    assert not (tmp_path / "new.semiseg").exists()


def test_default_colours_and_keys_are_all_different(tmp_path):
    session = Session.create(tmp_path / "new.semiseg", classes={i: f"c{i}" for i in range(1, 12)})
    assert len({c.colour for c in session.classes}) == 11
    assert [c.key for c in session.classes] == [*"123456789", "", ""]


def test_a_volume_that_cannot_be_added_leaves_nothing(session, image, monkeypatch):
    from napari_semiseg.session import versions

    def full(*_, **__):
        raise StorageError("full")

    monkeypatch.setattr(versions, "write_json", full)
    data, geometry = np.ones((4, 10, 12), np.float32), Geometry.from_spacing((4, 10, 12), (5, 1, 2))
    data[0] = 0
    for add in (lambda: session.add_volume(image), lambda: session.add_array(data, geometry, "array")):
        with pytest.raises(StorageError):
            add()
    monkeypatch.undo()
    with pytest.raises(InputError):
        session.add_array(np.full((4, 10, 12), np.nan), geometry, "nothing")
    assert [path.name for path in (session.path / "volumes").iterdir()] == ["heart"]
    assert list(session.volumes) == ["heart"]


def test_the_leftover_of_a_crash_is_not_taken_for_a_volume(session, image):
    shutil.copytree(session.path / "volumes" / "heart", session.path / "volumes" / "heart-2")
    assert session.add_volume(image).id == "heart-3"
    assert list(Session.open(session.path).volumes) == ["heart", "heart-3"]


def test_signals_tell_what_changed(session, image, tmp_path):
    heard = []
    for name in ("classes_changed", "volumes_changed", "slice_changed", "rounds_changed"):
        getattr(session, name).connect(lambda *args, name=name: heard.append((name, *args)))
    mask = np.zeros((48, 48, 6), np.uint8)
    mask[5, 5, 2] = 77
    nib.save(nib.Nifti1Image(mask, nib.load(image).affine), tmp_path / "mask.nii.gz")
    session.add_volume(image, labels=tmp_path / "mask.nii.gz")
    assert heard == [("volumes_changed",), ("classes_changed",)]
    heard.clear()
    session.remove_class(77, erase=True)
    assert heard == [("slice_changed", "heart-2", 2), ("classes_changed",)]
    heard.clear()
    session.new_round(Plan())
    assert heard == [("rounds_changed",)]


def test_a_session_with_a_running_round_stays_where_it_is(session, tmp_path):
    session.new_round(Plan()).claim()
    with pytest.raises(InputError, match="Round 1 is running"):
        session.move(tmp_path / "elsewhere.semiseg")


def places(content, path=()):
    """Yield every place in nested JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


JUNK = [None, -1, 10**400, 1.5, "", "../../x", "\x00", [], {}, [[]], True, {"schema_version": 1}]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:12])
def test_junk_anywhere_in_the_session_file_is_refused_in_a_sentence_or_harmless(session, junk):
    file = session.path / "session.json"
    original = file.read_text()
    tried = 0
    for place in places(json.loads(original)):
        content = inner = json.loads(original)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = junk
        file.write_text(json.dumps(content))
        tried += 1
        with suppress(InputError):
            opened = Session.open(session.path)
            for volume in opened.volumes:
                assert (opened.path / "volumes" / volume).parent == opened.path / "volumes"
                opened.annotation(volume)
                opened.load_volume(volume)
    assert tried > 50


def test_training_volumes_speak_in_indices(session):
    volumes, class_ids = session.training_volumes()
    assert class_ids == (0, 2)
    labels = volumes[0].labels
    assert np.array_equal(labels[1], truth()[1] // 2)
    assert (labels[0] == 255).all()
    assert volumes[0].spacing == pytest.approx((5, 0.7, 0.7))


def test_merging_prefers_what_was_said():
    said, predicted = np.array([255, 0, 3, 255], np.uint8), np.array([7, 7, 7, 0], np.uint8)
    assert merged(said, predicted).tolist() == [7, 0, 3, 0]


def test_accepting_never_overwrites_unless_asked():
    said, predicted = np.array([255, 0, 3, 255], np.uint8), np.array([7, 7, 7, 0], np.uint8)
    assert accepted(said, predicted).tolist() == [7, 0, 3, 255]
    assert accepted(said, predicted, overwrite=True).tolist() == [7, 7, 7, 255]


def test_a_killed_program_leaves_a_session_that_opens(session, image):
    """kill -9 while strokes, states, classes, volumes and rounds are written: each is old or new."""
    program = (
        "import sys, numpy as np\n"
        "from napari_semiseg.engine.plan import Plan\n"
        "from napari_semiseg.session import Session, SliceState\n"
        f"s = Session.open({str(session.path)!r}); a = s.annotation('heart'); print('go', flush=True)\n"
        "for i in range(10**6):\n"
        "    a.set_plane(i % 6, np.full((48, 48), 1 + i % 200, np.uint8)); a.set_state(i % 6, SliceState.COMPLETE)\n"
        "    a.flush()\n"
        "    s.update_class(2, name=f'cavity {i}')\n"
        "    if i % 7 == 3: s.new_round(Plan())\n"
        f"    if i % 7 == 6 and len(s.volumes) < 5: s.add_volume({str(image)!r})\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"go\n"
        time.sleep(rng.uniform(0.02, 0.6))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        again = Session.open(session.path)
        assert again.classes[0].name.startswith("cavity")
        for volume in again.volumes:
            annotation = again.annotation(volume)
            again.load_volume(volume)
            if volume == "heart":
                painted = [p for p in range(6) if (annotation.said[p] != 255).any()]
                assert all(len(np.unique(annotation.said[p])) == 1 for p in painted if p not in (1, 4))
                assert set(painted) <= set(annotation.annotated_planes())
        for found in again.rounds():
            assert 2 in found.class_ids
        again.add_class(f"after {len(again.classes)}")
        again.close()


@pytest.mark.slow
def test_real_volumes_and_their_masks_go_through_a_session_unchanged(tmp_path, shared_data):
    """The first pair of every collection: the mask that comes out is the one that went in, on the image's grid."""
    session = Session.create(tmp_path / "real.semiseg")
    pairs = {e["path"].split("/")[0]: e for e in json.loads((shared_data / "manifest.json").read_text())["entries"]}
    for pair in pairs.values():
        labels = shared_data / pair["label_path"]
        record = session.add_volume(shared_data / pair["path"], labels=labels)
        given = io.read_mask(labels, record.geometry)
        again = Session.open(session.path)
        assert again.load_volume(record.id).data.shape == given.shape
        carrying = (given > 0).any(axis=(1, 2))
        assert again.annotation(record.id).annotated_planes() == np.flatnonzero(carrying).tolist()
        (mask,) = export_masks(again, tmp_path / "masks", source="annotation", volumes=[record.id])
        assert np.array_equal(io.read_mask(mask, record.geometry), given)
    assert len(session.volumes) == len(pairs) > 10


@pytest.mark.parametrize("up", [True, False])
def test_what_is_learned_from_knows_in_which_direction_its_planes_are_counted(tmp_path, up):
    affine = np.diag([-0.7, -0.7, 5 if up else -5, 1.0])
    nib.save(
        nib.Nifti1Image(np.arange(16 * 16 * 6, dtype=np.int16).reshape(16, 16, 6), affine), tmp_path / "heart.nii.gz"
    )
    session = Session.create(tmp_path / "s.semiseg")
    record = session.add_volume(tmp_path / "heart.nii.gz")
    assert session.training_volume(record.id).descending != up
