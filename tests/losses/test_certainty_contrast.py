"""Certainty-guided contrast (methods.md 5, tests 1 to 6 and the rules of its steps)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_semiseg.losses.certainty_contrast import (
    NegativeBank,
    Pixels,
    anchor_mask,
    class_loss,
    contrast,
    default_r_high,
    entropy_threshold,
    hard_anchor_mask,
    negative_mask,
    ranks,
    uncertain_share,
)

UNSAID = 255


def random_pixels(n=400, classes=4, said=0.3, seed=0) -> Pixels:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(n, classes, generator=generator)).softmax(dim=1)
    truth = torch.randint(0, classes, (n,), generator=generator)
    truth[torch.rand(n, generator=generator) >= said] = UNSAID
    return Pixels.of(probabilities, truth)


def unit(n, width=16, seed=0) -> torch.Tensor:
    return functional.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_ranks_by_hand():
    assert ranks(torch.tensor([[0.15, 0.5, 0.3, 0.05]])).tolist() == [[2, 0, 1, 3]]


@pytest.mark.parametrize(("classes", "value"), [(2, 1), (3, 1), (4, 2), (9, 7)])
def test_default_rank_limit(classes, value):
    assert default_r_high(classes) == value


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3000), progress=st.floats(0, 1), seed=st.integers(0, 999))
def test_share_of_uncertain_pixels(n, progress, seed):
    """⌊β·n⌋ ± 1 distinct entropies lie above the threshold."""
    entropy = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).float()
    share = uncertain_share(progress)
    uncertain = int((entropy > entropy_threshold(entropy, share)).sum())
    assert abs(uncertain - math.floor(share * n)) <= 1


def test_share_falls_from_a_fifth_to_nothing():
    entropy = torch.randperm(1000).float()
    assert (entropy > entropy_threshold(entropy, uncertain_share(0.0))).sum() == 200
    assert (entropy > entropy_threshold(entropy, uncertain_share(0.5))).sum() == 100
    assert (entropy > entropy_threshold(entropy, uncertain_share(1.0))).sum() == 0


def test_without_unlabelled_pixels_none_is_uncertain():
    assert (torch.rand(5) > entropy_threshold(torch.empty(0), 0.2)).sum() == 0


def test_pixels_take_the_truth_where_it_is_said():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    pixels = Pixels.of(probabilities, torch.tensor([2, UNSAID]))
    assert pixels.label.tolist() == [2, 0]
    assert pixels.said.tolist() == [True, False]
    assert pixels.entropy[1].item() == pytest.approx(1.5 * math.log(2), abs=1e-6)


def test_anchors_are_confident_and_certain():
    """Labelled: P(y) > h whatever the entropy; unlabelled: also H ≤ γ."""
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.85, 0.15], [0.91, 0.09]])
    pixels = Pixels.of(probabilities, torch.tensor([0, UNSAID, 0, UNSAID, UNSAID]))
    certain = pixels.entropy[1] + 1e-6
    assert anchor_mask(pixels, certain).tolist() == [True, True, False, False, False]
    assert anchor_mask(pixels, torch.tensor(0.0)).tolist() == [True, False, False, False, False]


def test_negatives_by_hand():
    """Step 5 for C = 4, r_l = 1, r_h = 2: labelled by misclassification, unlabelled by rank."""
    ordered = [0.5, 0.3, 0.15, 0.05]  # ranks 0 1 2 3
    pixels = Pixels.of(torch.tensor([ordered] * 3), torch.tensor([2, UNSAID, UNSAID]))
    pixels = Pixels(pixels.probabilities, pixels.label, pixels.said, torch.tensor([9.0, 9.0, 0.1]))
    found = negative_mask(pixels, torch.tensor(1.0), 1, 2)
    assert found.tolist() == [
        [True, False, False, False],  # labelled 2, taken for 0
        [False, False, True, True],  # uncertain: only classes ranked 2 and below
        [False, True, True, True],  # certain: everything but the likeliest
    ]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), classes=st.integers(2, 9), r_low=st.integers(1, 3), progress=st.floats(0, 1))
def test_no_pixel_is_a_negative_of_its_own_class(seed, classes, r_low, progress):
    pixels = random_pixels(classes=classes, seed=seed)
    threshold = entropy_threshold(pixels.entropy[~pixels.said], uncertain_share(progress))
    found = negative_mask(pixels, threshold, r_low, default_r_high(classes, r_low))
    assert not found.gather(1, pixels.label[:, None]).any()


@pytest.mark.parametrize("portion", [5, 7])  # 7 does not divide the capacity: a push goes over its end
def test_bank_is_first_in_first_out(portion):
    """After K+5 keys, and more, the first 5 are gone."""
    bank = NegativeBank(2, 1, 40)
    total = 45 if portion == 5 else 49
    for start in range(0, total, portion):
        values = torch.arange(start, start + portion)
        bank.push(1, values.float()[:, None], values)
    keys, ids = bank.sample(1, 1000)
    assert sorted(keys[:, 0].tolist()) == list(range(total - 40, total))
    assert keys[:, 0].tolist() == ids.tolist()
    assert len(bank.sample(0, 1000)[0]) == 0


@pytest.mark.parametrize("filled", [0, 30])
def test_one_push_adds_at_most_a_quarter(filled):
    bank = NegativeBank(1, 2, 40)
    bank.filled[0] = bank.cursor[0] = filled
    bank.push(0, torch.ones(400, 2), torch.zeros(400, dtype=torch.long))
    assert int(bank.filled[0]) == filled + 10


def test_one_push_is_a_random_choice_and_keeps_keys_with_their_classes():
    torch.manual_seed(0)
    bank = NegativeBank(1, 1, 40)
    bank.push(0, torch.arange(400.0)[:, None], torch.arange(400))
    keys, ids = bank.sample(0, 5)
    assert len(keys) == 5
    assert keys[:, 0].tolist() == ids.tolist()
    stored, _ = bank.sample(0, 40)
    assert stored.max() > 40
    assert len(stored.unique()) == 10


def test_bank_has_no_graph_and_travels_with_the_state():
    bank = NegativeBank(2, 3, 8, torch.float16)
    features = torch.randn(2, 3, requires_grad=True)
    bank.push(1, features * 2, torch.tensor([0, 0]))
    assert not bank.keys.requires_grad
    assert bank.keys.grad_fn is None
    copy = NegativeBank(2, 3, 8, torch.float16)
    copy.load_state_dict(bank.state_dict())
    assert torch.equal(copy.sample(1, 9)[0], bank.sample(1, 9)[0])
    assert copy.sample(1, 9)[0].dtype == torch.float32
    copy.push(1, features, torch.tensor([0, 0]))
    assert int(copy.filled[1]) == 4
    copy.clear()
    assert len(copy.sample(1, 9)[0]) == 0


@pytest.mark.parametrize("keys", [(1,), (7,), (500,), (1, 1), (5, 300)])
def test_orthogonal_negatives_by_hand(keys):
    """a_p = a_i, orthogonal negatives, τ = .1: one class 4.5399e-5, two 9.0796e-5, however many keys each has."""
    anchor = torch.eye(4)[:1].double()
    negatives = torch.eye(4)[1:2].double().repeat(sum(keys), 1)
    ids = torch.cat([torch.full((n,), j + 1) for j, n in enumerate(keys)])
    loss = class_loss(anchor, anchor[0], negatives, ids, 0.1)
    assert loss.item() == pytest.approx({1: 4.5399e-5, 2: 9.0796e-5}[len(keys)], abs=2e-9)


def test_class_loss_equals_its_definition():
    """Against the printed form of step 6, sums and all."""
    anchors, negatives = unit(5, seed=1).double(), unit(9, seed=2).double()
    positive = functional.normalize(anchors.mean(dim=0), dim=0)
    ids = torch.tensor([1, 1, 3, 3, 3, 3, 1, 3, 2])
    temperature = 0.2
    total = 0.0
    for a in anchors:
        to_positive = math.exp(a @ positive / temperature)
        groups = sum(
            sum(math.exp(a @ k / temperature) for k in negatives[ids == j]) / int((ids == j).sum()) for j in (1, 2, 3)
        )
        total += -math.log(to_positive) + math.log(to_positive + groups)
    loss = class_loss(anchors, positive, negatives, ids, temperature)
    assert loss.item() == pytest.approx(total / 5, rel=1e-9)


def test_class_loss_does_not_overflow():
    anchors = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = class_loss(anchors, torch.tensor([-1.0, 0.0]), torch.tensor([[1.0, 0.0]]), torch.tensor([1]), 1e-3)
    loss.backward()
    assert loss.item() == pytest.approx(2000)
    assert torch.isfinite(anchors.grad).all()


def run(features, pixels, bank=None, threshold=1.0, **options):
    classes = pixels.probabilities.shape[1]
    bank = NegativeBank(classes, features.shape[1], 400) if bank is None else bank
    options = {"r_high": default_r_high(classes), "confidence": 0.5} | options
    return contrast(lambda chosen: features[chosen], pixels, torch.tensor(threshold), bank, **options)


def test_only_confident_pixels_get_a_gradient():
    """Anchors alone: the positive centre and the bank carry none."""
    torch.manual_seed(0)
    pixels = random_pixels()
    features = unit(400).requires_grad_()
    bank = NegativeBank(4, 16, 400)
    run(features, pixels, bank, confidence=0.9).backward()
    anchors = anchor_mask(pixels, torch.tensor(1.0), 0.9)
    assert (features.grad[~anchors] == 0).all()
    assert (features.grad[anchors].abs().sum(dim=1) > 0).all()


def test_positive_centre_is_the_mean_and_has_no_gradient():
    features = unit(3, width=3, seed=3).requires_grad_()
    pixels = Pixels.of(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]), torch.tensor([0, 0, UNSAID]))
    loss = run(features, pixels)
    loss.backward()
    # The third pixel, unlabelled and certain, is the negative of class 0; class 1 has none, its classes being right.
    again = features.detach().clone().requires_grad_()
    centre = functional.normalize(again[:2].detach().mean(dim=0), dim=0)
    expected = class_loss(again[:2], centre, again[2:].detach(), torch.tensor([1]), 0.1)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(features.grad, again.grad, atol=1e-6)


def test_bank_is_filled_before_it_is_sampled():
    pixels = random_pixels()
    bank = NegativeBank(4, 16, 400)
    assert run(unit(400), pixels, bank).item() > 0
    assert (bank.filled > 0).all()
    assert all((bank.ids[c, : int(bank.filled[c])] != c).all() for c in range(4))


def test_every_class_weighs_the_same():
    """Twice the pixels of one class: the mean over classes stays, as the anchors' mean does."""
    features = torch.eye(4)[[0, 1]]
    probabilities = torch.tensor([[0.95, 0.05], [0.05, 0.95]])
    few, many = [0, 1], [0] * 9 + [1]
    losses = []
    for chosen in (few, many):
        pixels = Pixels.of(probabilities[chosen], torch.full((len(chosen),), UNSAID))
        losses.append(run(features[chosen], pixels).item())
    assert losses[0] == pytest.approx(4.5399e-5, abs=2e-9)
    assert losses[1] == pytest.approx(losses[0], abs=2e-9)


