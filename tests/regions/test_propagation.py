from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.regions.propagation import interpolate_signed_distance, random_walker

SPACING = (5.0, 1.0, 1.0)


def disc(radius, centre=(32, 32), side=64) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def cone(planes=9) -> np.ndarray:
    """A disc that grows from 6 to 22 pixels and holds a smaller one: like a ventricle in its wall."""
    truth = np.zeros((planes, 64, 64), np.uint8)
    for plane, radius in enumerate(np.linspace(6, 22, planes)):
        truth[plane][disc(radius)] = 1
        truth[plane][disc(radius / 2)] = 2
    return truth


def hide(truth: np.ndarray, shown) -> np.ndarray:
    labels = np.full_like(truth, 255)
    labels[list(shown)] = truth[list(shown)]
    return labels


def picture(truth: np.ndarray, noise=0.05, seed=0) -> np.ndarray:
    return 300 + 100 * (truth + noise * np.random.default_rng(seed).normal(size=truth.shape)).astype(np.float32)


def dice(a, b, c) -> float:
    return 2 * ((a == c) & (b == c)).sum() / ((a == c).sum() + (b == c).sum())


def test_interpolation_recovers_a_cone():
    truth = cone()
    found = interpolate_signed_distance(hide(truth, (0, 8)), SPACING)
    assert found.dtype == np.uint8
    assert dice(found, truth, 1) > 0.95
    assert dice(found, truth, 2) > 0.9


def test_random_walker_recovers_a_cone():
    truth = cone()
    found, probabilities = random_walker(picture(truth), hide(truth, (0, 4, 8)), SPACING)
    assert found.dtype == np.uint8
    assert dice(found, truth, 1) > 0.95
    assert dice(found, truth, 2) > 0.9
    assert probabilities.shape == (3, *truth.shape)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=0), 1, atol=0.02)
    assert np.array_equal(probabilities.argmax(axis=0), found)


def test_random_walker_follows_the_image_where_interpolation_cannot():
    """The structure bulges between the labelled planes; only the image tells."""
    truth = np.zeros((5, 64, 64), np.uint8)
    for plane, radius in enumerate((10, 16, 20, 16, 10)):
        truth[plane][disc(radius)] = 1
    labels = hide(truth, (0, 4))
    walked = random_walker(picture(truth, noise=0.02), labels, SPACING)[0]
    assert dice(walked, truth, 1) > 0.9 > dice(interpolate_signed_distance(labels, SPACING), truth, 1)


def test_interpolation_moves_halfway():
    truth = np.zeros((3, 64, 64), np.uint8)
    truth[0][disc(12, (28, 32))] = truth[2][disc(12, (36, 32))] = 1
    middle = interpolate_signed_distance(hide(truth, (0, 2)), SPACING)[1]
    rows, columns = np.nonzero(middle)
    assert (rows.mean(), columns.mean()) == pytest.approx((32, 32), abs=0.1)


def test_interpolation_weighs_by_distance_in_planes():
    truth = cone(5)
    found = interpolate_signed_distance(hide(truth, (0, 4)), SPACING)
    areas = [(plane > 0).sum() for plane in found]
    assert areas == sorted(areas)
    assert areas[1] < areas[2] < areas[3]


@pytest.mark.parametrize("radius", [4, 20])
def test_structure_of_one_plane_ends_halfway(radius):
    """Whatever its size."""
    truth = np.zeros((7, 64, 64), np.uint8)
    truth[0][disc(radius)] = 1
    found = interpolate_signed_distance(hide(truth, (0, 6)), SPACING)
    present = found.any(axis=(1, 2))
    assert present.tolist() == [True, True, True, False, False, False, False]


def test_touching_structures_leave_no_gap():
    """Two halves whose common border moves: no background between them."""
    truth = np.zeros((5, 64, 64), np.uint8)
    for plane, border in enumerate((20, 26, 32, 38, 44)):
        truth[plane, 10:54, 10:border] = 1
        truth[plane, 10:54, border:54] = 2
    found = interpolate_signed_distance(hide(truth, (0, 4)), SPACING)
    assert (found[:, 12:52, 12:52] > 0).all()
    assert abs(int((found[2, 32] == 1).sum()) - 22) <= 1


def test_a_plane_full_of_a_structure():
    truth = np.ones((5, 64, 64), np.uint8)
    truth[0][~disc(20)] = 0
    found = interpolate_signed_distance(hide(truth, (0, 4)), SPACING)
    areas = [int((plane == 1).sum()) for plane in found]
    assert areas == sorted(areas)
    assert areas[4] == 64 * 64


