"""FBA contrast (F; methods.md 8): ranks, values, switches, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from napari_semiseg.losses import foreground_contrast as fc


def unit(*angles):
    """Representations in the first quadrant, by their angle."""
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles])


def representations(count=4, seed=0):
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_weights_of_ranks():
    weights = fc.rank_weights(torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.9, 0.5]]))
    assert weights[0].tolist() == pytest.approx([1, 0.778801, 0.606531], abs=1e-6)
    assert weights[1].tolist() == pytest.approx([0.606531, 1, 0.778801], abs=1e-6)


def test_a_sample_is_no_pair_with_itself_and_takes_no_rank():
    weights = fc.rank_weights(torch.tensor([[1.0, 0.5, 0.9], [0.5, 1, 0.2], [0.9, 0.2, 1]]), self_pairs=False)
    low = math.exp(-0.25)
    assert torch.allclose(weights, torch.tensor([[0, low, 1], [1, 0, low], [1, low, 0]]))


def test_equals_keep_their_order():
    assert fc.rank_weights(torch.full((1, 3), 0.5), alpha=1.0)[0].tolist() == pytest.approx(
        [1, math.exp(-1), math.exp(-2)]
    )


def test_ranks_carry_no_gradient_of_their_own():
    assert not fc.rank_weights(torch.rand(3, 3, requires_grad=True)).requires_grad


def test_identical_representations():
    z = unit(0.3, 0.3)
    assert fc.positive_loss(z).item() == pytest.approx(5.0013e-4, rel=1e-3)
    # Foreground like background: 7.60090 before the weights of ranks 0 and 1.
    weight = (1 + math.exp(-0.25)) / 2
    assert fc.negative_loss(z, z).item() == pytest.approx(7.60090 * weight, rel=1e-4)
    assert fc.negative_loss(z, z, alpha=0.0).item() == pytest.approx(7.60090, rel=1e-5)


def test_orthogonal_representations():
    assert fc.positive_loss(unit(0, math.pi / 2)).item() == pytest.approx(7.60090, rel=1e-4)
    assert fc.negative_loss(unit(0, 0), unit(math.pi / 2, math.pi / 2), alpha=0.0).item() == pytest.approx(
        5.0013e-4, rel=1e-3
    )


def test_positive_loss_by_hand():
    """Cosines .5 (60°), cos 20° and cos 40° of three samples; ranks within each row."""
    s = {(0, 1): 0.9396926, (0, 2): 0.5, (1, 2): 0.7660444}
    cost = {pair: -math.log(5e-4 + 0.999 * value) for pair, value in s.items()}
    low = math.exp(-0.25)
    expected = (cost[0, 1] + low * cost[0, 2] + cost[0, 1] + low * cost[1, 2] + cost[1, 2] + low * cost[0, 2]) / 6
    z = unit(0, math.pi / 9, math.pi / 3)
    assert fc.positive_loss(z).item() == pytest.approx(expected, rel=1e-5)


def test_negative_loss_by_hand():
    z, others = unit(0, 0), unit(math.pi / 3, math.pi / 2)
    near, far = -math.log(1 - (5e-4 + 0.999 * 0.5)), -math.log(1 - 5e-4)
    assert fc.negative_loss(z, others).item() == pytest.approx((near + math.exp(-0.25) * far) / 2, rel=1e-5)


def test_one_sample_has_no_positive_pair():
    loss = fc.positive_loss(representations(1))
    assert loss.item() == 0
    assert fc.info_nce(representations(1), [representations(1)]).item() == 0
    assert torch.isfinite(fc.negative_loss(representations(1), representations(1)))


def test_dead_representations_are_finite():
    z = torch.zeros(3, 6, requires_grad=True)
    total = fc.kinds_contrast([z, representations(3)], binary=True)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(z.grad).all()


def test_alpha_changes_the_gradient():
    """Within the logarithm it would not (F-eq 3)."""
    for loss in (fc.positive_loss, lambda z, alpha: fc.negative_loss(z, representations(seed=1), alpha=alpha)):
        gradients = []
        for alpha in (0.0, 0.25, 1.0):
            z = representations()
            loss(z, alpha=alpha).backward()
            gradients.append(z.grad)
        assert not torch.allclose(gradients[0], gradients[1])
        assert not torch.allclose(gradients[1], gradients[2])


@pytest.mark.parametrize("kinds", [2, 3])
@pytest.mark.parametrize("loss", ["fba", "info_nce"])
def test_the_order_of_the_batch_does_not_matter(kinds, loss):
    z = [representations(seed=s).detach() for s in range(kinds)]
    order = torch.tensor([2, 0, 3, 1])
    assert fc.kinds_contrast([each[order] for each in z], binary=len(z) == 2, loss=loss).item() == pytest.approx(
        fc.kinds_contrast(z, binary=len(z) == 2, loss=loss).item(), rel=1e-5
    )


def test_two_kinds_are_foreground_and_background():
    f, b = representations(seed=0), representations(seed=1)
    expected = fc.positive_loss(f) + fc.positive_loss(b) + fc.negative_loss(f, b)
    assert fc.kinds_contrast([f, b], binary=True).item() == pytest.approx(expected.item(), rel=1e-6)


def test_classes_are_compared_with_each_other_in_both_directions():
    z = [representations(seed=s) for s in range(3)]
    expected = sum(fc.positive_loss(each) for each in z)
    expected += sum(fc.negative_loss(z[i], z[j]) for i in range(3) for j in range(3) if i != j)
    assert fc.kinds_contrast(z, binary=False).item() == pytest.approx(expected.item() / 6, rel=1e-6)


def test_two_classes_of_more_are_no_foreground_and_background():
    """Of three classes one occurs nowhere: the sum over pairs of the others, divided by 2·1."""
    z = [representations(seed=s) for s in range(2)]
    expected = fc.positive_loss(z[0]) + fc.positive_loss(z[1])
    expected += fc.negative_loss(z[0], z[1]) + fc.negative_loss(z[1], z[0])
    assert fc.kinds_contrast(z, binary=False).item() == pytest.approx(expected.item() / 2, rel=1e-6)


def test_less_than_two_kinds_teach_nothing():
    z = representations()
    loss = fc.kinds_contrast([z], binary=True)
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()
    assert fc.kinds_contrast([], binary=False).item() == 0


def test_info_nce_by_hand():
    """Two foregrounds alike, one background at 60° and one at 90° to both, τ = 1."""
    f, b = unit(0, 0), unit(math.pi / 3, math.pi / 2)
    expected = -math.log(math.e / (math.e + math.exp(0.5) + 1))
    assert fc.info_nce(f, [b], temperature=1.0).item() == pytest.approx(expected, rel=1e-5)
    back = -math.log(math.exp(math.cos(math.pi / 6)) / (math.exp(math.cos(math.pi / 6)) + 2 * math.exp(0.5)))
    other = -math.log(math.exp(math.cos(math.pi / 6)) / (math.exp(math.cos(math.pi / 6)) + 2))
    assert fc.info_nce(b, [f], temperature=1.0).item() == pytest.approx((back + other) / 2, rel=1e-5)
    assert fc.kinds_contrast([f, b], binary=True, loss="info_nce", temperature=1.0).item() == pytest.approx(
        (expected + (back + other) / 2) / 2, rel=1e-5
    )


def test_released_form_by_hand():
    """Every pair with itself too, ranks from −1, ten times the α for negatives, clamped."""
    z = unit(0, math.pi / 3)
    own, other = math.exp(0.25) * -math.log(0.9995), -math.log(0.5)
    assert fc.positive_loss(z, released=True).item() == pytest.approx((2 * own + 2 * other) / 4, rel=1e-5)
    near, far = math.exp(2.5) * -math.log(0.5), -math.log(1 - 5e-4)
    found = fc.negative_loss(unit(0, 0), unit(math.pi / 3, math.pi / 2), released=True)
    assert found.item() == pytest.approx((near + far) / 2, rel=1e-5)


def test_clamping_kills_gradients_that_the_scaled_form_keeps():
    for clamped in (True, False):
        z, others = unit(0.0).requires_grad_(), unit(math.pi / 2)
        fc.held(fc.cosines(z, others), clamped=clamped).log().sum().backward()
        assert bool(z.grad.abs().sum() > 1e-3) != clamped


def test_training_separates_foreground_from_background():
    f, b = representations(seed=0), representations(seed=1)
    optimiser = torch.optim.Adam([f, b], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        fc.kinds_contrast([f.relu(), b.relu()], binary=True).backward()
        optimiser.step()
    assert fc.cosines(f.relu(), f.relu()).min() > 0.9
    assert fc.cosines(f.relu(), b.relu()).max() < 0.2
