"""DICOM series: order by position, and a sentence for everything that is no volume."""

from __future__ import annotations

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from small_files import blob, save_dicom

from napari_semiseg.errors import ChoiceNeeded, InputError
from napari_semiseg.io import content_hash, list_series, read_mask, read_volume, write_mask

ARRAY = blob((6, 4, 5))


def test_slices_are_ordered_by_position_not_by_name(tmp_path):
    save_dicom(tmp_path, ARRAY)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, ARRAY - 1024)
    assert volume.data.dtype == np.int16
    assert volume.geometry.spacing == (2.5, 0.5, 0.75)
    # First pixel at LPS (-10, -20, 30), so at RAS (10, 20, 30).
    np.testing.assert_allclose(volume.geometry.display_affine @ (0, 0, 0, 1), (10, 20, 30, 1))
    np.testing.assert_allclose(volume.geometry.display_affine @ (1, 1, 1, 1), (10 - 0.75, 20 - 0.5, 32.5, 1))
    assert volume.series == "1.2.3.4"


def test_any_file_stands_for_its_series(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    np.testing.assert_array_equal(read_volume(paths[3]).data, read_volume(tmp_path).data)


@pytest.mark.parametrize(
    ("iop", "step", "letters"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 2), ["IS", "AP", "RL"]),
        ((1, 0, 0, 0, 1, 0), (0, 0, -2), ["IS", "AP", "RL"]),
        ((0, 1, 0, 0, 0, -1), (2, 0, 0), ["LR", "SI", "AP"]),
        ((1, 0, 0, 0, 0, -1), (0, 2, 0), ["AP", "SI", "RL"]),
    ],
)
def test_places_agree_with_simpleitk(tmp_path, iop, step, letters):
    save_dicom(tmp_path, ARRAY, iop=iop, step=step)
    volume = read_volume(tmp_path)
    assert ["".join(pair) for pair in volume.geometry.letters] == letters
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    for index in ((0, 0, 0), (4, 3, 5), (2, 1, 3)):
        ras = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        ours = np.rint(np.linalg.solve(volume.geometry.display_affine, [*ras, 1]))[:3].astype(int)
        assert volume.data[tuple(ours)] == array[index[::-1]]


def test_missing_slices_are_named(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    paths[2].unlink()
    with pytest.raises(InputError, match=r"lacks 1 slice.* 35\.00 mm"):
        read_volume(tmp_path)
    paths[3].unlink()
    with pytest.raises(InputError, match=r"lacks 2 slice.* 35\.00, 37\.50 mm"):
        read_volume(tmp_path)


def test_an_unreadable_member_is_named(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[:-30])
    with pytest.raises(InputError, match=f"{paths[2].name}.*cannot be decoded"):
        read_volume(tmp_path)
    paths[2].write_bytes(b"")
    with pytest.raises(InputError, match=f"{paths[2].name}.*empty"):
        read_volume(tmp_path)
    paths[2].write_bytes(b"x" * 500)
    with pytest.raises(InputError, match=f"{paths[2].name}.*cannot be read"):
        read_volume(tmp_path)


def test_several_series_are_offered(tmp_path):
    save_dicom(tmp_path / "a", ARRAY, uid="1.2.3")
    save_dicom(tmp_path / "b", ARRAY[:3] + 1, uid="1.2.4")
    with pytest.raises(ChoiceNeeded, match=r"2 DICOM series.*1\.2\.3.*1\.2\.4") as caught:
        read_volume(tmp_path)
    assert caught.value.parameter == "series"
    assert [value for value, _ in caught.value.choices] == ["1.2.3", "1.2.4"]
    assert [(s.uid, s.n_slices, s.modality) for s in list_series(tmp_path)] == [("1.2.3", 6, "CT"), ("1.2.4", 3, "CT")]
    np.testing.assert_array_equal(read_volume(tmp_path, series="1.2.4").data, ARRAY[:3] + 1 - 1024)
    with pytest.raises(InputError, match=r"no DICOM series '9\.9'"):
        read_volume(tmp_path, series="9.9")


def test_two_series_in_one_folder_and_a_file_that_chooses(tmp_path):
    first = save_dicom(tmp_path, ARRAY, uid="1.2.3", names=[f"a{i}" for i in range(6)])
    save_dicom(tmp_path, ARRAY + 1, uid="1.2.4", names=[f"b{i}" for i in range(6)])
    assert read_volume(first[0]).series == "1.2.3"


def test_several_images_at_each_position(tmp_path):
    for echo in (1, 2):
        names = [f"e{echo}-{i}" for i in range(6)]
        save_dicom(tmp_path, ARRAY + echo, names=names, EchoTime=10.0 * echo, InstanceNumber=echo)
    with pytest.raises(ChoiceNeeded, match="2 volumes") as caught:
        read_volume(tmp_path)
    assert "echo time 20 ms" in caught.value.choices[1][1]
    np.testing.assert_array_equal(read_volume(tmp_path, frame=1).data, ARRAY + 2 - 1024)


def test_copies_are_left_out(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, ARRAY - 1024)
    assert "is a copy of" in volume.notes[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "different orientation"),
        ({"PixelSpacing": [1, 1]}, "pixel spacings"),
        ({"PixelSpacing": [0, 0]}, "above 0"),
        ({"PixelSpacing": [-1, 1]}, "above 0"),
    ],
)
def test_mixtures_are_refused(tmp_path, changes, words):
    paths = save_dicom(tmp_path, ARRAY)
    data = pydicom.dcmread(paths[4])
    for name, value in changes.items():
        setattr(data, name, value)
    data.save_as(paths[4])
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path)