@pytest.mark.parametrize("limit", [1, 8])
def test_no_more_anchors_than_asked_for(limit):
    torch.manual_seed(0)
    pixels = random_pixels()
    features = unit(400).requires_grad_()
    run(features, pixels, anchors=limit).backward()
    touched = features.grad.abs().sum(dim=1) > 0
    assert torch.bincount(pixels.label[touched], minlength=4).tolist() == [limit] * 4


def test_nothing_usable_is_zero_and_keeps_the_graph():
    pixels = random_pixels()
    features = unit(400).requires_grad_()
    loss = run(features, pixels, confidence=1.0)
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()
    nothing = Pixels.of(torch.empty(0, 4), torch.empty(0, dtype=torch.long))
    assert run(torch.empty(0, 16, requires_grad=True), nothing).item() == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), classes=st.integers(2, 6), said=st.floats(0, 1))
def test_never_negative_and_finite(seed, classes, said):
    torch.manual_seed(seed)
    features = unit(200, seed=seed).requires_grad_()
    loss = run(features, random_pixels(200, classes, said, seed))
    loss.backward()
    assert loss.item() >= 0
    assert torch.isfinite(features.grad).all()


def test_same_seed_same_value():
    values = []
    for _ in range(2):
        torch.manual_seed(7)
        values.append(run(unit(400), random_pixels(), anchors=9, negatives=5).item())
    assert values[0] == values[1]


