from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.regions.pieces import piece_at

PREDICTED = np.array(
    [
        [1, 1, 0, 2, 2],
        [0, 0, 1, 0, 2],
        [1, 0, 0, 0, 0],
    ],
    np.uint8,
)


def test_the_class_is_every_pixel_of_it():
    np.testing.assert_array_equal(piece_at(PREDICTED, 0, 0, "class"), PREDICTED == 1)


def test_a_region_is_what_hangs_together_also_by_corners():
    expected = np.zeros(PREDICTED.shape, bool)
    expected[0, :2] = expected[1, 2] = True
    np.testing.assert_array_equal(piece_at(PREDICTED, 0, 0, "region"), expected)
    assert piece_at(PREDICTED, 2, 0, "region").sum() == 1


def test_background_is_no_region_and_no_class():
    assert not piece_at(PREDICTED, 2, 4, "region").any()
    assert not piece_at(PREDICTED, 2, 4, "class").any()


def test_the_slice_is_all_of_it():
    assert piece_at(PREDICTED, 2, 4, "slice").all()


def test_a_superpixel_is_whatever_is_predicted_in_it():
    superpixels = np.array([[0, 0, 1, 1, 1]] * 3)
    np.testing.assert_array_equal(piece_at(PREDICTED, 2, 4, "superpixel", superpixels), superpixels == 1)
    with pytest.raises(ValueError):
        piece_at(PREDICTED, 2, 4, "superpixel")
