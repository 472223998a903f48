from __future__ import annotations

import pytest
import torch

from napari_semiseg.data.warping import draw_warp, warp_image, warp_numbers


def test_no_deformation_changes_nothing():
    image = torch.randn(2, 1, 20, 30)
    grid = draw_warp(2, (20, 30), largest=0.0)
    assert torch.allclose(warp_image(image, grid), image, atol=1e-4)
    numbers = torch.randint(0, 300, (2, 20, 30))
    assert torch.equal(warp_numbers(numbers, grid), numbers)


def test_image_and_numbers_move_together():
    """A checkerboard whose brightness is its number: inside the fields both warps say the same."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows // 8 + columns // 8) % 2)[None]
    grid = draw_warp(1, (64, 64), rotation=10, scale=0.1)
    numbers, image = warp_numbers(board, grid), warp_image(board[:, None].float(), grid)[:, 0]
    decided = ((image < 0.01) | (image > 0.99)) & (numbers != 255)
    assert decided.float().mean() > 0.5
    assert torch.equal(image[decided].round().long(), numbers[decided])
    assert (numbers != board).float().mean() > 0.1


def test_the_largest_displacement_is_the_one_asked_for_and_neighbours_move_alike():
    torch.manual_seed(0)
    still, moved = draw_warp(1, (128, 128), largest=0.0), draw_warp(1, (128, 128), largest=8.0)
    pixels = (moved - still)[0] * 64
    assert pixels.norm(dim=-1).max().item() == pytest.approx(8.0, rel=1e-3)
    assert (pixels[1:] - pixels[:-1]).abs().max() < 2.0


def test_turns_are_in_pixels_also_on_oblong_images():
    """A quarter turn of a 20 × 40 image takes the pixel at (+5, 0) from the centre to one at (0, ±5)."""
    torch.manual_seed(1)
    grid = draw_warp(1, (20, 40), largest=0.0, rotation=180.0)[0]
    pixels = grid * torch.tensor([20.0, 10.0])
    step = pixels[1:] - pixels[:-1]
    assert torch.allclose(step.norm(dim=-1), torch.ones(19, 40), atol=1e-4)


def test_beyond_the_border_there_is_no_number_and_the_borders_brightness():
    torch.manual_seed(2)
    grid = draw_warp(1, (32, 32), largest=30.0)
    numbers = warp_numbers(torch.zeros(1, 32, 32, dtype=torch.int64), grid)
    assert set(numbers.unique().tolist()) == {0, 255}
    assert warp_image(torch.ones(1, 1, 32, 32), grid).min() > 0.99


def test_every_image_has_a_field_of_its_own():
    grid = draw_warp(2, (32, 32))
    assert not torch.allclose(grid[0], grid[1])
