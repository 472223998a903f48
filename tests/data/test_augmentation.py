from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.data import augmentation as aug

PLAIN = aug.Augmentation(turns=False, rotation=0)


def test_without_variation_a_crop_is_the_plane():
    plane = torch.arange(7 * 9, dtype=torch.float32).reshape(1, 7, 9)
    transform = aug.draw_geometric(np.random.default_rng(0), PLAIN, centre=(3, 4))
    grid = aug.sampling_grid(transform, 5, (7, 9))
    assert torch.allclose(aug.crop_image(plane, grid), plane[:, 1:6, 2:7], atol=1e-4)
    assert aug.inside(grid).all()


def test_beyond_the_plane_nothing_is_said_and_nothing_is_inside():
    labels = torch.zeros(4, 4, dtype=torch.uint8)
    grid = aug.sampling_grid(aug.draw_geometric(np.random.default_rng(0), PLAIN, (1.5, 1.5)), 8, (4, 4))
    cropped = aug.crop_labels(labels[None], grid)[0]
    expected = torch.full((8, 8), 255)
    expected[2:6, 2:6] = 0
    assert torch.equal(cropped, expected)
    assert torch.equal(aug.inside(grid), expected == 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_image_and_label_share_the_geometry(seed):
    """An image that equals its label map still does after any transform, away from interpolated borders."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(np.kron(rng.integers(0, 4, (4, 5)), np.ones((16, 16))).astype(np.uint8))
    strength = aug.Augmentation(turns=bool(seed % 2), rotation=20, scale=0.2, elastic=2)
    grid = aug.sampling_grid(aug.draw_geometric(rng, strength, (30, 40)), 48, (64, 80))
    image, label = aug.crop_image(labels[None].float(), grid)[0], aug.crop_labels(labels[None], grid)[0]
    certain = (image == image.round()) & (label != 255)
    assert certain.float().mean() > 0.3
    # A pixel interpolated between classes 0 and 2 may come out as exactly 1: such coincidences are rare.
    assert (image[certain].long() == label[certain]).float().mean() > 0.98


@pytest.mark.parametrize("seed", range(12))
def test_quarter_turns_move_pixels_without_mixing_them(seed):
    rng = np.random.default_rng(seed)
    plane = torch.from_numpy(rng.permutation(49).reshape(1, 7, 7).astype(np.float32))
    strength = aug.Augmentation(turns=True, rotation=0)
    crop = aug.crop_image(plane, aug.sampling_grid(aug.draw_geometric(rng, strength, (3, 3)), 7, (7, 7)))[0]
    variants = [torch.rot90(p, k) for p in (plane[0], plane[0].flip(1)) for k in range(4)]
    assert any(torch.allclose(crop, variant, atol=1e-3) for variant in variants)


def test_affine_tells_where_a_crop_pixel_comes_from():
    rng = np.random.default_rng(3)
    transform = aug.draw_geometric(rng, aug.Augmentation(turns=False, rotation=20, scale=0.2), (20, 25))
    rows, columns = np.indices((40, 50)).astype(np.float32)
    grid = aug.sampling_grid(transform, 9, (40, 50))
    sampled = aug.crop_image(torch.from_numpy(np.stack([rows, columns])), grid)
    offset = np.array([2 - 4, 7 - 4, 1])
    assert np.allclose(sampled[:, 2, 7].numpy(), transform.affine @ offset, atol=1e-3)


def test_intensity_change_is_repeatable():
    image = torch.zeros(1, 8, 8)
    change = aug.Photometric(gain=2, offset=1, noise=0.5, seed=4)
    assert torch.equal(aug.change_intensity(image, change), aug.change_intensity(image, change))
    assert not torch.equal(aug.change_intensity(image, change), torch.ones(1, 8, 8))
    assert torch.equal(aug.change_intensity(image + 3, aug.Photometric(gain=2, offset=1)), torch.full((1, 8, 8), 7.0))
