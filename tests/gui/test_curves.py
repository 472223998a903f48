"""Loss curves stay small and true."""

from __future__ import annotations

import numpy as np

from napari_semiseg.gui.curves import LossHistory


def test_keeps_each_step_of_a_short_run():
    history = LossHistory()
    for step in range(1, 6):
        history.add(step, {"supervised": float(step)})
    steps, losses = history.curve("supervised")
    np.testing.assert_array_equal(steps, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(losses, [1, 2, 3, 4, 5])


def test_a_long_run_stays_within_the_limit_and_keeps_its_mean():
    history = LossHistory(limit=100)
    for step in range(10_000):
        history.add(step, {"a": float(step)})
    steps, losses = history.curve("a")
    assert len(history) <= 101
    assert (np.diff(steps) > 0).all()
    # Bins hold means of their steps: every bin lies above its first step and below the next one's.
    assert (losses[:-1] >= steps[:-1]).all()
    assert (losses[:-1] <= steps[1:]).all()


def test_a_term_that_comes_later_starts_at_zero():
    history = LossHistory()
    history.add(1, {"a": 1.0})
    history.add(2, {"a": 1.0, "b": 2.0})
    assert history.names == ["a", "b"]
    np.testing.assert_array_equal(history.curve("b")[1], [0, 2])
