"""Confident disagreement, reliable voxels, prototypes (D; methods.md 9)."""

from __future__ import annotations

import math

import pytest
import torch

from napari_semiseg.losses import prototypes as pt

ALL = torch.ones(1, 1, dtype=torch.bool)


def logits_of(*probabilities):
    return torch.tensor([probabilities]).log()[..., None]


@pytest.mark.parametrize(("confidence", "expected"), [(0.6, 1.4), (0.79, 1.4), (0.81, 0.0), (0.85, 0.0)])
def test_confident_disagreement_by_hand(confidence, expected):
    one, other = logits_of(0.9, 0.1), logits_of(0.2, 0.8)
    assert pt.disagreement_loss([one, other], ALL, confidence).item() == pytest.approx(expected, abs=1e-6)
    assert pt.disagreement_loss([other, one], ALL, confidence).item() == pytest.approx(expected, abs=1e-6)


def test_agreement_costs_nothing_and_the_loss_is_a_mean():
    one = torch.cat([logits_of(0.9, 0.1), logits_of(0.9, 0.1), logits_of(0.9, 0.1)], dim=2).requires_grad_()
    other = torch.cat([logits_of(0.2, 0.8), logits_of(0.7, 0.3), logits_of(0.1, 0.9)], dim=2).requires_grad_()
    mask = torch.ones(1, 3, dtype=torch.bool)
    loss = pt.disagreement_loss([one, other], mask, 0.6)
    assert loss.item() == pytest.approx((1.4 + 1.6) / 2, abs=1e-5)
    loss.backward()
    for each in (one, other):
        moved = each.grad.abs().sum(dim=1)[0]
        assert moved[0] > 0
        assert moved[1] == 0
        assert moved[2] > 0
    mask[:, 2] = False
    assert pt.disagreement_loss([one, other], mask, 0.6).item() == pytest.approx(1.4, abs=1e-5)


def test_reliable_voxels_are_those_of_low_entropy():
    entropies = torch.tensor([[0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.05]])
    mask = torch.ones(1, 10, dtype=torch.bool)
    assert pt.reliable(entropies, mask, 0.2)[0].tolist() == [value <= 0.7 for value in entropies[0].tolist()]
    assert pt.reliable(entropies, mask, 0.0).all()
    # The quantile is that of the voxels of the mask: of .9, .7 and .8 two are reliable.
    mask[:] = torch.tensor([False, False, True, False, True, False, True, False, False, False])
    assert pt.reliable(entropies, mask, 0.34).nonzero()[:, 1].tolist() == [4, 6]
    assert not pt.reliable(entropies, torch.zeros_like(mask), 0.2).any()


def test_prototypes_are_means_of_unit_features():
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 5.0]])
    centres, known = pt.prototypes(features, torch.tensor([0, 0, 2]), 4)
    assert torch.allclose(centres[[0, 2]], torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    assert known.tolist() == [True, False, True, False]


def test_attraction_by_hand():
    """At its prototype, the other one orthogonal: p = .880797, −log p = .126928."""
    centres, known = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([True, True])
    loss = pt.attraction(torch.tensor([[7.0, 0.0]]), torch.tensor([0]), centres, known)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)
    assert math.exp(-loss.item()) == pytest.approx(0.880797, abs=1e-6)
    tilted = pt.attraction(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([[4.0, 3.0], [0.0, 1.0]]), known)
    # Squared distances .64 + .16 = .8 and 0.
    assert tilted.item() == pytest.approx(math.log(1 + math.exp(0.8)), abs=1e-5)
    wrong = pt.attraction(torch.tensor([[7.0, 0.0]]), torch.tensor([1]), centres, known)
    assert wrong.item() == pytest.approx(2.126928, abs=1e-6)


def test_attraction_moves_features_and_not_centres():
    centres = torch.eye(2, 3).requires_grad_()
    features = torch.tensor([[0.5, 0.5, 1.0]], requires_grad=True)
    pt.attraction(features, torch.tensor([0]), centres, torch.tensor([True, True])).backward()
    assert features.grad.any()
    assert centres.grad is None


def test_classes_without_a_prototype_take_no_part():
    centres, known = torch.eye(3), torch.tensor([True, True, False])
    features = torch.rand(4, 3, requires_grad=True)
    only = pt.attraction(features, torch.tensor([2, 2, 2, 2]), centres, known)
    assert only.item() == 0
    assert only.requires_grad
    mixed = pt.attraction(features, torch.tensor([0, 2, 1, 2]), centres, known)
    assert mixed.item() == pytest.approx(
        pt.attraction(features[[0, 2]], torch.tensor([0, 1]), centres[:2], known[:2]).item(), rel=1e-6
    )


def test_repulsion_by_hand():
    known = torch.tensor([True, True])
    assert pt.repulsion(torch.eye(2), known).item() == 0
    assert pt.repulsion(torch.tensor([[1.0, 0.0], [5.0, 0.0]]), known).item() == pytest.approx(1.0)
    # At 60° the squared distance is 1.
    slanted = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    assert pt.repulsion(slanted, known).item() == pytest.approx(0.5, abs=1e-6)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert pt.repulsion(opposite, known).item() == 0
    three = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert pt.repulsion(three, torch.tensor([True] * 3)).item() == pytest.approx(1 / 3)
    assert pt.repulsion(three, torch.tensor([True, False, False])).item() == 0


def test_repulsion_drives_prototypes_apart():
    centres = torch.tensor([[1.0, 0.0], [0.9, 0.1]], requires_grad=True)
    known = torch.tensor([True, True])
    loss = pt.repulsion(centres, known)
    loss.backward()
    with torch.no_grad():
        assert pt.repulsion(centres - 0.1 * centres.grad, known) < loss


def test_so_many_voxels_of_every_class():
    classes = torch.tensor([0] * 10 + [2] * 3)
    chosen = pt.some_of_each(classes, 3, most=5)
    assert len(set(chosen.tolist())) == len(chosen) == 8
    assert (classes[chosen] == 0).sum() == 5
    assert set(chosen.tolist()) >= {10, 11, 12}
