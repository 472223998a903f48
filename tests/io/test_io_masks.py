"""Masks land on the volume's grid or are refused with both sides named."""

from __future__ import annotations

from itertools import permutations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_files import OBLIQUE, blob, save_itk, save_nifti

from napari_semiseg.errors import InputError
from napari_semiseg.io import read_mask, read_volume

SHAPE = (7, 6, 5)


@pytest.fixture
def volume(tmp_path):
    return read_volume(save_nifti(tmp_path / "image.nii.gz", blob(SHAPE)))


def _labels(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


@settings(max_examples=48, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_permuted_and_flipped_masks_are_turned(tmp_path, volume, order, flips):
    labels = _labels()
    ornt = np.array([(list(order).index(axis), -1 if flips[axis] else 1) for axis in range(3)], float)
    turned = nibabel.Nifti1Image(labels, OBLIQUE).as_reoriented(ornt)
    nibabel.save(turned, tmp_path / "mask.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", volume.geometry), volume.geometry.to_display(labels))


@pytest.mark.parametrize("name", ["m.nrrd", "m.mha"])
def test_masks_of_other_formats(tmp_path, name):
    image = read_volume(save_itk(tmp_path / "image.mha", blob(SHAPE)))
    mask = read_mask(save_itk(tmp_path / name, _labels()), image.geometry)
    np.testing.assert_array_equal(mask, image.geometry.to_display(_labels()))


def test_a_tiff_mask_is_placed_by_page_row_and_column(tmp_path, volume):
    shown = np.random.default_rng(0).integers(0, 3, volume.data.shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", shown, photometric="minisblack")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", volume.geometry), shown)
    tifffile.imwrite(tmp_path / "n.tif", shown[:-1], photometric="minisblack")
    with pytest.raises(InputError, match=r"4 x 6 x 7 .* 5 x 6 x 7"):
        read_mask(tmp_path / "n.tif", volume.geometry)


def test_shape_and_affine_are_named(tmp_path, volume):
    short = save_nifti(tmp_path / "short.nii", _labels()[:, :, :-1])
    with pytest.raises(InputError, match=r"7 x 6 x 4.*7 x 6 x 5"):
        read_mask(short, volume.geometry)
    moved = OBLIQUE.copy()
    moved[:3, 3] += (3, -3, 3)
    with pytest.raises(InputError, match=r"another grid.*\(3\.00, -3\.00, 3\.00\) mm apart"):
        read_mask(save_nifti(tmp_path / "moved.nii", _labels(), moved), volume.geometry)
    coarse = OBLIQUE.copy()
    coarse[:3, :3] *= 1.25
    with pytest.raises(InputError, match=r"voxels measure 1 x 1.125 x 3.75 mm.*0.8 x 0.9 x 3 mm"):
        read_mask(save_nifti(tmp_path / "coarse.nii", _labels(), coarse), volume.geometry)
    turned = OBLIQUE.copy()
    turned[:3, :3] = np.diag([0.8, 0.9, 3])
    with pytest.raises(InputError, match="turned by"):
        read_mask(save_nifti(tmp_path / "turned.nii", _labels(), turned), volume.geometry)


def test_a_rounded_affine_is_accepted_half_a_voxel_is_not(tmp_path, volume):
    for part, fits in ((0.001, True), (0.5, False)):
        moved = OBLIQUE.copy()
        moved[:3, 3] += OBLIQUE[:3, 0] * part
        path = save_nifti(tmp_path / f"m{part}.nii", _labels(), moved)
        if fits:
            np.testing.assert_array_equal(read_mask(path, volume.geometry), volume.geometry.to_display(_labels()))
        else:
            with pytest.raises(InputError, match="another grid"):
                read_mask(path, volume.geometry)


