"""Decoded images that are kept for the next time: never stale, never more than there is room for."""

from __future__ import annotations

import os

import numpy as np
import pytest
from small_sessions import only, plan, write_image

from napari_semiseg.errors import InputError
from napari_semiseg.session import Session, glance, voxels


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_kept_image_is_mapped_and_equal(session):
    record = session.volumes[only(session)]
    read = session.load_volume(record.id)
    assert voxels.recall(record) is None
    assert voxels.keep(record, read.data)
    again = Session.open(session.path).load_volume(record.id)
    np.testing.assert_array_equal(again.data, read.data)
    assert again.data.dtype == read.data.dtype
    assert isinstance(again.data.base, np.memmap)
    assert not again.data.flags.writeable
    assert (again.name, again.geometry, again.source) == (read.name, read.geometry, read.source)


def test_a_touched_file_is_read_and_verified_again(session, image):
    record = session.volumes[only(session)]
    voxels.keep(record, session.load_volume(record.id).data)
    os.utime(image, ns=(0, 0))
    assert voxels.recall(record) is None
    write_image(image, seed=5)
    with pytest.raises(InputError, match="not the one that was annotated"):
        Session.open(session.path).load_volume(record.id)
    image.unlink()
    with pytest.raises(InputError, match="is gone"):
        session.load_volume(record.id)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00rubbish", None])
def test_a_damaged_cache_is_as_good_as_none(session, cache, damage):
    record = session.volumes[only(session)]
    data = session.load_volume(record.id).data
    voxels.keep(record, data)
    (place,) = cache.glob("*.npy")
    place.write_bytes(place.read_bytes()[:-100] if damage is None else damage)
    assert voxels.recall(record) is None
    np.testing.assert_array_equal(session.load_volume(record.id).data, data)
    place.with_suffix(".json").write_text("[]")
    assert voxels.recall(record) is None


def test_what_was_not_used_for_longest_makes_room(session, tmp_path, monkeypatch):
    records = [session.add_volume(write_image(tmp_path / f"{n}.nii.gz", seed=n)) for n in range(3)]
    data = [session.load_volume(record.id).data for record in records]
    monkeypatch.setattr(voxels, "LIMIT_BYTES", int(2.5 * data[0].nbytes))
    for number in (0, 1):
        assert voxels.keep(records[number], data[number])
        os.utime(voxels._place(records[number]), (number, number))
    assert voxels.recall(records[0]) is not None, "now it is the one that was used last"
    assert voxels.keep(records[2], data[2])
    assert [voxels.recall(record) is not None for record in records] == [True, False, True]


def test_a_full_or_forbidden_disk_keeps_nothing_and_says_nothing(session, monkeypatch, tmp_path):
    record = session.volumes[only(session)]
    data = session.load_volume(record.id).data
    monkeypatch.setattr(voxels, "FREE_SHARE", 1.1)
    assert not voxels.keep(record, data)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "file"))
    assert not voxels.keep(record, data)
    assert voxels.recall(record) is None


def test_a_dicom_series_is_known_by_all_of_its_files(tmp_path):
    from small_files import save_dicom

    folder = tmp_path / "ct"
    save_dicom(folder, np.random.default_rng(0).integers(0, 900, (4, 12, 10)))
    session = Session.create(tmp_path / "d.semiseg")
    record = session.add_volume(folder)
    voxels.keep(record, session.load_volume(record.id).data)
    assert voxels.recall(record) is not None
    os.utime(sorted(folder.iterdir())[1], ns=(0, 0))
    assert voxels.recall(record) is None


def test_the_voxels_of_a_pair_lie_in_another_file_and_are_not_kept(session, tmp_path):
    import nibabel as nib

    image = nib.Nifti1Pair(np.random.default_rng(0).normal(size=(8, 9, 5)).astype(np.float32), np.eye(4))
    nib.save(image, tmp_path / "pair.hdr")
    record = session.add_volume(tmp_path / "pair.hdr")
    assert not voxels.keep(record, session.load_volume(record.id).data)


def test_a_glance_needs_neither_voxels_nor_annotation(session):
    volume = only(session)
    found = glance.glance(Session.open(session.path), volume)
    assert found.states == session.annotation(volume).states
    assert (found.predicted, found.round) == (None, None)
    for round_ in (session.new_round(plan()), session.new_round(plan())):
        place = round_.prediction_path(volume)
        place.mkdir(parents=True)
        for name in ("model.safetensors", "model.json"):
            (round_.path / name).write_text("{}")
    assert glance.glance(session, volume).round == 2
    assert glance.glance(session, volume).predicted == pytest.approx(place.stat().st_mtime)
    session.restore_round(1)
    assert glance.glance(session, volume).round == 1, "opening the volume shows the round that was gone back to"
    (session.path / "volumes" / volume / "slices.json").write_text("{")
    assert {str(state) for state in glance.glance(session, volume).states} == {"unlabelled"}


def test_thumbnails_are_square_in_millimetres_and_made_anew_where_they_are_damaged(session):
    volume = only(session)
    data = np.zeros((3, 20, 40), np.float32)
    data[1, :, 20:] = np.nan
    data[1, :10] = 100
    made = glance.make_thumbnail(data, (9.0, 2.0, 0.5))
    assert made.shape == (64, 32)
    assert (made.min(), made.max()) == (0, 255)
    assert glance.make_thumbnail(np.full((1, 5, 5), 7), (1, 1, 1)).shape == (64, 64)
    assert glance.thumbnail(session, volume) is None
    kept = glance.keep_thumbnail(session, volume, session.load_volume(volume).data)
    np.testing.assert_array_equal(glance.thumbnail(session, volume), kept)
    (session.path / "volumes" / volume / "thumbnail.npy").write_bytes(b"rubbish")
    assert glance.thumbnail(session, volume) is None
