"""Boundary contrast (methods.md 7, tests 3 to 6 and the rules of its edge cases)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_semiseg.losses.boundary_contrast import boundary_contrast, draw, pair_loss, regions
from napari_semiseg.regions.boundary import EDGE, INTERIOR, boundary_regions


def box(side=64, rows=slice(20, 40), columns=slice(20, 40)) -> torch.Tensor:
    label = torch.zeros(1, side, side, dtype=torch.long)
    label[0, rows, columns] = 1
    return label


def heads(classes=2, channels=8, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(width, channels, generator=generator).requires_grad_() for _ in range(classes)]
    biases = [torch.zeros(width).requires_grad_() for _ in range(classes)]
    return weights, biases


def features_of(label: torch.Tensor, channels=8, noise=0.0, seed=0) -> torch.Tensor:
    """Features that tell the classes of a label apart, opposite vectors for 0 and 1."""
    direction = torch.zeros(1, channels, 1, 1)
    direction[:, 0] = 1
    sign = torch.where(label == 1, 1.0, -1.0)[:, None]
    random = torch.randn(len(label), channels, *label.shape[1:], generator=torch.Generator().manual_seed(seed))
    return sign * direction + noise * random


def test_counts_of_a_square():
    """20×20 in 64², r = 3: edge 204 inside and 276 outside, interior 196 and 3,420."""
    found = regions(box(), 2, radius=3)
    edge, interior, positive = found.edge[0, 1], found.interior[0, 1], found.positive[0, 1]
    assert (edge & positive).sum() == 204
    assert (edge & ~positive).sum() == 276
    assert (interior & positive).sum() == 196
    assert (interior & ~positive).sum() == 3420
    # The background has the same boundary seen from the other side.
    assert torch.equal(found.edge[0, 0], edge)


def test_six_pixel_bar_falls_back_to_radius_two():
    label = box(rows=slice(30, 36), columns=slice(0, 64))
    found = regions(label, 2, radius=3)
    inside = found.interior[0, 1] & found.positive[0, 1]
    assert inside[32:34].all()
    assert inside.sum() == 2 * 64
    assert found.edge[0, 1, 28:32].all()
    assert not found.edge[0, 1, 27].any()


def test_structure_without_interior_is_left_out():
    """A 2-pixel bar has no interior even at radius 1; the background is still compared."""
    label = box(rows=slice(30, 32), columns=slice(0, 64))
    found = regions(label, 2)
    assert not (found.interior[0, 1] & found.positive[0, 1]).any()
    weights, biases = heads()
    boundary_contrast(features_of(label, noise=0.1), weights, biases, label, samples=32).backward()
    assert weights[1].grad is None
    assert weights[0].grad.abs().sum() > 0


def test_all_foreground_has_no_edge():
    """Zero padding would call the border of the image an edge (16×16: 156 pixels)."""
    found = regions(torch.ones(1, 16, 16, dtype=torch.long), 2)
    assert not found.edge.any()
    assert found.interior[0, 1].all()


def test_windows_with_unsaid_pixels_belong_to_neither():
    label = box()
    label[0, 30, 30] = 255
    found = regions(label, 2, radius=3)
    touched = torch.zeros(64, 64, dtype=torch.bool)
    touched[27:34, 27:34] = True
    assert not (found.edge[0, 1] | found.interior[0, 1])[touched].any()
    assert (found.edge[0, 1] | found.interior[0, 1])[~touched].all()


def test_scribbles_have_interior_but_no_edge():
    label = torch.full((1, 32, 32), 255)
    label[0, 10:12, 3:20] = 1
    label[0, 20:22, 3:20] = 0
    found = regions(label, 2)
    assert not found.edge.any()
    assert torch.equal(found.interior[0, 1], label[0] != 255)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 4),
    radius=st.integers(1, 4),
    sides=st.tuples(st.integers(12, 30), st.integers(12, 30)),
    unsaid=st.booleans(),
)
def test_training_and_display_share_the_definition(seed, classes, radius, sides, unsaid):
    rng = np.random.default_rng(seed)
    plane = np.zeros(sides, np.uint8)
    for c in range(1, classes):
        row, column = rng.integers(0, sides[0]), rng.integers(0, sides[1])
        plane[row : row + rng.integers(1, 15), column : column + rng.integers(1, 15)] = c
    if unsaid:
        plane[: rng.integers(1, 4)] = 255
    found = regions(torch.from_numpy(plane.astype(np.int64))[None], classes, radius)
    for c in range(classes):
        shown = boundary_regions(plane, c, radius)
        assert np.array_equal(shown == EDGE, found.edge[0, c].numpy())
        assert np.array_equal(shown == INTERIOR, (found.interior & found.positive)[0, c].numpy())


def test_draw_with_replacement_from_the_mask():
    torch.manual_seed(0)
    mask = torch.tensor([False, True, True, False, True])
    positive = torch.tensor([True, True, False, False, False])
    drawn = draw(mask, positive, 100, balanced=False)
    assert len(drawn) == 100
    assert set(drawn.tolist()) == {1, 2, 4}
    balanced = draw(mask, positive, 100, balanced=True)
    assert (balanced == 1).sum() == 50
    assert set(balanced.tolist()) == {1, 2, 4}
    assert draw(mask & positive, positive, 7, balanced=True).tolist() == [1] * 7
    assert len(draw(torch.zeros_like(mask), positive, 7, balanced=True)) == 0


def test_pair_loss_by_hand():
    """Cosine similarity, targets +1 for two positives and −1 else; outside pairs as printed or left out."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    is_a, is_b = torch.tensor([True, False]), torch.tensor([True, True, False])
    options = {"kind": "cosine", "kappa": 0.5}
    # row 0: (1−1)², (−1−1)², (0+1)²; row 1: (0+1)², (0+1)², (1+1)² of which the last is outside–outside.
    printed = pair_loss(a, b, is_a, is_b, outside=True, same=False, **options)
    assert printed.item() == pytest.approx((0 + 4 + 1 + 1 + 1 + 4) / 6)
    product = pair_loss(a, b, is_a, is_b, outside=False, same=False, **options)
    assert product.item() == pytest.approx((0 + 4 + 1 + 1 + 1) / 5)


