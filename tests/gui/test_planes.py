"""Lazy stacks of planes: nothing is read before it is asked for, and put planes win over stored ones."""

from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.gui.planes import PlaneStack

SHAPE = (6, 5, 4)


class Counting:
    """An array that counts how often it is read."""

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.reads = array, array.shape, 0

    def __getitem__(self, key):
        self.reads += 1
        return self.array[key]


@pytest.fixture
def stored() -> Counting:
    return Counting(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))


def test_reads_only_the_plane_that_is_asked_for(stored):
    stack = PlaneStack(SHAPE, divisor=255)
    stack.rest_on(stored)
    assert stored.reads == 0
    plane = stack[2]
    assert stored.reads == 1
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane, stored.array[2] / 255, rtol=1e-6)


def test_a_plane_that_several_ask_for_or_that_was_fetched_is_read_once(stored):
    stack = PlaneStack(SHAPE)
    stack.rest_on(stored)
    for key in (np.s_[2], np.s_[2, 1:3], np.s_[2:3], np.s_[2]):
        np.testing.assert_array_equal(stack[key], stored.array[key])
    assert stored.reads == 1
    stack.fetch(3)
    stack.fetch(6)  # there is no such plane
    assert stored.reads == 2
    np.testing.assert_array_equal(stack[3], stored.array[3])
    assert stored.reads == 2
    other = Counting(stored.array[::-1].copy())
    stack.rest_on(other)
    np.testing.assert_array_equal(stack[2], other.array[2])
    assert other.reads == 1, "a plane of the earlier array was shown"


@pytest.mark.parametrize(
    "key",
    [
        np.s_[3],
        np.s_[-1],
        np.s_[:],
        np.s_[1:5:2],
        np.s_[2, :, :],
        np.s_[:, 1, :],
        np.s_[:, :, 3],
        np.s_[4, 1:3, 2],
        np.s_[..., 0],
        (np.int64(2), slice(None), slice(None)),
    ],
)
def test_indexes_as_the_array_would_with_put_planes_on_top(stored, key):
    stack = PlaneStack(SHAPE)
    stack.rest_on(stored)
    plane = np.full(SHAPE[1:], 7, np.uint8)
    stack.put({2: plane, 5: plane})
    expected = stored.array.copy()
    expected[[2, 5]] = 7
    np.testing.assert_array_equal(stack[key], expected[key])
    np.testing.assert_array_equal(np.asarray(stack), expected)


def test_shows_one_channel_of_four_dimensions():
    array = np.random.default_rng(1).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    stack = PlaneStack(SHAPE, divisor=255)
    stack.rest_on(array, channel=1)
    np.testing.assert_allclose(stack[4], array[1, 4] / 255, rtol=1e-6)
    np.testing.assert_allclose(stack[:], array[1] / 255, rtol=1e-6)


def test_is_zero_over_nothing_and_forgets_put_planes():
    stack = PlaneStack(SHAPE)
    stack.put({0: np.ones(SHAPE[1:], np.uint8)})
    assert stack.has_planes
    assert stack[0].all()
    stack.drop()
    assert not np.asarray(stack).any()


def test_refuses_arrays_of_another_shape(stored):
    stack = PlaneStack(SHAPE)
    with pytest.raises(ValueError, match="but this volume is"):
        stack.rest_on(np.zeros((6, 5, 5), np.uint8))
    with pytest.raises(ValueError, match="planes of this volume"):
        stack.put({0: np.zeros((4, 5), np.uint8)})