def test_sizes_are_not_mixed(tmp_path):
    save_dicom(tmp_path, ARRAY, names=[f"a{i}" for i in range(6)])
    save_dicom(tmp_path, blob((1, 8, 5)), origin=(-10, -20, 45), names=["b"], InstanceNumber=7)
    with pytest.raises(InputError, match="different size"):
        read_volume(tmp_path)


def test_uneven_slices(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    data = pydicom.dcmread(paths[5])
    data.ImagePositionPatient = [-10, -20, 42.6]
    data.save_as(paths[5])
    volume = read_volume(tmp_path)
    assert "varies" in volume.notes[0]
    data.ImagePositionPatient = [-10, -20, 41.4]
    data.save_as(paths[5])
    with pytest.raises(InputError, match="unevenly spaced"):
        read_volume(tmp_path)


def test_gantry_tilt_is_said_and_kept(tmp_path):
    save_dicom(tmp_path / "series", ARRAY, step=(0, 0.5, 2.5))
    volume = read_volume(tmp_path / "series")
    assert "tilted by 11.3 degrees" in volume.notes[0]
    labels = (volume.data > -900).astype(np.uint8)
    path = write_mask(tmp_path / "m.nii.gz", labels, volume.geometry, {1: "a"})
    np.testing.assert_allclose(nibabel.load(path).affine[:3, 2], (0, -0.5, 2.5), atol=1e-6)
    np.testing.assert_array_equal(read_mask(path, volume.geometry), labels)


def test_slopes_may_differ_from_slice_to_slice(tmp_path):
    for index in range(6):
        save_dicom(
            tmp_path, ARRAY[index : index + 1], origin=(0, 0, 2.0 * index), names=[f"{index}"],
            RescaleSlope=0.5 + index, RescaleIntercept=0,
        )  # fmt: skip
    volume = read_volume(tmp_path)
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, ARRAY * (0.5 + np.arange(6))[:, None, None])


def test_a_single_slice(tmp_path):
    save_dicom(tmp_path, ARRAY[:1], SliceThickness=4)
    volume = read_volume(tmp_path)
    assert volume.data.shape == (1, 4, 5)
    assert volume.geometry.spacing == (4, 0.5, 0.75)


def test_colour_and_objects_that_are_no_images(tmp_path):
    (path,) = save_dicom(tmp_path, ARRAY[:1], SamplesPerPixel=3, PhotometricInterpretation="RGB")
    with pytest.raises(InputError, match="colour"):
        read_volume(path)
    save_dicom(tmp_path / "seg", ARRAY[:1], Modality="SEG")
    with pytest.raises(InputError, match="segmentation, not an image"):
        read_volume(tmp_path / "seg")


def test_a_segmentation_beside_the_images_is_left_alone(tmp_path):
    save_dicom(tmp_path, ARRAY, names=[f"a{i}" for i in range(6)])
    save_dicom(tmp_path, ARRAY[:1], Modality="RTSTRUCT", uid="7.7", names=["contours"])
    assert read_volume(tmp_path).data.shape == (6, 4, 5)
    assert [s.uid for s in list_series(tmp_path)] == ["1.2.3.4"]


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    save_dicom(tmp_path, ARRAY)
    (tmp_path / "notes.txt").write_text("seen by the radiologist")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 200)
    (tmp_path / ".hidden").write_bytes(b"")
    assert read_volume(tmp_path).data.shape == (6, 4, 5)


def test_the_hash_does_not_depend_on_file_names(tmp_path):
    paths = save_dicom(tmp_path, ARRAY)
    first = content_hash(tmp_path)
    paths[0].rename(tmp_path / "zzz.dcm")
    assert content_hash(tmp_path) == first
    assert content_hash(paths[1], "1.2.3.4") == first
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    assert content_hash(tmp_path) != first


def test_real_series_agree_with_their_nifti_twins(shared_data):
    folder = shared_data / "dicom" / "ibsi_lung_ct"
    series = read_volume(folder / "series")
    twin = read_volume(folder / "image.nii.gz")
    assert series.geometry.same_grid(twin.geometry)
    np.testing.assert_array_equal(series.data, twin.data)
    mask = read_mask(folder / "label.nii.gz", series.geometry)
    assert mask.any()


@pytest.mark.parametrize("packing", ["rle", "jpegls"])
def test_compressed_slices_are_those_of_the_other_packing(shared_data, packing):
    folder = shared_data / "odd" / "dicom"
    first = read_volume(folder / "dicom2nifti_generic_compressed_j2k_001")
    second = read_volume(folder / f"dicom2nifti_generic_compressed_{packing}_001")
    np.testing.assert_array_equal(first.data, second.data)
    assert first.geometry.same_grid(second.geometry)
