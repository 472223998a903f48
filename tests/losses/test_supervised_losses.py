from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.losses.supervised import cross_entropy, dice_loss, entropy, normalised_entropy

both_losses = pytest.mark.parametrize("loss", [cross_entropy, dice_loss])


def confident(label: torch.Tensor, classes: int, scale: float = 20.0) -> torch.Tensor:
    """Logits that are sure of a label (B, H, W)."""
    return scale * torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()


def test_undecided_on_two_balanced_classes():
    """p = ½ everywhere, half the pixels foreground: Dice 1/3, cross entropy ln 2 (methods.md 2, UNet-LS)."""
    logits = torch.zeros(2, 2, 8, 8)
    label = torch.zeros(2, 8, 8, dtype=torch.long)
    label[:, :4] = 1
    assert dice_loss(logits, label).item() == pytest.approx(1 / 3, abs=1e-6)
    assert cross_entropy(logits, label).item() == pytest.approx(math.log(2), abs=1e-6)


@both_losses
def test_what_lies_under_255_changes_neither_value_nor_gradient(loss):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (2, 6, 6), generator=generator)
    label[:, :2] = 255
    logits = torch.randn(2, 3, 6, 6, generator=generator)
    changed = logits.clone()
    changed[:, :, :2] = 100 * torch.randn(2, 3, 2, 6, generator=generator)
    results = []
    for values in (logits, changed):
        values = values.clone().requires_grad_()
        value = loss(values, label)
        value.backward()
        assert (values.grad[:, :, :2] == 0).all()
        results.append((value.item(), values.grad[:, :, 2:]))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


@both_losses
def test_only_what_is_said_counts(loss):
    """Cutting unsaid rows away gives the same loss."""
    logits = torch.randn(1, 3, 8, 5, generator=torch.Generator().manual_seed(1))
    label = torch.arange(40).reshape(1, 8, 5) % 3
    label[:, 5:] = 255
    assert loss(logits, label).item() == pytest.approx(loss(logits[:, :, :5], label[:, :5]).item(), abs=1e-6)


@both_losses
def test_nothing_said_is_zero_and_keeps_the_graph(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@both_losses
def test_right_is_cheap_and_an_error_costs(loss):
    label = torch.arange(36).reshape(1, 6, 6) % 3
    wrong = label.clone()
    wrong[0, 0, 0] = (label[0, 0, 0] + 1) % 3
    assert loss(confident(label, 3), label) < 1e-4
    assert loss(confident(wrong, 3), label) > loss(confident(label, 3), label) + 1e-3


@both_losses
def test_class_ids_may_be_permuted(loss):
    logits = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    label = torch.arange(50).reshape(2, 5, 5) % 4
    order = torch.tensor([2, 0, 3, 1])  # class c becomes channel position[c]
    position = order.argsort()
    assert loss(logits[:, order], position[label]).item() == pytest.approx(loss(logits, label).item(), abs=1e-6)


def test_weights_multiply_the_mask():
    """Weight 0 is as good as 255; a weight of 2 counts a voxel twice."""
    logits = torch.randn(1, 2, 1, 3, generator=torch.Generator().manual_seed(3))
    label = torch.tensor([[[0, 1, 1]]])
    twice_logits, twice_label = logits[..., [0, 0, 1]], label[..., [0, 0, 1]]
    weight = torch.tensor([[[2.0, 1.0, 0.0]]])
    for loss in (cross_entropy, dice_loss):
        expected = loss(twice_logits, twice_label).item()
        assert loss(logits, label, weight).item() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_divides_by_at_least_one_voxel():
    logits = torch.zeros(1, 2, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    weight = torch.full((1, 1, 1), 0.25)
    assert cross_entropy(logits, label, weight).item() == pytest.approx(0.25 * math.log(2), abs=1e-6)


def test_absent_class_counts_only_as_printed():
    """K = classes in the labels; with all classes the absent third one adds a loss of about 1."""
    label = torch.arange(64).reshape(1, 8, 8) % 2
    logits = torch.zeros(1, 3, 8, 8)
    p, n = 1 / 3, 64
    present = 1 - (2 * p * n / 2) / (p * p * n + n / 2)
    assert dice_loss(logits, label).item() == pytest.approx(present, abs=1e-5)
    assert dice_loss(logits, label, all_classes=True).item() == pytest.approx((2 * present + 1) / 3, abs=1e-5)


def test_dice_sums_over_the_whole_batch():
    """A class that one of two images lacks has one quotient, not two."""
    label = torch.zeros(2, 4, 4, dtype=torch.long)
    label[0] = 1
    logits = torch.zeros(2, 2, 4, 4)
    assert dice_loss(logits, label).item() == pytest.approx(1 / 3, abs=1e-6)


def test_losses_are_float32_for_half_precision_logits():
    logits = torch.randn(1, 2, 4, 4).bfloat16()
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    assert cross_entropy(logits, label).dtype == dice_loss(logits, label).dtype == torch.float32


def test_volumes_work_like_planes():
    logits = torch.randn(1, 3, 2, 4, 5, generator=torch.Generator().manual_seed(4))
    label = torch.arange(40).reshape(1, 2, 4, 5) % 3
    for loss in (cross_entropy, dice_loss):
        assert loss(logits, label).item() == pytest.approx(loss(logits.flatten(2), label.flatten(1)).item(), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 9), scale=st.floats(0, 80), seed=st.integers(0, 999))
def test_entropy_lies_between_0_and_ln_c(classes, scale, seed):
    logits = scale * torch.randn(1, classes, 4, 4, generator=torch.Generator().manual_seed(seed))
    h = entropy(logits)
    assert h.shape == (1, 4, 4)
    assert (h >= 0).all()
    assert (h <= math.log(classes) + 1e-5).all()
    assert torch.allclose(normalised_entropy(logits), h / math.log(classes))


def test_entropy_by_hand():
    logits = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 3, 1)
    assert entropy(logits).item() == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert normalised_entropy(torch.zeros(1, 5, 1)).item() == pytest.approx(1, abs=1e-6)