def test_float32_even_under_autocast():
    values = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(run(unit(400), random_pixels()))
    assert values[1].dtype == torch.float32
    assert torch.equal(values[0], values[1])


def test_projection_learns_under_autocast():
    torch.manual_seed(0)
    projection = torch.nn.Linear(16, 16)
    raw = unit(400)
    with torch.autocast("cpu", torch.bfloat16):
        contrast(
            lambda chosen: functional.normalize(projection(raw[chosen]).float(), dim=1),
            random_pixels(),
            torch.tensor(1.0),
            NegativeBank(4, 16, 400),
            r_high=2,
        ).backward()
    assert projection.weight.grad.abs().sum() > 0


def test_hard_anchors_are_trusted_but_not_sure():
    """ReCo: P(y) < .97 where the label is said or predicted with certainty, also where it is predicted wrongly."""
    probabilities = torch.tensor([[0.98, 0.02], [0.96, 0.04], [0.02, 0.98], [0.96, 0.04], [0.98, 0.02]])
    pixels = Pixels.of(probabilities, torch.tensor([0, 0, 0, UNSAID, UNSAID]))
    certain = pixels.entropy[1] + 1e-6
    assert hard_anchor_mask(pixels, certain).tolist() == [False, True, True, True, False]
    assert hard_anchor_mask(pixels, torch.tensor(0.0)).tolist() == [False, True, True, False, False]


