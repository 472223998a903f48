"""A network that is taught by a random walk and by its own average (decision 5)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_methods import Says, built, draw_batch, has_gradient, random_logits, shapes, sharp, tiny

from napari_semiseg.losses.supervised import soft_cross_entropy, soft_dice_loss


def batch_of(**settings):
    return draw_batch(tiny("walk_teaching", **settings), shapes())


def probabilities(*values):
    return torch.tensor(values).view(1, len(values), 1, 1)


def one_pixel(carried, **changes):
    """A batch of one unlabelled pixel of which the walk says something."""
    batch = batch_of().only(torch.tensor([2]))
    cut = {name: getattr(batch, name)[..., :1, :1] for name in ("image", "label", "inside")}
    return dataclasses.replace(batch, **cut, carried=carried, **changes)


def test_at_first_the_walk_teaches_alone_then_both_with_half_of_the_say():
    method, own = tiny("walk_teaching"), probabilities(0.2, 0.2, 0.6)
    batch = one_pixel(probabilities(0.1, 0.9, 0.0))
    target, weight = method.target(own, batch, 0.1)
    assert torch.allclose(target, batch.carried, atol=1e-6)
    assert weight.item() == 1
    target, weight = method.target(own, batch, 0.15)
    assert torch.allclose(target.flatten(), torch.tensor([0.15, 0.55, 0.3]), atol=1e-6)
    assert weight.item() == 1


def test_where_the_walk_says_nothing_the_teacher_is_heard_more_and_more():
    method, own = tiny("walk_teaching"), probabilities(0.2, 0.2, 0.6)
    batch = one_pixel(torch.zeros(1, 3, 1, 1))
    assert method.target(own, batch, 0.1)[1].item() == 0
    target, weight = method.target(own, batch, 0.5)
    assert torch.equal(target, own)
    assert weight.item() == pytest.approx(0.286505, abs=1e-6)  # exp(-5/4)
    said = dataclasses.replace(batch, label=torch.zeros_like(batch.label))
    assert method.target(own, said, 1.0)[1].item() == 0


def test_background_of_the_walk_may_be_a_class_that_nobody_looked_for():
    batch = one_pixel(probabilities(0.8, 0.2, 0.0), merged=torch.tensor([[True, False, True]]))
    target, _ = tiny("walk_teaching").target(probabilities(0.3, 0.1, 0.6), batch, 1.0)
    # The walk's 0.8 are shared out as the teacher does, 0.3 : 0.6, and both are averaged.
    expected = [(0.8 / 3 + 0.3) / 2, (0.2 + 0.1) / 2, (1.6 / 3 + 0.6) / 2]
    assert torch.allclose(target.flatten(), torch.tensor(expected), atol=1e-4)


def test_walk_and_teacher_teach_the_student_and_nobody_else():
    method = tiny("walk_teaching")
    networks = sharp(built(method))
    losses = method.losses(networks, batch_of(), 0.5)
    assert losses["consistency"].item() > 0
    losses["consistency"].backward()
    assert has_gradient(networks["student"])
    assert not has_gradient(networks["teacher"])


def test_what_the_walk_says_changes_what_is_learned():
    method, batch = tiny("walk_teaching"), batch_of()
    networks = built(method).eval()
    turned = dataclasses.replace(batch, carried=batch.carried[:, [1, 2, 0]])
    at = [method.losses(networks, b, 0.1)["consistency"].item() for b in (batch, turned)]
    assert at[0] != pytest.approx(at[1], abs=1e-3)


def test_a_student_that_says_what_is_taught_costs_little():
    method, batch = tiny("walk_teaching"), batch_of()
    sure = (batch.carried + 1e-4).log() * 10
    wrong = sure[:, [1, 2, 0]]
    cost = [method._taught(Says(random_logits(1, 3, 64, 64)), x[2:], batch.only(torch.tensor([2, 3])), 0.0)
            for x in (sure, wrong)]  # fmt: skip
    assert cost[0] < 0.1 * cost[1]


def test_without_weight_nothing_is_taught():
    method = tiny("walk_teaching", consistency=0.0)
    assert set(method.losses(built(method), batch_of(), 0.5)) == {"supervised"}


def test_soft_losses_by_hand():
    logits = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log().T.reshape(1, 2, 2)  # two pixels, two classes
    target = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).T.reshape(1, 2, 2)
    both = torch.ones(1, 2)
    assert soft_cross_entropy(logits, target, both).item() == pytest.approx((0.693147 + 0.287682) / 2, abs=1e-5)
    assert soft_cross_entropy(logits, target, torch.tensor([[0.0, 0.5]])).item() == pytest.approx(0.143841, abs=1e-5)
    # Σ p·t is 0.25 and 1, Σ (p + t) 1.25 and 2.75: the mean of 1 - 1.5/2.25 and 1 - 3/3.75
    assert soft_dice_loss(logits, target, both).item() == pytest.approx((1 / 3 + 0.2) / 2, abs=1e-6)
    second = 1 - (1 / 1.25 + 2.5 / 2.75) / 2
    assert soft_dice_loss(logits, target, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(second, abs=1e-6)
    nothing = torch.zeros(1, 2)
    assert soft_cross_entropy(logits, target, nothing).item() == soft_dice_loss(logits, target, nothing).item() == 0
