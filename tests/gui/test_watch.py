"""Edits are found by comparison, whoever made them."""

from __future__ import annotations

import numpy as np

from napari_semiseg.gui.watch import PlaneWatch


def test_finds_an_edit_that_nobody_announced():
    live = np.zeros((10, 4, 4), np.uint8)
    watch = PlaneWatch(live)
    assert watch.all() == {}
    live[7, 1, 1] = 3
    found = watch.all()
    assert list(found) == [7]
    np.testing.assert_array_equal(found[7], live[7])
    assert watch.all() == {}


def test_hands_out_copies_that_later_strokes_do_not_change():
    live = np.zeros((3, 4, 4), np.uint8)
    watch = PlaneWatch(live)
    live[1] = 2
    found = watch.all()[1]
    live[1] = 9
    assert (found == 2).all()
    assert (watch.all()[1] == 9).all()
    assert (found == 2).all()


def test_sweeps_come_round_to_every_plane():
    live = np.zeros((10, 4, 4), np.uint8)
    watch = PlaneWatch(live)
    live[9, 0, 0] = 1
    live[0, 0, 0] = 1
    found = [sorted(watch.sweep(4)) for _ in range(3)]
    assert found == [[0], [], [9]]


def test_finds_an_undo():
    live = np.zeros((3, 4, 4), np.uint8)
    watch = PlaneWatch(live)
    live[1] = 2
    watch.all()
    live[1] = 0
    assert not watch.all()[1].any()