def test_classes_that_look_alike_are_drawn_more_often():
    """Means at cosines 1, 0 and −1 of the centre: softmax of (2, 0, −2), however many keys each class has."""
    torch.manual_seed(0)
    bank = NegativeBank(4, 2, 400)
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    ids = torch.tensor([1, 2, 3]).repeat_interleave(torch.tensor([5, 60, 35]))
    bank.push(0, keys[ids - 1], ids)
    drawn, classes = bank.sample_alike(0, torch.tensor([1.0, 0.0]), 20_000)
    expected = torch.tensor([2.0, 0.0, -2.0]).softmax(dim=0)
    assert torch.allclose(torch.bincount(classes)[1:] / 20_000, expected, atol=0.015)
    assert torch.equal(drawn, keys[classes - 1])
    assert len(bank.sample_alike(1, torch.tensor([1.0, 0.0]), 5)[0]) == 0


def test_unbalanced_negatives_by_hand():
    """500 orthogonal negatives of one class: ln(1+500·e⁻¹⁰)."""
    anchor = torch.eye(4)[:1].double()
    negatives, ids = torch.eye(4)[1:2].double().repeat(500, 1), torch.ones(500, dtype=torch.long)
    loss = class_loss(anchor, anchor[0], negatives, ids, 0.1, balanced=False)
    assert loss.item() == pytest.approx(0.0224462, abs=1e-7)


def test_hard_sampling_learns_from_the_unsure_and_centres_on_all():
    """One anchor of class 0; its positive is the mean of both pixels of the class, its negatives are not balanced."""
    features = unit(3, width=3, seed=3).requires_grad_()
    pixels = Pixels.of(torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.01, 0.99]]), torch.tensor([0, 0, UNSAID]))
    loss = run(features, pixels, sampling="hard", negatives=7)
    loss.backward()
    again = features.detach().clone().requires_grad_()
    centre = functional.normalize(again[:2].detach().mean(dim=0), dim=0)
    seven = again[2:].detach().expand(7, 3)
    expected = class_loss(again[:1], centre, seven, torch.ones(7, dtype=torch.long), 0.1, balanced=False)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(features.grad, again.grad, atol=1e-6)
