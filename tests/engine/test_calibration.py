from __future__ import annotations

import math

import numpy as np
import pytest

from napari_semiseg.engine import calibration as c


def drawn(temperature, count=200_000, classes=3, seed=0):
    """Probabilities that are right at a known temperature, and labels drawn from them at that temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, classes))
    told = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = c.temper(told, temperature)
    truth = (rng.random((count, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return told, truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature):
    told, truth = drawn(temperature)
    assert c.fit_temperature(told, truth) == pytest.approx(temperature, rel=0.02)


def test_the_temperature_lowers_the_calibration_error_and_changes_no_label():
    told, truth = drawn(2.5)
    after = c.temper(told, c.fit_temperature(told, truth))
    assert c.expected_calibration_error(after, truth) < 0.01 < c.expected_calibration_error(told, truth)
    np.testing.assert_array_equal(after.argmax(axis=1), told.argmax(axis=1))


def test_tempering_by_hand():
    # Odds of 0.8 : 0.2 are 4; at temperature 2 they are √4 = 2.
    np.testing.assert_allclose(c.temper(np.array([[0.8, 0.2]]), 2.0), [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(c.temper(np.array([[0.8, 0.2]]), 0.5), [[16 / 17, 1 / 17]])
    assert np.isfinite(c.temper(np.array([[1.0, 0.0]]), 10.0)).all()


def test_the_likelihood_by_hand():
    told = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert c.negative_log_likelihood(told, np.array([0, 1])) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


def test_the_calibration_error_by_hand():
    # With 10 bins: two say 0.95 and one of them is right, gap 0.45; two say 0.65 and both are right, gap 0.35.
    told = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]])
    truth = np.array([0, 1, 1, 1])
    assert c.expected_calibration_error(told, truth, bins=10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35)


def test_full_confidence_that_is_right_has_no_error_and_wrong_has_all():
    told = np.array([[1.0, 0.0]] * 4)
    assert c.expected_calibration_error(told, np.zeros(4, int)) == 0
    assert c.expected_calibration_error(told, np.ones(4, int)) == 1
    assert c.expected_calibration_error(told[:0], np.zeros(0, int)) == 0


def test_the_temperature_is_bounded():
    sure_and_wrong = np.array([[1.0, 0.0]] * 500)
    assert c.fit_temperature(sure_and_wrong, np.ones(500, int)) == pytest.approx(c.HIGHEST, rel=0.01)
    unsure_and_right = np.array([[0.6, 0.4]] * 500)
    assert c.fit_temperature(unsure_and_right, np.zeros(500, int)) == pytest.approx(c.LOWEST, rel=0.01)


def test_a_handful_of_voxels_changes_nothing():
    assert c.fit_temperature(np.array([[0.6, 0.4]] * 99), np.zeros(99, int)) == 1.0


def test_what_an_entropy_means():
    entropy = np.r_[np.full(300, 0.25), np.full(100, 0.35), np.full(500, 0.9)]
    wrong = np.r_[np.full(300, False), np.full(100, True), np.full(500, True)]
    assert c.wrong_near(entropy, wrong, 0.3) == 0.25
    assert c.wrong_near(entropy[400:], wrong[400:], 0.3) is None
