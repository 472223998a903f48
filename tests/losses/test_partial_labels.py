"""Label 0 of a volume in which some classes were not looked for stands for background or one of these."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.losses.supervised import cross_entropy, dice_loss

both_losses = pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
P = torch.tensor([0.1, 0.2, 0.3, 0.4])
"""Probabilities of background and three classes at every pixel of `pixels`."""


def pixels(*labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (1, 4, 1, n) that give P, and labels (1, 1, n)."""
    return P.log()[None, :, None, None].repeat(1, 1, 1, len(labels)), torch.tensor([[labels]])


def merged(*classes: int, count: int = 4) -> torch.Tensor:
    """The classes that label 0 stands for in the only sample."""
    return torch.tensor([[c in classes for c in range(count)]])


def test_cross_entropy_by_hand():
    """Pixels 0, 2, 1 with 3 not looked for: −log(0.1+0.4), −log 0.3, −log 0.2."""
    expected = -(math.log(0.5) + math.log(0.3) + math.log(0.2)) / 3
    assert cross_entropy(*pixels(0, 2, 1), merged=merged(0, 3)).item() == pytest.approx(expected, abs=1e-6)


def test_dice_by_hand():
    """Pixels 0 and 1 with 3 not looked for.

    At the first p = (0.5, 0.2, 0.3, 0), at the second p as it is. Class 0: 2·0.5 / (0.5²+0.1²+1); class 1:
    2·0.2 / (0.2²+0.2²+1).
    """
    expected = ((1 - 1.0 / 1.26) + (1 - 0.4 / 1.08)) / 2
    assert dice_loss(*pixels(0, 1), merged=merged(0, 3)).item() == pytest.approx(expected, abs=1e-4)


def test_dice_of_a_class_that_is_painted_though_nobody_looked_for_it():
    """Pixels 0 and 3 with 3 not looked for: at the first p₃ = 0, so class 3 gives 2·0.4 / (0 + 0.4² + 1)."""
    expected = ((1 - 1.0 / 1.26) + (1 - 0.8 / 1.16)) / 2
    assert dice_loss(*pixels(0, 3), merged=merged(0, 3)).item() == pytest.approx(expected, abs=1e-4)


def test_painted_voxels_of_a_class_not_looked_for_are_that_class():
    logits, label = pixels(3)
    assert cross_entropy(logits, label, merged=merged(0, 3)).item() == pytest.approx(-math.log(0.4), abs=1e-6)
    assert dice_loss(logits, label, merged=merged(0, 3)) == dice_loss(logits, label)


def test_each_sample_has_its_own_classes():
    logits, label = pixels(0)
    two = torch.cat([merged(0, 3), merged(0)])
    value = cross_entropy(logits.repeat(2, 1, 1, 1), label.repeat(2, 1, 1), merged=two)
    assert value.item() == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2, abs=1e-6)


def test_classes_beyond_those_that_are_named_were_looked_for():
    logits, label = pixels(0, 2, 1)
    for loss in (cross_entropy, dice_loss):
        assert loss(logits, label, merged=merged(0, 1, count=2)) == loss(logits, label, merged=merged(0, 1))


@both_losses
@settings(max_examples=20, deadline=None)
@given(classes=st.integers(2, 6), scale=st.floats(0, 40), seed=st.integers(0, 999))
def test_it_is_the_plain_loss_where_all_classes_were_looked_for(loss, classes, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, classes, 5, 4, generator=generator)
    label = torch.randint(0, classes, (2, 5, 4), generator=generator)
    label[:, 0] = 255
    weight = torch.rand(2, 5, 4, generator=generator)
    same = loss(logits, label, weight, merged=merged(0, count=classes).repeat(2, 1))
    assert same.item() == pytest.approx(loss(logits, label, weight).item(), rel=1e-6, abs=1e-7)


@both_losses
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), moved=st.floats(-3, 3))
def test_nothing_is_asked_for_among_merged_classes(loss, seed, moved):
    """Probability moved between background and the class not looked for costs nothing, and no gradient points there."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(1, 4, 3, 3, generator=generator).softmax(dim=1)
    label = torch.zeros(1, 3, 3, dtype=torch.long)
    both = p[:, [0, 3]].sum(dim=1, keepdim=True)
    share = torch.sigmoid(torch.tensor(moved))
    other = torch.cat([both * share, p[:, 1:3], both * (1 - share)], dim=1)
    group = merged(0, 3)
    assert loss(p.log(), label, merged=group).item() == pytest.approx(
        loss(other.log(), label, merged=group).item(), abs=1e-5
    )
    logits = p.log().requires_grad_()
    loss(logits, label, merged=group).backward()
    # Along (1−s, −s) in proportion to the probabilities only their shares change.
    along = logits.grad[:, 0] / p[:, 0] - logits.grad[:, 3] / p[:, 3]
    assert along.abs().max() < 1e-4
    assert (logits.grad[:, 1:3] > 0).all()


@both_losses
def test_extreme_logits_stay_finite(loss):
    logits = torch.tensor([[300.0, -300.0, 0.0, -300.0]])[..., None, None].requires_grad_()
    value = loss(logits, torch.zeros(1, 1, 1, dtype=torch.long), merged=merged(0, 1))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
