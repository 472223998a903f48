from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_semiseg.regions.cleanup import fill_holes, keep_largest

_ = 255
RING = np.array(
    [
        [_, _, _, _, _],
        [_, 1, 1, 1, _],
        [_, 1, _, 1, 2],
        [_, 1, 1, 1, _],
        [_, _, _, _, _],
    ],
    np.uint8,
)


def random_labels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), (3, 9, 10), p=[0.1, 0.5, 0.1, 0.3])


def test_a_hole_is_filled_by_hand():
    filled = fill_holes(RING[None], 1)[0]
    expected = RING.copy()
    expected[2, 2] = 1
    assert np.array_equal(filled, expected)
    assert RING[2, 2] == 255, "the input was changed"


def test_what_is_said_in_a_hole_stays():
    for said in (0, 2):
        ring = RING.copy()
        ring[2, 2] = said
        assert np.array_equal(fill_holes(ring[None], 1)[0], ring)


def test_an_open_ring_and_a_hole_that_is_too_large_stay():
    gap = RING.copy()
    gap[1, 2] = 255
    assert np.array_equal(fill_holes(gap[None], 1)[0], gap)
    wide = np.full((7, 7), 1, np.uint8)
    wide[2:5, 2:5] = 255
    assert np.array_equal(fill_holes(wide[None], 1, largest=8)[0], wide)
    assert (fill_holes(wide[None], 1, largest=9) == 1).all()


def test_a_hole_is_one_of_its_plane():
    """Open above and below, yet closed in its plane."""
    stack = np.stack([RING, RING])
    assert (fill_holes(stack, 1)[:, 2, 2] == 1).all()


def test_the_largest_component_by_hand():
    labels = np.full((2, 4, 6), 255, np.uint8)
    labels[0, 0, :2] = 1
    labels[:, 3, 3:] = 1  # six voxels over two planes
    labels[1, 0, :5] = 1  # touches the first: seven voxels
    labels[0, 1, 5] = 2
    found = keep_largest(labels, 1)
    assert (found[:, 3, 3:] == 255).all()
    assert (found[1, 0, :5] == 1).all()
    assert found[0, 1, 5] == 2
    assert (found == 1).sum() == 7


def test_a_class_that_is_absent_changes_nothing():
    assert np.array_equal(keep_largest(RING[None], 3), RING[None])
    assert np.array_equal(fill_holes(RING[None], 3), RING[None])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999))
def test_tidying_touches_one_class_only_and_again_changes_nothing(seed):
    labels = random_labels(seed)
    filled, kept = fill_holes(labels, 1), keep_largest(labels, 1)
    assert (filled[labels != 255] == labels[labels != 255]).all()
    assert set(np.unique(filled[labels == 255])) <= {1, 255}
    assert (kept[labels != 1] == labels[labels != 1]).all()
    assert set(np.unique(kept[labels == 1])) <= {1, 255}
    assert ndimage.label(kept == 1)[1] == 1
    assert np.array_equal(fill_holes(filled, 1), filled)
    assert np.array_equal(keep_largest(kept, 1), kept)
