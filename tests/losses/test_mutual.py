"""Sharpening and mutual consistency (methods.md 8)."""

from __future__ import annotations

import pytest
import torch

from napari_semiseg.losses.mutual import masked_mse, mutual_consistency, sharpened


def logits_of(*probabilities):
    return torch.tensor([probabilities]).log()[..., None]


def test_sharpening_by_hand():
    sharp = sharpened(logits_of(0.6, 0.4).requires_grad_())
    assert sharp[0, :, 0].tolist() == pytest.approx([0.982954, 0.017046], abs=1e-6)
    assert not sharp.requires_grad
    assert sharpened(logits_of(0.6, 0.4), 1.0)[0, 0, 0].item() == pytest.approx(0.6)
    three = sharpened(logits_of(0.5, 0.3, 0.2), 0.5)[0, :, 0]
    assert three.tolist() == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38], abs=1e-6)


def test_masked_mean_square_by_hand():
    logits = torch.cat([logits_of(0.9, 0.1), logits_of(0.5, 0.5)], dim=2)
    target = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    both = torch.tensor([[True, True]])
    assert masked_mse(logits, target, both).item() == pytest.approx((0.01 + 0.25) / 2, abs=1e-6)
    assert masked_mse(logits, target, torch.tensor([[True, False]])).item() == pytest.approx(0.01, abs=1e-6)
    nothing = masked_mse(logits.requires_grad_(), target, torch.zeros(1, 2, dtype=torch.bool))
    assert nothing.item() == 0
    assert nothing.requires_grad


@pytest.mark.parametrize("count", [2, 3])
def test_every_decoder_learns_from_every_other(count):
    probabilities = [0.6, 0.3, 0.8][:count]
    logits = [logits_of(p, 1 - p).requires_grad_() for p in probabilities]
    targets = [p**10 / (p**10 + (1 - p) ** 10) for p in probabilities]
    expected = sum((probabilities[i] - targets[j]) ** 2 for i in range(count) for j in range(count) if i != j)
    found = mutual_consistency(logits, [sharpened(each) for each in logits], torch.ones(1, 1, dtype=torch.bool))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert all(each.grad.any() for each in logits)


def test_certain_and_equal_decoders_cost_nothing():
    logits = [torch.tensor([[[60.0], [0.0]]])] * 2
    assert mutual_consistency(logits, [sharpened(each) for each in logits], torch.ones(1, 1, dtype=torch.bool)) == 0


def test_targets_carry_no_gradient():
    """Otherwise a decoder could meet another one by moving its own target."""
    one, other = logits_of(0.6, 0.4).requires_grad_(), logits_of(0.2, 0.8).requires_grad_()
    masked_mse(one, sharpened(other), torch.ones(1, 1, dtype=torch.bool)).backward()
    assert one.grad.any()
    assert other.grad is None
