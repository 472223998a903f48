from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from small_sessions import truth, write_image

from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry
from napari_semiseg.session import Session, SliceState
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
