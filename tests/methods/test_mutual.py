"""Sharpening and mutual consistency (methods.md 8)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from napari_semiseg.methods.mc_net import mutual_consistency
from napari_semiseg.methods.terms import mean_square, sharpened

ONE = SimpleNamespace(either=None, merged=None, inside=torch.ones(1, 1, dtype=torch.bool))


def logits_of(*probabilities):
    return torch.tensor([probabilities]).log()[..., None]


def test_sharpening_by_hand():
    sharp = sharpened(logits_of(0.6, 0.4).requires_grad_(), ONE)
    assert sharp[0, :, 0].tolist() == pytest.approx([0.982954, 0.017046], abs=1e-6)
    assert not sharp.requires_grad
    assert sharpened(logits_of(0.6, 0.4), ONE, 1.0)[0, 0, 0].item() == pytest.approx(0.6)
    three = sharpened(logits_of(0.5, 0.3, 0.2), ONE, 0.5)[0, :, 0]
    assert three.tolist() == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38], abs=1e-6)


def test_what_the_annotator_ruled_out_is_no_target():
    """A voxel that is background or class 2 cannot be class 1, however sure the network is."""
    batch = SimpleNamespace(either=torch.tensor([[True]]), merged=torch.tensor([[True, False, True]]))
    sharp = sharpened(logits_of(0.2, 0.7, 0.1), batch, 1.0)[0, :, 0]
    assert sharp.tolist() == pytest.approx([2 / 3, 0, 1 / 3], abs=1e-6)


@pytest.mark.parametrize("count", [2, 3])
def test_every_decoder_learns_from_every_other(count):
    probabilities = [0.6, 0.3, 0.8][:count]
    logits = [logits_of(p, 1 - p).requires_grad_() for p in probabilities]
    targets = [p**10 / (p**10 + (1 - p) ** 10) for p in probabilities]
    expected = sum((probabilities[i] - targets[j]) ** 2 for i in range(count) for j in range(count) if i != j)
    found = mutual_consistency(logits, ONE)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert all(each.grad.any() for each in logits)


def test_certain_and_equal_decoders_cost_nothing():
    logits = [torch.tensor([[[60.0], [0.0]]])] * 2
    assert mutual_consistency(logits, ONE) == 0


def test_targets_carry_no_gradient():
    """Otherwise a decoder could meet another one by moving its own target."""
    one, other = logits_of(0.6, 0.4).requires_grad_(), logits_of(0.2, 0.8).requires_grad_()
    mean_square(one.softmax(dim=1), sharpened(other, ONE), ONE.inside).backward()
    assert one.grad.any()
    assert other.grad is None
