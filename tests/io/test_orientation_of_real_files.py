"""The same head stored in many orders: every physical place keeps its intensity, and heads are upright on screen."""

from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.io import Volume, read_volume

ORDERS = ("LPS", "ASR", "PIR", "SAL", "LIA")


def _voxels_of(volume: Volume, other: Volume) -> np.ndarray:
    """Return the intensities of ``volume`` on the grid of ``other``, by nearest voxel through RAS."""
    grid = np.stack(np.meshgrid(*map(np.arange, other.data.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    ras = grid @ other.geometry.display_affine[:3, :3].T + other.geometry.display_affine[:3, 3]
    inverse = np.linalg.inv(volume.geometry.display_affine)
    index = np.rint(ras @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    assert index.min() >= 0
    assert (index < volume.data.shape).all()
    return volume.data[tuple(index.T)].reshape(other.data.shape)


@pytest.mark.parametrize("order", ORDERS)
def test_same_place_same_intensity(shared_data, order):
    reference = read_volume(shared_data / "odd" / "nifti" / "space_RAS.nii.gz")
    turned = read_volume(shared_data / "odd" / "nifti" / f"space_{order}.nii.gz")
    np.testing.assert_array_equal(_voxels_of(turned, reference), reference.data)


@pytest.mark.parametrize("order", ["PIR", "LSA"])
def test_same_place_same_intensity_in_derived_files(shared_data, order):
    reference = read_volume(shared_data / "hippocampus_mri" / "hippocampus_004_image.nii.gz")
    turned = read_volume(shared_data / "odd" / "derived" / f"space_{order}_image.nii.gz")
    np.testing.assert_array_equal(_voxels_of(turned, reference), reference.data)


@pytest.mark.parametrize("order", ["RAS", *ORDERS])
def test_axial_planes_look_the_same_whatever_the_order(shared_data, order):
    """Slicing from foot to head gives the same pictures from each file, up to the order of the planes."""
    reference = read_volume(shared_data / "odd" / "nifti" / "space_RAS.nii.gz")
    path = shared_data / "odd" / "nifti" / f"space_{order}.nii.gz"
    axis = next(index for index, letter in enumerate(order) if letter in "SI")
    turned = read_volume(path, axis=axis)
    assert turned.geometry.letters[1:] == (("A", "P"), ("R", "L"))
    planes = turned.data if turned.geometry.letters[0] == ("I", "S") else turned.data[::-1]
    np.testing.assert_array_equal(planes, reference.data)