def test_a_sample_is_not_compared_with_itself():
    a = torch.eye(3)
    everything = torch.ones(3, dtype=torch.bool)
    loss = pair_loss(a, a, everything, everything, kind="cosine", kappa=0.5, outside=True, same=True)
    assert loss.item() == pytest.approx(1)  # every other pair is orthogonal with target 1


@pytest.mark.parametrize("outside", [False, True])
def test_perfect_features_cost_nothing_but_outside_pairs(outside):
    """Opposite vectors inside and outside: 0 for the product, while the printed form cannot be met."""
    label = box()
    weights = [functional.pad(torch.eye(8), (0, 0, 0, 24)) for _ in range(2)]
    biases = [torch.zeros(32) for _ in range(2)]
    torch.manual_seed(0)
    loss = boundary_contrast(features_of(label), weights, biases, label, samples=64, outside=outside).item()
    # At x = 1 the distance is held at 1e-6.
    assert (loss > 1) if outside else (loss < 1e-8)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999), balanced=st.booleans(), outside=st.booleans(), kappa=st.sampled_from([0.25, 0.5, 1, 5])
)
def test_within_0_and_8_with_finite_gradients(seed, balanced, outside, kappa):
    torch.manual_seed(seed)
    label = box(32, slice(4, 20), slice(6, 26))
    features = torch.randn(1, 8, 32, 32, requires_grad=True)
    weights, biases = heads(seed=seed)
    loss = boundary_contrast(
        features, weights, biases, label, samples=48, kappa=kappa, balanced=balanced, outside=outside
    )
    loss.backward()
    assert 0 <= loss.item() <= 8
    assert all(torch.isfinite(t.grad).all() for t in (features, *weights, *biases))


def test_images_count_the_same_however_many_classes_they_show():
    """Mean over an image's classes first, then over images; images without a usable class do not count."""
    torch.manual_seed(0)
    full, empty = box(), torch.zeros(1, 64, 64, dtype=torch.long)
    unsaid = torch.full_like(full, 255)
    weights, biases = heads()
    features = torch.zeros(1, 8, 64, 64)  # every vector is the bias: similarity 1 throughout, free of chance
    biases = [torch.ones(32) for _ in biases]
    options = {"samples": 64, "kind": "cosine", "balanced": True, "outside": False}

    def loss(*labels):
        label = torch.cat(labels)
        return boundary_contrast(features.expand(len(label), -1, -1, -1), weights, biases, label, **options).item()

    assert loss(empty) == pytest.approx(0, abs=1e-6)
    assert loss(full) > 1
    assert loss(full, empty, unsaid) == pytest.approx(loss(full) / 2, abs=1e-5)


def test_nothing_usable_is_zero_and_keeps_the_graph():
    features = torch.randn(1, 8, 16, 16, requires_grad=True)
    weights, biases = heads()
    loss = boundary_contrast(features, weights, biases, torch.full((1, 16, 16), 255))
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


def test_heads_on_samples_equal_heads_on_maps():
    """Every pixel of a class shares one vector here, so sampling cannot matter and full maps can be compared."""
    label = box()
    features = features_of(label, noise=0.0)
    weights, _ = heads()
    biases = [torch.randn(32, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    loss = boundary_contrast(features, weights, biases, label, kind="cosine", samples=64, outside=False).item()
    expected = 0.0
    for c in range(2):
        maps = functional.conv2d(features, weights[c][:, :, None, None], biases[c])
        unit = functional.normalize(maps, dim=1)[0]
        cosine = (unit[:, 30, 30] @ unit[:, 0, 0]).item()
        # Balanced halves of 64: 32·31 like pairs at cosine 1 and 2·32·32 unlike; edge against interior 32² and 2·32².
        unlike = (cosine + 1) ** 2
        expected += unlike * 2 * 32 * 32 / (32 * 31 + 2 * 32 * 32) + unlike * 2 / 3
    assert loss == pytest.approx(expected / 2, rel=1e-4)


def test_float32_even_under_autocast():
    label = box()
    features = features_of(label, noise=0.3)
    weights, biases = heads()
    values = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(boundary_contrast(features, weights, biases, label, samples=64))
    assert values[1].dtype == torch.float32
    assert torch.equal(values[0], values[1])
