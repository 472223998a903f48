"""What is written has the geometry of the input, exactly, and survives a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_files import OBLIQUE, blob, save_dicom, save_itk, save_nifti

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.io import Geometry, read_mask, read_volume, write_map, write_maps, write_mask
from napari_semiseg.io import atomic as atomic_module

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".mhd", ".tif", ".tiff")
SHAPE = (7, 6, 5)
NAMES = {1: "left ventricle", 2: "Myokard\nä", 254: "last"}


def _sources(tmp_path: Path) -> dict[str, Path]:
    array = blob(SHAPE)
    tiff = tmp_path / "in.tif"
    tifffile.imwrite(tiff, array, imagej=True, resolution=(2, 2), metadata={"spacing": 3.0, "unit": "mm"})
    save_dicom(tmp_path / "series", array, iop=(0, 1, 0, 0, 0, -1), step=(2.5, 0, 0))
    return {
        "nifti": save_nifti(tmp_path / "in.nii.gz", array),
        "nrrd": save_itk(tmp_path / "in.nrrd", array),
        "mha": save_itk(tmp_path / "in.mha", array),
        "dicom": tmp_path / "series",
        "tiff": tiff,
    }


def _labels(shape) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 254, 255], np.uint8), shape)


@pytest.mark.parametrize("source", ["nifti", "nrrd", "mha", "dicom", "tiff", "memory"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_format_to_any_format(tmp_path, source, suffix):
    if source == "memory":
        geometry = Geometry.from_spacing((3, 4, 5), (4.0, 0.7, 0.6))
    else:
        geometry = read_volume(_sources(tmp_path)[source]).geometry
    labels = _labels(geometry.shape)
    written = write_mask(tmp_path / f"out{suffix}", labels, geometry, NAMES)
    np.testing.assert_array_equal(read_mask(written, geometry), labels)
    again = read_volume(written)
    assert again.data.dtype == np.uint8
    np.testing.assert_allclose(again.geometry.spacing, geometry.spacing, rtol=1e-6)
    assert again.geometry.same_grid(geometry)
    np.testing.assert_array_equal(again.data, labels)
    side = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert {c["id"]: c["name"] for c in side["classes"]} == NAMES
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".semiseg")]


def test_nifti_header_is_the_inputs_own(tmp_path):
    image = nibabel.Nifti1Image(blob(SHAPE), OBLIQUE)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(OBLIQUE, 4)
    other = OBLIQUE.copy()
    other[:3, 3] += 5
    image.set_qform(other, 2)
    image.header["cal_max"] = 900
    image.header.set_dim_info(1, 0, 2)
    nibabel.save(image, tmp_path / "in.nii")
    source = nibabel.load(tmp_path / "in.nii").header
    geometry = read_volume(tmp_path / "in.nii").geometry
    write_mask(tmp_path / "out.nii.gz", _labels(geometry.shape), geometry, NAMES)
    written = nibabel.load(tmp_path / "out.nii.gz").header
    kept = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d")
    for field in (*kept, "qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "xyzt_units", "dim_info"):
        assert source[field].tobytes() == written[field].tobytes(), field
    assert written.get_data_dtype() == np.uint8
    assert float(written["cal_max"]) == 0
    slope, intercept = written.get_slope_inter()
    assert slope in (None, 1.0)
    assert intercept in (None, 0.0)
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "out.nii.gz").affine, nibabel.load(tmp_path / "in.nii").affine
    )


@pytest.mark.parametrize("kind", [nibabel.Nifti2Image, nibabel.Nifti1Pair])
def test_other_kinds_of_nifti_keep_their_affine(tmp_path, kind):
    name = "in.img" if kind is nibabel.Nifti1Pair else "in.nii"
    nibabel.save(kind(blob(SHAPE), OBLIQUE), tmp_path / name)
    geometry = read_volume(tmp_path / name).geometry
    labels = _labels(geometry.shape)
    write_mask(tmp_path / "out.nii", labels, geometry, {})
    written = nibabel.load(tmp_path / "out.nii")
    assert written.header.sizeof_hdr == (540 if kind is nibabel.Nifti2Image else 348)
    np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / name).affine)
    np.testing.assert_array_equal(geometry.to_display(np.asarray(written.dataobj)), labels)


def test_a_big_endian_input_gives_a_readable_mask(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.save(nibabel.Nifti1Image(blob(SHAPE).astype(">i2"), OBLIQUE, header), tmp_path / "in.nii")
    volume = read_volume(tmp_path / "in.nii")
    np.testing.assert_array_equal(volume.data, volume.geometry.to_display(blob(SHAPE)))
    values = np.random.default_rng(0).random(volume.data.shape, np.float32)
    write_map(tmp_path / "out.nii", values, volume.geometry)
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii").data, values)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("source", ["in.nrrd", "in.mha"])
def test_itk_formats_keep_every_digit(tmp_path, source, suffix):
    save_itk(tmp_path / source, blob(SHAPE))
    before = sitk.ReadImage(str(tmp_path / source))
    geometry = read_volume(tmp_path / source).geometry
    write_mask(tmp_path / f"out{suffix}", _labels(geometry.shape), geometry, {})
    after = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    assert after.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), rtol=0, atol=0)
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), rtol=1e-15)
    np.testing.assert_allclose(after.GetDirection(), before.GetDirection(), atol=1e-15)


def test_slicer_finds_segments(tmp_path):
    geometry = read_volume(save_nifti(tmp_path / "in.nii", blob(SHAPE))).geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1, 2, 3] = 2
    path = write_mask(tmp_path / "m.seg.nrrd", labels, geometry, {1: "liver", 2: "spleen"}, {2: (255, 0, 51)})
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("Segment0_Name") == "liver"
    assert image.GetMetaData("Segment1_Name") == "spleen"
    assert image.GetMetaData("Segment1_LabelValue") == "2"
    assert image.GetMetaData("Segment1_Color") == "1 0 0.2"
    where = np.argwhere(geometry.to_file(labels) == 2)[0]
    assert image.GetMetaData("Segment1_Extent") == " ".join(f"{i} {i}" for i in where)
    assert json.loads((tmp_path / "m.json").read_text())["classes"][1]["colour"] == "#ff0033"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_maps(tmp_path, suffix):
    geometry = read_volume(save_nifti(tmp_path / "in.nii.gz", blob(SHAPE))).geometry
    values = np.random.default_rng(2).random((4, *geometry.shape), np.float32)
    path = write_maps(tmp_path / f"p{suffix}", values, geometry)
    for index in range(4):
        again = read_volume(path, frame=index)
        assert again.geometry.same_grid(geometry)
        np.testing.assert_array_equal(again.data, values[index])
    np.testing.assert_array_equal(read_volume(write_map(tmp_path / f"e{suffix}", values[0], geometry)).data, values[0])


def test_tiff_pages_are_planes_with_resolution(tmp_path):
    affine = np.diag([-0.5, -0.25, 3.0, 1.0])
    geometry = read_volume(save_nifti(tmp_path / "in.nii", blob(SHAPE), affine)).geometry
    labels = _labels(geometry.shape)
    write_mask(tmp_path / "m.tif", labels, geometry, NAMES)
    with tifffile.TiffFile(tmp_path / "m.tif") as tiff:
        np.testing.assert_array_equal(tiff.asarray(), labels)
        assert tiff.pages[0].tags["XResolution"].value[0] / tiff.pages[0].tags["XResolution"].value[1] == pytest.approx(
            20
        )
        assert tiff.pages[0].tags["YResolution"].value[0] / tiff.pages[0].tags["YResolution"].value[1] == pytest.approx(
            40
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(0.1, 8)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.sampled_from(SUFFIXES),
    st.sampled_from((0, 1, 2)),
    st.sampled_from((1, -1)),
)
def test_any_oblique_grid_survives(tmp_path, turn, spacing, origin, shape, suffix, axis, hand):
    from small_files import rotation

    affine = np.eye(4)
    affine[:3, :3] = rotation(*turn) * spacing * (hand, 1, 1)
    affine[:3, 3] = origin
    geometry = Geometry.from_affine("memory", shape, affine, axis=axis)
    labels = _labels(geometry.shape)
    path = write_mask(tmp_path / f"m{suffix}", labels, geometry, {})
    np.testing.assert_array_equal(read_mask(path, geometry), labels)


def test_an_unoriented_volume_stays_unoriented(tmp_path):
    geometry = Geometry.from_spacing((3, 4, 5), (4.0, 0.7, 0.6))
    path = write_map(tmp_path / "image.nii.gz", np.random.default_rng(0).random((3, 4, 5), np.float32), geometry)
    assert not read_volume(path).geometry.oriented
    assert read_volume(path, axis=geometry.axes[0]).geometry.same_grid(geometry)


def test_sheared_planes(tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    geometry = Geometry.from_affine("dicom", (4, 5, 6), affine)
    labels = _labels(geometry.shape)
    for suffix in (".nii.gz", ".nrrd"):
        np.testing.assert_array_equal(
            read_mask(write_mask(tmp_path / f"m{suffix}", labels, geometry, {}), geometry), labels
        )
    with pytest.raises(InputError, match="sheared"):
        write_mask(tmp_path / "m.mha", labels, geometry, {})


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission is denied")])
def test_a_failing_disk_is_a_sentence_and_keeps_the_old_file(tmp_path, monkeypatch, code, words):
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    path = write_mask(tmp_path / "m.nii.gz", np.ones((2, 3, 4), np.uint8), geometry, {})
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic_module.os, "fsync", fail)
    with pytest.raises(StorageError, match=words):
        write_mask(path, np.zeros((2, 3, 4), np.uint8), geometry, {})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.nii.gz"]


def test_a_really_full_disk():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(StorageError, match="disk is full"),
        atomic_module.storing(full),
        full.open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_missing_folder_and_wrong_suffix(tmp_path):
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    labels = np.ones((2, 3, 4), np.uint8)
    with pytest.raises(StorageError, match="no folder"):
        write_mask(tmp_path / "absent" / "m.nii.gz", labels, geometry, {})
    with pytest.raises(InputError, match="suffix"):
        write_mask(tmp_path / "m.png", labels, geometry, {})
    with pytest.raises(InputError, match="uint8"):
        write_mask(tmp_path / "m.nii", labels.astype(int), geometry, {})
    with pytest.raises(InputError, match="planes, rows and columns"):
        write_mask(tmp_path / "m.nii", labels[:1], geometry, {})
    with pytest.raises(InputError, match="1 to 254"):
        write_mask(tmp_path / "m.nii", labels, geometry, {300: "too many"})
    with pytest.raises(InputError, match="colour"):
        write_mask(tmp_path / "m.nii", labels, geometry, {1: "a"}, {1: (0, 0, 300)})
    (tmp_path / "taken.nii").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        write_mask(tmp_path / "taken.nii", labels, geometry, {})
    assert [p.name for p in tmp_path.iterdir()] == ["taken.nii"]


def test_what_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    geometry = Geometry.from_spacing((2, 3, 4), (1, 1, 1))
    from napari_semiseg.io import writing

    def lossy(name, volumes, geometry, segments, encode=writing.encode):
        return encode(name, np.zeros_like(volumes), geometry, segments)

    monkeypatch.setattr(writing, "encode", lossy)
    with pytest.raises(StorageError, match="differ"):
        write_mask(tmp_path / "m.nii.gz", np.ones((2, 3, 4), np.uint8), geometry, {})
    assert not list(tmp_path.iterdir())
