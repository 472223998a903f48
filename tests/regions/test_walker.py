"""The random walk that guides networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_semiseg.regions import walker
from napari_semiseg.regions.propagation import random_walker
from napari_semiseg.regions.walker import random_walk, to_unit_range

UNSAID = 255


def line(*labels: int) -> torch.Tensor:
    """One voxel per plane."""
    return torch.tensor(labels, dtype=torch.uint8)[:, None, None]


def test_on_a_line_the_probability_falls_linearly():
    labels = line(1, UNSAID, UNSAID, UNSAID, 0)
    found = random_walk(torch.zeros(5, 1, 1), labels, 2)
    assert torch.allclose(found[1].flatten(), torch.tensor([1, 0.75, 0.5, 0.25, 0.0]), atol=1e-2)


def test_a_step_over_an_edge_counts_as_much_as_its_weight_says():
    """Two resistors in series: the free voxel's potential divides like the conductances."""
    image = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    labels = line(1, UNSAID, 0)
    beta = 10 * float(image.std())  # the edge then weighs e⁻¹, the step without one 1
    found = random_walk(image, labels, 2, beta=beta)
    assert float(found[1, 1]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-3)


def test_probabilities_sum_to_one_and_keep_what_is_said():
    rng = np.random.default_rng(0)
    labels = torch.full((6, 12, 12), UNSAID, dtype=torch.uint8)
    for plane in (0, 5):
        labels[plane] = torch.from_numpy(rng.integers(0, 3, (12, 12)).astype(np.uint8))
    found = random_walk(torch.from_numpy(rng.random((6, 12, 12)).astype(np.float32)), labels, 3)
    assert torch.allclose(found.sum(dim=0), torch.ones(labels.shape), atol=1e-5)
    assert bool((found >= 0).all())
    for plane in (0, 5):
        assert torch.equal(found[:, plane].argmax(dim=0).to(torch.uint8), labels[plane])
        assert float(found[:, plane].amax(dim=0).min()) == 1


def ball() -> tuple[np.ndarray, np.ndarray]:
    planes, rows, columns = np.indices((13, 40, 40))
    truth = (((planes - 6) * 2) ** 2 + (rows - 20) ** 2 + (columns - 18) ** 2 < 13**2).astype(np.uint8)
    image = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    return image.astype(np.float32), truth


def test_it_agrees_with_scikit_image():
    image, truth = ball()
    labels = np.full_like(truth, UNSAID)
    labels[[1, 5, 11]] = truth[[1, 5, 11]]
    mine = random_walk(to_unit_range(image), torch.from_numpy(labels), 2, beta=130).argmax(dim=0).numpy()
    theirs = random_walker(image, labels, (1.0, 1.0, 1.0))[0]
    inner = slice(1, 12)
    assert (mine[inner] == theirs[inner]).mean() > 0.99
    assert (mine[inner] == truth[inner]).mean() > 0.99


@pytest.mark.parametrize(
    ("last", "strokes", "beta"), [(12, (), 840), (12, (4, 8), 280), (12, (6,), 420), (4, (2,), 140), (2, (1,), 130)]
)
def test_an_edge_costs_more_the_farther_annotated_planes_are_apart(last, strokes, beta):
    """70 for every plane of the distance, 130 at least; planes with strokes count, though they do not cut the slab."""
    image, truth = ball()
    unit, labels = to_unit_range(image)[: last + 1], np.full_like(truth, UNSAID)[: last + 1]
    labels[[0, last]] = truth[[0, last]]
    labels[list(strokes), 20, 16:20] = 1
    seeds = torch.from_numpy(labels)
    assert torch.equal(random_walk(unit, seeds, 2), random_walk(unit, seeds, 2, beta=beta))
    assert not torch.equal(random_walk(unit, seeds, 2), random_walk(unit, seeds, 2, beta=beta + 50))


def test_complete_planes_cut_the_volume():
    image, truth = ball()
    labels = np.full_like(truth, UNSAID)
    labels[[0, 4, 12]] = truth[[0, 4, 12]]
    before = random_walk(to_unit_range(image), torch.from_numpy(labels), 2)
    labels[12] = 0
    after = random_walk(to_unit_range(image), torch.from_numpy(labels), 2)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:12], after[:, 5:12])


def test_large_slabs_are_solved_more_coarsely_but_alike(monkeypatch):
    image, truth = ball()
    labels = np.full_like(truth, UNSAID)
    labels[[2, 10]] = truth[[2, 10]]
    fine = random_walk(to_unit_range(image), torch.from_numpy(labels), 2)
    monkeypatch.setattr("napari_semiseg.regions.walker._VALUES", labels[2:11].size // 2)
    coarse = random_walk(to_unit_range(image), torch.from_numpy(labels), 2)
    assert torch.equal(coarse[:, [2, 10]], fine[:, [2, 10]])
    assert (coarse.argmax(dim=0) == fine.argmax(dim=0)).float().mean() > 0.97


@pytest.mark.parametrize("labels", [line(UNSAID, UNSAID), line(0, UNSAID, 0)])
def test_without_any_structure_all_is_background(labels):
    found = random_walk(torch.zeros(labels.shape), labels, 3)
    assert torch.equal(found[0], torch.ones(labels.shape))


def test_a_constant_image_has_no_range():
    assert torch.equal(to_unit_range(np.full((2, 3, 4), 7.0)), torch.zeros(2, 3, 4))
    unit = to_unit_range(np.arange(101, dtype=np.float32))
    assert float(unit.min()) == 0
    assert float(unit.max()) == 1
    assert float(unit[50]) == pytest.approx(0.5, abs=0.01)


def discs() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a flat image of nine planes and labels of the outer ones: a large disc below, a small one above."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    away = ((rows - 31.5).square() + (columns - 31.5).square()).sqrt()
    labels = torch.full((9, 64, 64), 255, dtype=torch.uint8)
    labels[0], labels[8] = (away < 24).to(torch.uint8), (away < 10).to(torch.uint8)
    return torch.zeros((9, 64, 64)), labels


def test_the_start_from_a_coarser_solution_changes_nothing(monkeypatch):
    image, labels = discs()
    monkeypatch.setattr(walker, "_TOLERANCE", 1e-5)
    started = random_walk(image, labels, 2)
    monkeypatch.setattr(walker, "_COARSEST", 1000)
    assert torch.allclose(started, random_walk(image, labels, 2), atol=1e-3)


def test_a_walk_crosses_larger_pixels_more_slowly():
    image, labels = discs()
    fine = walker._harmonic(image, labels, 2, 130.0)
    coarse = walker._on_coarser_grid(image, labels, 2, 130.0, 2.0)
    assert float((fine - coarse).abs().mean()) < 0.01
    hasty = walker._harmonic(image[:, ::2, ::2], labels[:, ::2, ::2], 2, 130.0)
    assert float((fine[:, :, ::2, ::2] - hasty).abs().mean()) > 0.02
