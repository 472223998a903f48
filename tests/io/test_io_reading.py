"""Readers of each format, on small files with known voxels and places."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from small_files import OBLIQUE, blob, save_itk, save_nifti

from napari_semiseg.errors import ChoiceNeeded, InputError, NonFiniteError
from napari_semiseg.io import content_hash, describe, list_series, read_geometry, read_volume

SHAPE = (7, 6, 5)


def test_nifti_voxels_and_place(tmp_path):
    array = blob(SHAPE)
    volume = read_volume(save_nifti(tmp_path / "heart.nii.gz", array))
    assert volume.name == "heart"
    assert volume.source == tmp_path / "heart.nii.gz"
    assert volume.data.dtype == np.int16
    assert volume.data.flags.c_contiguous
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array)
    np.testing.assert_array_equal(volume.geometry.affine, nibabel.load(tmp_path / "heart.nii.gz").affine)
    np.testing.assert_allclose(volume.geometry.spacing, (3.0, 0.9, 0.8), rtol=1e-6)
    assert volume.notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_nifti_types_and_byte_orders(tmp_path, dtype, endian):
    array = blob(SHAPE, dtype=np.uint8).clip(0, 120).astype(np.dtype(dtype).newbyteorder(endian))
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(array.dtype)
    nibabel.save(nibabel.Nifti1Image(array, OBLIQUE, header, dtype=dtype), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == np.dtype(dtype)
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array)


def test_scaled_integers_are_float32_and_agree_with_nibabel(tmp_path):
    path = save_nifti(tmp_path / "a.nii", blob(SHAPE))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.37, -1024.5], "<f4").tobytes()
    path.write_bytes(raw)
    volume = read_volume(path)
    assert volume.data.dtype == np.float32
    expected = nibabel.load(path).get_fdata()
    np.testing.assert_allclose(volume.geometry.to_file(volume.data), expected.astype(np.float32), rtol=0, atol=0)


def test_no_orientation_agrees_with_nibabel_and_is_said(tmp_path):
    image = nibabel.Nifti1Image(blob(SHAPE), None)
    image.header.set_zooms((1, 2, 3))
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.geometry.affine, nibabel.load(tmp_path / "a.nii").affine)
    assert volume.geometry.letters == (("", ""),) * 3
    assert "does not say how the patient lies" in volume.notes[0]


def test_disagreeing_forms_are_measured(tmp_path):
    from small_files import rotation

    other = np.eye(4)
    other[:3, :3] = rotation(0, 0, np.radians(10))
    other[:3, 3] = (3, 4, 0)
    image = nibabel.Nifti1Image(blob(SHAPE), np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.set_qform(other, 1)
    nibabel.save(image, tmp_path / "a.nii")
    (note,) = read_volume(tmp_path / "a.nii").notes
    assert "sform was taken" in note
    assert "10.0 degrees" in note
    assert "5.0 mm" in note


def test_qform_is_taken_when_it_is_alone(tmp_path):
    image = nibabel.Nifti1Image(blob(SHAPE), OBLIQUE)
    image.set_qform(OBLIQUE, 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-4)
    assert volume.notes == ()


def test_time_series(tmp_path):
    array = blob((*SHAPE, 3))
    path = save_nifti(tmp_path / "a.nii.gz", array)
    with pytest.raises(ChoiceNeeded, match="3 volumes") as caught:
        read_volume(path)
    assert caught.value.parameter == "frame"
    assert [value for value, _ in caught.value.choices] == [0, 1, 2]
    volume = read_volume(path, frame=2)
    assert volume.frame == 2
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array[..., 2])
    with pytest.raises(InputError, match="volumes 0 to 2"):
        read_volume(path, frame=3)
    single = read_volume(save_nifti(tmp_path / "b.nii", array[..., :1]))
    assert single.frame is None
    with pytest.raises(InputError, match="only volume 0"):
        read_volume(tmp_path / "b.nii", frame=1)


def test_one_plane(tmp_path):
    image = nibabel.Nifti1Image(blob((7, 6)), np.diag([0.5, 0.5, 1, 1]))
    nibabel.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").data.shape == (1, 6, 7)
    sitk.WriteImage(sitk.GetImageFromArray(blob((6, 7))), str(tmp_path / "a.mha"))
    assert read_volume(tmp_path / "a.mha").data.shape == (1, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", blob((6, 7)))
    assert read_volume(tmp_path / "a.tif").data.shape == (1, 6, 7)
    across = save_nifti(tmp_path / "b.nii", blob((1, 6, 7)), np.eye(4))
    assert read_volume(across).data.shape == (1, 7, 6)


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_both_halves_of_a_pair(tmp_path, name):
    nibabel.save(nibabel.Nifti1Pair(blob(SHAPE), OBLIQUE), tmp_path / "a.hdr")
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), blob(SHAPE))


def test_analyze(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(blob(SHAPE), np.diag([2.0, 3, 4, 1])), tmp_path / "a.hdr")
    volume = read_volume(tmp_path / "a.hdr")
    assert sorted(volume.geometry.spacing) == [2, 3, 4]
    assert not volume.geometry.oriented
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), blob(SHAPE))


def test_mgz(tmp_path):
    nibabel.save(nibabel.MGHImage(blob(SHAPE).astype(np.int16), OBLIQUE.astype(np.float32)), tmp_path / "a.mgz")
    volume = read_volume(tmp_path / "a.mgz")
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), blob(SHAPE))
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-3)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_itk_formats(tmp_path, name, compress, dtype):
    array = blob(SHAPE, dtype)
    volume = read_volume(save_itk(tmp_path / name, array, compress=compress))
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array)
    image = sitk.ReadImage(str(tmp_path / name))
    for index in ((0, 0, 0), (3, 1, 2), (6, 5, 4)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        ras = volume.geometry.affine @ (*index, 1)
        np.testing.assert_allclose(ras[:3], lps * (-1, -1, 1), atol=1e-9)


@pytest.mark.parametrize(
    ("encoding", "space"), [("ascii", "left-posterior-superior"), ("raw", "right-anterior-superior")]
)
def test_hand_written_nrrd(tmp_path, encoding, space):
    array = blob((4, 3, 2), np.int16)
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: {encoding}\nspace: {space}\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\nnote:=anything\n\n"
    )
    body = array.tobytes(order="F") if encoding == "raw" else " ".join(map(str, array.ravel(order="F"))).encode()
    (tmp_path / "a.nrrd").write_bytes(header.encode() + body)
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array)
    sign = -1 if space.startswith("left") else 1
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], (sign * 10, sign * 20, 30))
    np.testing.assert_allclose(np.diag(volume.geometry.affine)[:3], (sign * 2, sign * 3, 4))


def test_itk_frames(tmp_path):
    array = blob((5, 6, 7, 2), np.float32)  # z, y, x, components
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd", frame=1)
    np.testing.assert_array_equal(volume.geometry.to_file(volume.data), array[..., 1].T)
    four = blob((3, 5, 6, 7))
    sitk.WriteImage(sitk.GetImageFromArray(four, isVector=False), str(tmp_path / "b.mha"))
    again = read_volume(tmp_path / "b.mha", frame=2)
    np.testing.assert_array_equal(again.geometry.to_file(again.data), four[2].T)


class TestTiff:
    def test_imagej(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "a.tif", blob((5, 6, 7)), imagej=True, resolution=(1 / 0.5, 1 / 0.25),
            metadata={"axes": "ZYX", "spacing": 3.0, "unit": "mm"},
        )  # fmt: skip
        volume = read_volume(tmp_path / "a.tif")
        np.testing.assert_array_equal(volume.data, blob((5, 6, 7)))
        np.testing.assert_allclose(volume.geometry.spacing, (3.0, 0.25, 0.5))
        assert volume.geometry.letters == (("", ""),) * 3

    def test_ome(self, tmp_path):
        metadata = {"axes": "ZYX", "PhysicalSizeX": 500.0, "PhysicalSizeY": 250.0, "PhysicalSizeZ": 2.0}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "mm"}
        tifffile.imwrite(tmp_path / "a.ome.tif", blob((5, 6, 7)), metadata=metadata)
        np.testing.assert_allclose(read_volume(tmp_path / "a.ome.tif").geometry.spacing, (2.0, 0.25, 0.5))

    def test_without_spacing(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", blob((5, 6, 7)))
        volume = read_volume(tmp_path / "a.tif")
        assert volume.geometry.spacing == (1, 1, 1)
        assert "1 mm was taken" in volume.notes[0]
        np.testing.assert_array_equal(volume.data, blob((5, 6, 7)))

    def test_printer_resolution_is_not_believed(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", blob((5, 6, 7)), resolution=(72, 72), resolutionunit="INCH")
        assert read_volume(tmp_path / "a.tif").geometry.spacing == (1, 1, 1)

    def test_resolution_tags(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", blob((5, 6, 7)), resolution=(20, 40), resolutionunit="CENTIMETER")
        volume = read_volume(tmp_path / "a.tif")
        np.testing.assert_allclose(volume.geometry.spacing, (1.0, 0.25, 0.5))
        assert "planes" in volume.notes[0]

    def test_channels(self, tmp_path):
        array = blob((5, 2, 6, 7), np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "ZCYX"})
        with pytest.raises(ChoiceNeeded):
            read_volume(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", frame=1).data, array[:, 1])

    def test_colour(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", blob((5, 6, 7, 3), np.uint8), photometric="rgb")
        with pytest.raises(InputError, match="colour"):
            read_volume(tmp_path / "a.tif")

    def test_pages_of_several_sizes(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(blob((6, 7)))
            writer.write(blob((8, 7)))
        with pytest.raises(InputError, match="different size"):
            read_volume(tmp_path / "a.tif")

    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}])
    def test_cut_short(self, tmp_path, options):
        tifffile.imwrite(tmp_path / "a.tif", blob((9, 60, 70)), **options)
        content = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError):
            read_volume(tmp_path / "a.tif")


class TestNonFinite:
    def test_offer_and_replacement(self, tmp_path):
        array = blob(SHAPE).astype(np.float32)
        array[0, 0, 0], array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf, -np.inf
        path = save_nifti(tmp_path / "a.nii", array)
        with pytest.raises(NonFiniteError, match=r"1 NaN voxel and 2 infinite voxels.*replaced"):
            read_volume(path)
        volume = read_volume(path, replace_nonfinite=True)
        assert np.isfinite(volume.data).all()
        low = array[np.isfinite(array)].min()
        assert volume.geometry.to_file(volume.data)[0, 0, 0] == low
        assert "replaced" in volume.notes[-1]

    def test_nothing_finite(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii", np.full(SHAPE, np.nan, np.float32))
        with pytest.raises(InputError, match="no finite voxel"):
            read_volume(path, replace_nonfinite=True)


def test_describe_is_json_and_tells_all(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", blob((*SHAPE, 2)))
    told = json.loads(json.dumps(describe(path)))
    assert told["shape"] == [5, 6, 7]
    assert told["frames"] == 2
    assert told["format"] == "nifti"
    assert told["dtype"] == "int16"
    assert told["axes"] == ["IS", "AP", "RL"]
    first = blob((*SHAPE, 2))[..., 0]
    assert told["range"] == [first.min(), first.max()]
    array = np.full(SHAPE, 3.0, np.float32)
    array[0, 0, 0] = np.nan
    assert describe(save_nifti(tmp_path / "b.nii", array))["nonfinite"] == 1


def test_geometry_of_an_empty_mask(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros(SHAPE, np.uint8))
    assert read_geometry(path).shape == (5, 6, 7)
    with pytest.raises(InputError, match="value 0 in every voxel"):
        read_volume(path)


class TestHash:
    def test_of_a_file(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii", blob(SHAPE))
        first = content_hash(path)
        assert first.startswith("sha256:")
        assert len(first) == 71
        moved = path.rename(tmp_path / "b.nii")
        assert content_hash(moved) == first
        save_nifti(tmp_path / "b.nii", blob(SHAPE, seed=1))
        assert content_hash(moved) != first

    @pytest.mark.parametrize(("name", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
    def test_counts_detached_data(self, tmp_path, name, data):
        path = save_itk(tmp_path / name, blob(SHAPE))
        first = content_hash(path)
        voxels = bytearray((tmp_path / data).read_bytes())
        voxels[10] ^= 1
        (tmp_path / data).write_bytes(voxels)
        assert content_hash(path) != first

    def test_of_a_missing_file(self, tmp_path):
        with pytest.raises(InputError, match="no file"):
            content_hash(tmp_path / "gone.nii")


def test_no_series_beside_other_files(tmp_path):
    assert list_series(save_nifti(tmp_path / "a.nii", blob(SHAPE))) == []
    assert list_series(tmp_path) == []


def test_compressed_although_the_name_says_not(tmp_path):
    path = save_nifti(tmp_path / "a.nii", blob(SHAPE))
    path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_volume(path).data, read_volume(path).geometry.to_display(blob(SHAPE)))


def test_importing_is_light():
    heavy = "{'torch', 'nibabel', 'SimpleITK', 'pydicom', 'tifffile', 'napari', 'qtpy', 'scipy'}"
    code = f"import sys, napari_semiseg.io; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_imports_neither_torch_nor_qt(tmp_path):
    save_nifti(tmp_path / "a.nii", blob(SHAPE))
    code = (
        "import sys; from napari_semiseg.io import read_volume; read_volume(sys.argv[1]);"
        "print([m for m in ('torch', 'napari', 'qtpy', 'PyQt6') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nii")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