def test_floats_near_whole_numbers(tmp_path, volume):
    near = (_labels() * 0.9999999).astype(np.float32)
    path = save_nifti(tmp_path / "near.nii", near)
    np.testing.assert_array_equal(read_mask(path, volume.geometry), volume.geometry.to_display(_labels()))
    far = _labels().astype(np.float32)
    far[0, 0, 0] = 0.5
    with pytest.raises(InputError, match=r"not whole numbers, such as 0\.5 .*1 voxel"):
        read_mask(save_nifti(tmp_path / "far.nii", far), volume.geometry)
    far[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        read_mask(save_nifti(tmp_path / "nan.nii", far), volume.geometry)


def test_values_out_of_range(tmp_path, volume):
    labels = _labels().astype(np.int16)
    large = np.array([0, 200, 500, 600], np.int16)[labels]
    with pytest.raises(InputError, match="200→1, 500→2, 600→3"):
        read_mask(save_nifti(tmp_path / "large.nii", large), volume.geometry)
    with pytest.raises(InputError, match=r"negative.*-3"):
        read_mask(save_nifti(tmp_path / "negative.nii", -labels), volume.geometry)
    image = read_volume(save_nifti(tmp_path / "big.nii", blob((20, 20, 5))))
    many = np.arange(2000, dtype=np.int16).reshape(20, 20, 5)
    with pytest.raises(InputError, match=r"1999 classes.*at most 254"):
        read_mask(save_nifti(tmp_path / "many.nii", many), image.geometry)


def test_every_id_up_to_255(tmp_path):
    image = read_volume(save_nifti(tmp_path / "image.nii", blob((16, 16, 1))))
    every = np.arange(256, dtype=np.int16).reshape(16, 16, 1)
    path = save_nifti(tmp_path / "every.nii", every)
    assert set(read_mask(path, image.geometry).ravel()) == set(range(256))
    with pytest.raises(InputError, match="255"):
        read_mask(path, image.geometry, allow_unsaid=False)


def test_an_empty_mask_is_a_mask(tmp_path, volume):
    path = save_nifti(tmp_path / "empty.nii", np.zeros(SHAPE, np.uint8))
    assert not read_mask(path, volume.geometry).any()


def test_several_volumes_are_no_mask(tmp_path, volume):
    path = save_nifti(tmp_path / "probabilities.nii", np.stack([_labels()] * 3, axis=-1))
    with pytest.raises(InputError, match="3 volumes"):
        read_mask(path, volume.geometry)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_symmetric_grids_are_told_apart_by_the_affine(tmp_path, order):
    """On a cube every permutation has the right shape; only the affine tells."""
    cube = (5, 5, 5)
    image = read_volume(save_nifti(tmp_path / "image.nii", blob(cube), np.eye(4)))
    labels = np.random.default_rng(0).integers(0, 3, cube).astype(np.uint8)
    affine = np.eye(4)[:, [*order, 3]]
    mask = read_mask(save_nifti(tmp_path / "mask.nii", labels.transpose(order), affine), image.geometry)
    np.testing.assert_array_equal(mask, image.geometry.to_display(labels))


def test_a_real_label_with_reversed_rows_fits_its_dicom_series(shared_data):
    folder = shared_data / "dicom" / "totalseg_ct_dicom"
    image = read_volume(folder / "series")
    mask = read_mask(folder / "label.nii.gz", image.geometry)
    stored = np.asarray(nibabel.load(folder / "label.nii.gz").dataobj)
    assert np.array_equal(
        np.bincount(mask.ravel(), minlength=256), np.bincount(stored.ravel().astype(int), minlength=256)
    )
    # Bones (vertebrae, ribs, hips) are bright in CT wherever the labels are right side up.
    itk = sitk.ReadImage(str(folder / "label.nii.gz"))
    point = tuple(int(i) for i in np.argwhere(stored > 0)[1000])
    ras = np.array(itk.TransformIndexToPhysicalPoint(point)) * (-1, -1, 1)
    index = np.rint(np.linalg.solve(image.geometry.display_affine, [*ras, 1]))[:3].astype(int)
    assert mask[tuple(index)] == stored[point]


def test_every_derived_label_of_one_head(shared_data):
    image = read_volume(shared_data / "hippocampus_mri" / "hippocampus_004_image.nii.gz")
    folder = shared_data / "odd" / "derived"
    reference = read_mask(shared_data / "hippocampus_mri" / "hippocampus_004_label.nii.gz", image.geometry)
    assert reference.any()
    for name in ("label_x_reversed_same_space", "label_float_0.9999999", "space_PIR_label", "space_LSA_label"):
        np.testing.assert_array_equal(read_mask(folder / f"{name}.nii.gz", image.geometry), reference, err_msg=name)
    with pytest.raises(InputError, match=r"3\.00, .*3\.00.* mm apart"):
        read_mask(folder / "label_affine_shifted_3mm.nii.gz", image.geometry)
    with pytest.raises(InputError, match=r"36 x 52 x 37.*36 x 52 x 38"):
        read_mask(folder / "label_one_slice_short.nii.gz", image.geometry)


def test_original_ids_of_a_challenge_are_to_be_remapped(shared_data):
    image = read_volume(shared_data / "cardiac_bssfp_mscmr" / "mscmr_bssfp_01_image.nii.gz")
    with pytest.raises(InputError, match="200→1, 500→2, 600→3"):
        read_mask(shared_data / "odd" / "nifti" / "mscmr_01_label_original_ids.nii.gz", image.geometry)