def test_from_nothing_to_everything():
    truth = np.stack([np.zeros((8, 8)), np.zeros((8, 8)), np.zeros((8, 8)), np.ones((8, 8))]).astype(np.uint8)
    found = interpolate_signed_distance(hide(truth, (0, 3)), SPACING)
    assert found.max(axis=(1, 2)).tolist() == [0, 0, 1, 1]


def test_spacing_in_the_plane_matters():
    """With 4 mm rows a pixel up counts as much as four aside."""
    truth = np.zeros((3, 64, 64), np.uint8)
    truth[0, 20:44, 20:44] = truth[2, 30:34, 30:34] = 1
    square = interpolate_signed_distance(hide(truth, (0, 2)), (5, 1, 1))[1]
    flat = interpolate_signed_distance(hide(truth, (0, 2)), (5, 4, 1))[1]
    assert np.array_equal(square, square.T)
    assert not np.array_equal(flat, flat.T)


def propagate(function, truth, labels):
    if function is random_walker:
        return random_walker(picture(truth), labels, SPACING)[0]
    return interpolate_signed_distance(labels, SPACING)


both = pytest.mark.parametrize("function", [interpolate_signed_distance, random_walker])


@both
def test_background_beyond_the_labelled_planes(function):
    truth = cone()
    found = propagate(function, truth, hide(truth, (3, 6)))
    assert not found[:3].any()
    assert not found[7:].any()
    assert found[4:6].any(axis=(1, 2)).all()


@both
def test_what_is_said_stays(function):
    """Labelled planes and strokes on others, even those that look wrong."""
    truth = cone()
    labels = hide(truth, (1, 7))
    labels[4, 60, 3:9] = 2
    found = propagate(function, truth, labels)
    assert np.array_equal(found[labels != 255], labels[labels != 255])


@both
def test_labels_are_not_changed(function):
    truth = cone()
    labels = hide(truth, (1, 7))
    before = labels.copy()
    propagate(function, truth, labels)
    assert np.array_equal(labels, before)


@both
@pytest.mark.parametrize("shown", [(), (4,), range(9)])
def test_none_one_or_all_planes(function, shown):
    truth = cone()
    found = propagate(function, truth, hide(truth, shown))
    others = [plane for plane in range(9) if plane not in shown]
    assert not found[others].any()
    assert np.array_equal(found[list(shown)], truth[list(shown)])


@both
def test_missing_class_between_others(function):
    """Class 1 was never painted; class 2 is still propagated."""
    truth = np.where(cone() == 2, 2, 0).astype(np.uint8)
    found = propagate(function, truth, hide(truth, (0, 4, 8)))
    assert dice(found, truth, 2) > 0.9
    assert set(np.unique(found)) == {0, 2}


def test_random_walker_with_strokes_only():
    truth = cone()
    labels = np.full_like(truth, 255)
    labels[:, 30:34, 31:33] = 2
    labels[:, 32, 2:5] = 0
    labels[4, 24, 30:34] = 1
    found, probabilities = random_walker(picture(truth), labels, SPACING)
    assert found[4, 32, 32] == 2
    assert np.array_equal(found[labels != 255], labels[labels != 255])
    assert np.isfinite(probabilities).all()


def test_random_walker_with_structure_strokes_only():
    """Without background seeds the box around them belongs to the structure, the rest stays background."""
    labels = np.full((3, 64, 64), 255, np.uint8)
    labels[1, 32, 32] = 1
    found, probabilities = random_walker(np.zeros((3, 64, 64)), labels, SPACING)
    assert found[1].sum() == 25 * 25
    assert probabilities[0, 0].min() == 1


@pytest.mark.parametrize("image", [np.full((9, 64, 64), 7.0), np.zeros((9, 64, 64), np.int16)])
def test_random_walker_on_a_blank_image(image):
    found, probabilities = random_walker(image, hide(cone(), (0, 8)), SPACING)
    assert np.isfinite(probabilities).all()
    assert found[4].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), planes=st.integers(2, 6), classes=st.integers(1, 4))
def test_interpolation_invents_nothing(seed, planes, classes):
    """Between two labelled planes only their classes occur, and equal planes stay as they are."""
    rng = np.random.default_rng(seed)
    first, last = (np.kron(rng.integers(0, classes, (3, 4)), np.ones((5, 5), int)).astype(np.uint8) for _ in range(2))
    labels = np.full((planes, *first.shape), 255, np.uint8)
    labels[0], labels[-1] = first, last
    found = interpolate_signed_distance(labels, SPACING)
    assert set(np.unique(found)) <= set(np.unique([first, last]))
    labels[-1] = first
    assert (interpolate_signed_distance(labels, SPACING) == first).all()
