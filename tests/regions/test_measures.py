from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.regions.comparison import GONE, changes, difference
from napari_semiseg.regions.measures import feret_diameter, measure


def test_a_box_by_hand():
    mask = np.zeros((6, 20, 30), np.uint8)
    mask[1:3, 4:9, 10:20] = 7
    (found,) = measure(mask, (5.0, 2.0, 1.0), [0, 7])
    assert found.voxels == 2 * 5 * 10
    assert found.volume_ml == pytest.approx(100 * 10 / 1000)
    assert found.box == ((1, 2), (4, 8), (10, 19))
    assert found.extent_mm == (10.0, 10.0, 10.0)
    assert found.diameter_mm == pytest.approx(10 * math.sqrt(3))
    assert found.slices == 2
    json.dumps(found.to_json())


def test_a_single_voxel_and_nothing():
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1, 1, 1] = 1
    one, none = measure(mask, (2.0, 3.0, 6.0), [1, 2])
    assert one.diameter_mm == pytest.approx(7.0)  # √(4 + 9 + 36)
    assert (none.voxels, none.diameter_mm, none.box, none.slices) == (0, 0.0, None, 0)


def test_slices_count_only_where_it_is():
    mask = np.zeros((9, 4, 4), np.uint8)
    mask[[1, 7]] = 1
    (found,) = measure(mask, (1, 1, 1), [1])
    assert found.slices == 2
    assert found.box[0] == (1, 7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_diameter_is_that_of_all_corners(seed):
    rng = np.random.default_rng(seed)
    inside, spacing = rng.random((4, 5, 6)) < 0.2, rng.uniform(0.5, 3, 3)
    points = np.argwhere(inside)
    corners = np.concatenate([points + np.array([i, j, k]) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * spacing
    farthest = max((np.linalg.norm(a - b) for a in corners for b in corners), default=0.0)
    assert feret_diameter(inside, spacing) == pytest.approx(farthest)


def test_changes_by_hand():
    before, after = np.zeros((2, 1, 10), np.uint8), np.zeros((2, 1, 10), np.uint8)
    before[0, 0, :4] = 1
    after[0, 0, 2:7] = 1
    after[1, 0, 0] = 2
    one, two = changes(before, after, (10.0, 10.0, 10.0), [0, 1, 2])  # 1 ml per voxel
    assert (one.before_ml, one.after_ml, one.gained_ml, one.lost_ml) == (4, 5, 3, 2)
    assert (two.before_ml, two.after_ml, two.gained_ml, two.lost_ml) == (0, 1, 1, 0)


def test_the_difference_shows_the_later_class_and_what_is_gone():
    before, after = np.array([[0, 1, 1, 2]], np.uint8), np.array([[0, 1, 0, 1]], np.uint8)
    np.testing.assert_array_equal(difference(before, after), [[0, 0, GONE, 1]])
