from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.engine.interval import dice_interval
from napari_semiseg.engine.learning_curve import Point, verdict


def test_dice_of_slices_together_by_hand():
    # Overlap 8 of 10 + 10 voxels, and 1 of 2 + 2: together 2 * 9 / 24, not the mean of 0.8 and 0.5.
    found = dice_interval(np.array([[8], [1]]), np.array([[20], [4]]))
    assert found.dice == pytest.approx(18 / 24)
    # Drawn with replacement only three results are possible: both first, both second, one of each.
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(0.8)


def test_one_slice_has_no_interval():
    found = dice_interval(np.array([[8]]), np.array([[20]]))
    assert (found.dice, found.low, found.high) == (pytest.approx(0.8), None, None)


def test_a_class_that_is_nowhere_does_not_count():
    found = dice_interval(np.array([[8, 0], [8, 0]]), np.array([[20, 0], [20, 0]]))
    assert found.classes == (pytest.approx(0.8), None)
    assert found.dice == found.low == found.high == pytest.approx(0.8)
    assert dice_interval(np.zeros((2, 1), int), np.zeros((2, 1), int)).dice is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        both = rng.binomial(400, 0.8, (30, 1)) - rng.integers(0, 120, (30, 1))
        found = dice_interval(both, np.full((30, 1), 800))
        inside += found.low <= 2 * (320 - 59.5) / 800 <= found.high
    assert 85 <= inside <= 100


def test_the_sentence_says_whether_more_slices_help():
    assert "No round" in verdict([])
    assert "another round" in verdict([Point(5, 0.8)])
    assert verdict([Point(5, 0.8), Point(8, 0.86)]).startswith("More slices still help: from 5 to 8")
    assert "chance" in verdict([Point(5, 0.8), Point(8, 0.86)])
    assert "chance" not in verdict([Point(5, 0.8, 0.78, 0.82), Point(8, 0.86, 0.84, 0.88)])
    assert verdict([Point(5, 0.85), Point(10, 0.855)]).startswith("More slices hardly help")
    assert "hardly" in verdict([Point(5, 0.941), Point(6, 0.943)]), "a difference that nobody sees"
    assert "single held-out slice" in verdict([Point(5, 0.8), Point(8, 0.86)])
    assert "overlap" in verdict([Point(5, 0.8, 0.7, 0.9), Point(8, 0.86, 0.8, 0.9)])
    assert "hardly" in verdict([Point(5, 0.8), Point(7, 0.9), Point(9, 0.85)]), "against the best one before"
    assert "another round" in verdict([Point(8, 0.8), Point(5, 0.7)])
