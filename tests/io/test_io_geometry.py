"""Geometry, against numbers worked out by hand and for any orientation at all."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry
from napari_semiseg.io.orientation import angle_between, shear_angle

angles = st.floats(-3.1, 3.1)
sizes = st.floats(0.05, 12)
shapes = st.tuples(*[st.integers(1, 5)] * 3)
shifts = st.tuples(*[st.floats(-900, 900)] * 3)


def _affine(turn, spacing, shift, order=(0, 1, 2), signs=(1, 1, 1)):
    from small_files import rotation

    matrix = rotation(*turn)[:, list(order)] * np.array(signs) * np.array(spacing)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, shift
    return affine


@st.composite
def geometries(draw):
    affine = _affine(
        draw(st.tuples(angles, angles, angles)),
        draw(st.tuples(sizes, sizes, sizes)),
        draw(shifts),
        draw(st.permutations(range(3))),
        draw(st.tuples(*[st.sampled_from((-1, 1))] * 3)),
    )
    axis = draw(st.sampled_from((None, 0, 1, 2)))
    return Geometry.from_affine("nifti", draw(shapes), affine, axis=axis)


def test_an_axial_ras_volume_by_hand():
    affine = np.diag([0.5, 0.6, 3.0, 1.0])
    affine[:3, 3] = (-10, -20, -30)
    geometry = Geometry.from_affine("nifti", (4, 5, 2), affine)
    assert geometry.axes == (2, 1, 0)
    # x grows to the patient's right, but the patient's left belongs on the right of the screen; y grows forwards, but
    # anterior belongs up, where row 0 is.
    assert geometry.flips == (False, True, True)
    assert geometry.shape == (2, 5, 4)
    assert geometry.spacing == (3.0, 0.6, 0.5)
    assert geometry.letters == (("I", "S"), ("A", "P"), ("R", "L"))
    array = np.arange(40).reshape(4, 5, 2)
    shown = geometry.to_display(array)
    assert shown[1, 0, 0] == array[3, 4, 1]
    # Plane 1, row 0, column 0 is voxel (3, 4, 1): -10 + 1.5, -20 + 2.4, -30 + 3.
    np.testing.assert_allclose(geometry.display_affine @ (1, 0, 0, 1), (-8.5, -17.6, -27, 1))


def test_an_lps_volume_is_shown_as_it_is_stored():
    geometry = Geometry.from_affine("dicom", (4, 5, 2), np.diag([-1.0, -1.0, 4.0, 1.0]))
    assert geometry.flips == (False, False, False)
    assert geometry.letters == (("I", "S"), ("A", "P"), ("R", "L"))


@pytest.mark.parametrize(
    ("axis", "letters"),
    [
        (0, (("L", "R"), ("S", "I"), ("A", "P"))),
        (1, (("P", "A"), ("S", "I"), ("R", "L"))),
        (2, (("I", "S"), ("A", "P"), ("R", "L"))),
    ],
)
def test_every_slicing_direction_is_upright(axis, letters):
    geometry = Geometry.from_affine("nifti", (3, 4, 5), np.eye(4), axis=axis)
    assert geometry.letters == letters


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_screen_does_not_depend_on_storage_order(order, signs):
    affine = _affine((0, 0, 0), (1, 1, 1), (0, 0, 0), order, signs)
    for axis in range(3):
        letters = Geometry.from_affine("nifti", (3, 4, 5), affine, axis=axis).letters
        slicing = set(letters[0])
        if slicing == {"I", "S"}:
            assert letters[1:] == (("A", "P"), ("R", "L"))
        elif slicing == {"P", "A"}:
            assert letters[1:] == (("S", "I"), ("R", "L"))
        else:
            assert letters[1:] == (("S", "I"), ("A", "P"))


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [
        ((1, 1, 1), (9, 9, 9), 2),
        ((5, 1, 1), (9, 9, 9), 0),
        ((1, 5, 1), (9, 9, 9), 1),
        ((1, 1.4, 1), (9, 9, 9), 2),  # not yet 1.5 times the others
        ((3, 2.5, 1), (9, 9, 9), 2),  # not 1.5 times both others
        ((1, 1, 1), (1, 9, 9), 0),  # a single plane across the first axis
        ((1, 1, 9), (9, 1, 9), 1),
    ],
)
def test_the_slice_axis(spacing, shape, axis):
    geometry = Geometry.from_affine("nifti", shape, np.diag([*spacing, 1.0]))
    assert geometry.axes[0] == axis


@given(geometries())
def test_there_and_back(geometry):
    array = np.arange(np.prod(geometry.file_shape)).reshape(geometry.file_shape)
    shown = geometry.to_display(array)
    assert shown.shape == geometry.shape
    np.testing.assert_array_equal(geometry.to_file(shown), array)


@given(geometries())
def test_every_voxel_stays_in_its_place(geometry):
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.file_shape), indexing="ij"), axis=-1)
    places = grid @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    shown = np.stack([geometry.to_display(places[..., k]) for k in range(3)], axis=-1)
    display_grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    expected = display_grid @ geometry.display_affine[:3, :3].T + geometry.display_affine[:3, 3]
    np.testing.assert_allclose(shown, expected, atol=1e-9)


@given(geometries())
def test_planes_are_never_flipped_and_axes_point_the_right_way(geometry):
    assert geometry.flips[0] is False
    rows, columns = geometry.letters[1], geometry.letters[2]
    assert rows[0] in "AS"
    assert columns[0] in "RA"
    assert len({frozenset(pair) for pair in geometry.letters}) == 3


@given(geometries())
def test_json_round_trip_is_exact(geometry):
    again = Geometry.from_json(json.loads(json.dumps(geometry.to_json())))
    assert again == geometry
    assert hash(again) == hash(geometry)
    np.testing.assert_array_equal(again.affine, geometry.affine)
    assert again.same_grid(geometry)


@given(geometries(), st.floats(0.2, 5))
def test_a_shifted_grid_is_another(geometry, voxels):
    affine = geometry.affine.copy()
    affine[:3, 3] += geometry.affine[:3, 0] * voxels
    moved = Geometry("nifti", geometry.file_shape, affine, geometry.axes, geometry.flips)
    assert not geometry.same_grid(moved)


def test_rounding_of_a_header_is_the_same_grid():
    affine = np.diag([0.9765625, 0.9765625, 2.0, 1.0])
    rounded = np.diag([0.9766, 0.9766, 2.0, 1.0])
    first, second = (Geometry.from_affine("nifti", (512, 512, 20), a) for a in (affine, rounded))
    assert first.same_grid(second)
    assert not first.same_grid(Geometry.from_affine("nifti", (512, 512, 19), affine))


def test_equal_geometry_of_other_storage_order_is_the_same_grid():
    ras = Geometry.from_affine("nifti", (4, 5, 6), np.eye(4), axis=2)
    turned = np.zeros((4, 4))
    turned[2, 0], turned[1, 1], turned[0, 2], turned[3, 3] = 1, -1, 1, 1
    turned[1, 3] = 4  # the y axis runs backwards from voxel 4
    other = Geometry.from_affine("nifti", (6, 5, 4), turned, axis=0)
    assert ras.same_grid(other)


def test_memory_is_shown_as_given_and_has_no_letters():
    geometry = Geometry.from_spacing((2, 3, 4), (5.0, 0.7, 0.6))
    array = np.arange(24).reshape(2, 3, 4)
    assert geometry.shape == (2, 3, 4)
    np.testing.assert_array_equal(geometry.to_file(array), array.T)
    np.testing.assert_allclose(geometry.spacing, (5.0, 0.7, 0.6))
    assert geometry.letters == (("", ""),) * 3
    assert not geometry.oriented


def test_angles_by_hand():
    from small_files import rotation

    turned = np.eye(4)
    turned[:3, :3] = rotation(0, 0, np.radians(15)) * (1, 2, 3)
    assert angle_between(np.diag([4.0, 5, 6, 1]), turned) == pytest.approx(15)
    sheared = np.eye(4)
    sheared[1, 2] = np.tan(np.radians(18))
    assert shear_angle(sheared) == pytest.approx(18)
    assert shear_angle(turned) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "affine",
    [np.diag([0.0, 1, 1, 1]), np.diag([1.0, 1, 1, 2]), np.full((4, 4), np.nan), np.ones((4, 4)), np.eye(3)],
)
def test_an_impossible_affine_is_refused(affine):
    with pytest.raises(InputError, match=r"affine|spacing"):
        Geometry.from_affine("nifti", (2, 2, 2), affine)


def test_wrong_arrays_and_axes_are_refused():
    geometry = Geometry.from_affine("nifti", (2, 3, 4), np.eye(4))
    with pytest.raises(InputError, match="shape"):
        geometry.to_display(np.zeros((4, 3, 2)))
    with pytest.raises(InputError, match="planes, rows and columns"):
        geometry.to_file(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="0, 1 or 2"):
        Geometry.from_affine("nifti", (2, 3, 4), np.eye(4), axis=3)
    with pytest.raises(InputError, match="damaged"):
        Geometry.from_json({"format": "nifti"})
    with pytest.raises(InputError, match="above 0"):
        Geometry.from_spacing((2, 3, 4), (0, 1, 1))
