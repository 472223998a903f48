"""Edge and interior for display; tests/losses/test_boundary_contrast.py compares them with those of the training."""

from __future__ import annotations

import numpy as np

from napari_semiseg.regions.boundary import EDGE, INTERIOR, NONE, boundary_regions


def square() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[20:40, 20:40] = 7
    return labels


def test_counts_of_a_square():
    found = boundary_regions(square(), 7)
    assert found.dtype == np.uint8
    assert (found == EDGE).sum() == 204 + 276
    assert (found == INTERIOR).sum() == 196
    assert ((found == EDGE) & (square() == 7)).sum() == 204


def test_volumes_plane_by_plane():
    """The radius shrinks for the plane with the thin bar only."""
    thin = np.zeros((64, 64), np.uint8)
    thin[30:36] = 7
    stack = np.stack([square(), thin, np.zeros_like(thin)])
    found = boundary_regions(stack, 7)
    assert np.array_equal(found[0], boundary_regions(square(), 7))
    assert (found[1] == INTERIOR).sum() == 2 * 64
    assert (found[2] == NONE).all()


def test_border_of_the_image_is_no_edge():
    assert (boundary_regions(np.full((16, 16), 3, np.uint8), 3) == INTERIOR).all()


def test_unsaid_neighbourhood_is_neither():
    labels = square()
    labels[30, 30] = 255
    assert (boundary_regions(labels, 7)[27:34, 27:34] == NONE).all()


def test_hairline_is_all_edge():
    labels = np.zeros((16, 16), np.uint8)
    labels[8] = 1
    found = boundary_regions(labels, 1)
    assert (found[7:10] == EDGE).all()
    assert (found == EDGE).sum() == 3 * 16
