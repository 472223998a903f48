from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_semiseg.regions.superpixels import contours, felzenszwalb_plane


def slice_with_disc(low=-1000.0, high=400.0, noise=0.02, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((96, 96))
    disc = np.hypot(rows - 48, columns - 40) < 22
    noisy = disc + noise * np.random.default_rng(seed).normal(size=disc.shape)
    return low + (high - low) * noisy, disc


def test_regions_follow_the_structure():
    """Nearly every superpixel lies on one side of the disc's border."""
    image, disc = slice_with_disc()
    found = felzenszwalb_plane(image, scale=20)
    assert found.dtype == np.int32
    assert found.shape == image.shape
    inside = ndimage.mean(disc, found, np.unique(found))
    sizes = np.bincount(found.ravel())
    pure = np.minimum(inside, 1 - inside) < 0.05
    assert sizes[pure].sum() > 0.9 * sizes.sum()


def test_every_region_is_connected_and_large_enough():
    image, _ = slice_with_disc(noise=0.2)
    found = felzenszwalb_plane(image, scale=10, min_size=30)
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))
    assert np.bincount(found.ravel()).min() >= 30
    assert all(ndimage.label(found == n, structure=np.ones((3, 3)))[1] == 1 for n in range(found.max() + 1))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1024, 3071), (0, 65535), (1e-6, 2e-6)])
def test_units_do_not_matter(low, high):
    reference = felzenszwalb_plane(slice_with_disc(0, 1)[0])
    assert reference.max() > 0
    assert np.array_equal(felzenszwalb_plane(slice_with_disc(low, high)[0]), reference)


def test_larger_scale_gives_fewer_regions():
    image, _ = slice_with_disc(noise=0.2)
    counts = [felzenszwalb_plane(image, scale=scale).max() for scale in (5, 50, 500)]
    assert counts[0] > counts[1] > counts[2]


def test_integer_images():
    image = (1000 * slice_with_disc(0, 1)[0]).astype(np.int16)
    assert felzenszwalb_plane(image).max() > 0


def test_constant_image_is_one_region():
    assert (felzenszwalb_plane(np.full((20, 30), 7.0)) == 0).all()


def test_few_bright_pixels_are_not_lost():
    """Where the percentiles coincide the whole range counts."""
    image = np.zeros((100, 100))
    image[50:55, 50:55] = 1
    assert felzenszwalb_plane(image, sigma=0, scale=1, min_size=5)[52, 52] != felzenszwalb_plane(image)[0, 0]


def test_contours_by_hand():
    found = contours(np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]]))
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 0], [1, 1, 1], [0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_contours_separate_all_regions(seed, rows, columns):
    """No two neighbours of different regions are both off the contour; one region has none."""
    regions = np.random.default_rng(seed).integers(0, 3, (rows, columns))
    off = contours(regions) == 0
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        assert not ((regions[a] != regions[b]) & off[a] & off[b]).any()
    assert not contours(np.zeros_like(regions)).any()
