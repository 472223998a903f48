"""Turns, cross consistency, cross pseudo supervision, and what all baselines share (methods.md 2)."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError
from small_methods import Says, built, draw_batch, has_gradient, random_logits, shapes, sharp, tiny
from torch import nn

from napari_semiseg import methods
from napari_semiseg.methods import cct, dct, terms

UNSUPERVISED = {
    **dict.fromkeys(("mean_teacher", "uamt", "ict", "dct", "cct"), ("consistency",)),
    "cps": ("first from second", "second from first"),
}


def batch_of(name, **settings):
    return draw_batch(tiny(name, **settings), shapes())


def test_mean_square_by_hand():
    """Two chosen pixels of three: (0.5² + 0.5²) and 0, divided by two classes and two pixels."""
    p = torch.tensor([[[[1.0, 0.5, 0.2]], [[0.0, 0.5, 0.8]]]])
    q = torch.tensor([[[[0.5, 0.5, 0.9]], [[0.5, 0.5, 0.1]]]])
    where = torch.tensor([[[True, True, False]]])
    assert terms.mean_square(p, q, where).item() == pytest.approx(0.5 / 4)
    assert terms.mean_square(p, q, where, channels=1).item() == pytest.approx(0.5 / 2)
    assert terms.mean_square(p, q, torch.zeros_like(where)).item() == 0


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_mean_square_is_at_most_two_by_the_classes(classes):
    p, q = torch.zeros(1, classes, 4, 4), torch.zeros(1, classes, 4, 4)
    p[:, 0], q[:, 1] = 1, 1
    where = torch.ones(1, 4, 4, dtype=torch.bool)
    assert terms.mean_square(p, q, where).item() == pytest.approx(2 / classes)


def test_open_samples_have_something_left_to_say():
    batch = batch_of("mean_teacher")
    assert terms.open_samples(batch).tolist() == [2, 3]
    label = batch.label.clone()
    label[0, 5, 5] = 255
    assert terms.open_samples(dataclasses.replace(batch, label=label)).tolist() == [0, 2, 3]
    everything = dataclasses.replace(batch, label=torch.zeros_like(label))
    assert terms.open_samples(everything).tolist() == []


def test_only_some_samples_of_a_batch():
    batch = batch_of("mean_teacher")
    part = batch.only(torch.tensor([1, 3]))
    assert part.labelled == 1
    for name in ("image", "label", "inside", "weight", "volume", "plane", "position", "affine"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[[1, 3]])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_network_that_looks_at_single_pixels_is_consistent(turns):
    torch.manual_seed(0)
    single = Says(nn.Conv2d(1, 3, 1))
    batch = batch_of("dct")
    assert dct.turn_consistency(single, single(batch.image).logits, batch, turns).item() < 1e-12


def test_without_a_turn_nothing_is_to_learn():
    unet, batch = built(tiny("dct"))["unet"].eval(), batch_of("dct")
    logits = unet(batch.image).logits
    assert dct.turn_consistency(unet, logits, batch, 0).item() < 1e-12
    assert dct.turn_consistency(unet, logits, batch, 1).item() > 1e-9


def test_both_predictions_learn_and_only_where_nothing_is_said():
    """The gradient is that of MSE(p, q) with both attached, ½ of each."""
    batch = batch_of("dct")
    logits = random_logits(4, 3, 64, 64).requires_grad_()
    others = random_logits(4, 3, 64, 64, seed=1).requires_grad_()
    loss = dct.turn_consistency(Says(others), logits, batch, 1)
    loss.backward()
    p, q = logits.detach().softmax(dim=1), torch.rot90(others.detach().softmax(dim=1), -1, (2, 3))
    expected = (p - q)[2:].square().mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert not logits.grad[:2].any()
    assert logits.grad[2:].any()
    assert others.grad[2:].any()
    half = logits.detach().clone().requires_grad_()
    (0.5 * (half.softmax(dim=1) - q)[2:].square().mean()).backward()
    assert torch.allclose(logits.grad, half.grad, atol=1e-9)


def test_turns_fit_the_shape():
    torch.manual_seed(0)
    square = {dct.draw_turns(torch.zeros(1, 1, 8, 8)) for _ in range(60)}
    oblong = {dct.draw_turns(torch.zeros(1, 1, 8, 9)) for _ in range(60)}
    assert (square, oblong) == ({0, 1, 2, 3}, {0, 2})


def test_noise_on_features_is_shared_by_the_batch():
    torch.manual_seed(0)
    features = torch.ones(3, 8, 20, 20) * torch.tensor([1.0, 2.0, 0.0])[:, None, None, None]
    noisy = cct.feature_noise(features)
    assert torch.allclose(noisy[1], 2 * noisy[0])
    assert not noisy[2].any()
    change = noisy[0] - 1
    assert -0.3 <= change.min() < -0.29
    assert 0.29 < change.max() <= 0.3
    assert len(change.unique()) > 3000


def test_dropout_of_features():
    torch.manual_seed(0)
    dropped = cct.dropout(torch.ones(2, 8, 50, 50))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert dropped.max().item() == pytest.approx(1 / 0.7)


def test_what_draws_most_attention_is_dropped():
    """Channel means 0.6 and 0.95 of the largest: below 0.7 it is kept, above 0.9 dropped, per sample."""
    features = torch.zeros(2, 2, 1, 3)
    features[0] = torch.tensor([[0.6, 0.95, 1.0], [0.6, 0.95, 1.0]])[:, None]
    features[1] = 10 * features[0].flip(-1)
    for seed in range(20):
        torch.manual_seed(seed)
        kept = (cct.feature_dropout(features) != 0)[:, 0, 0]
        assert kept.tolist() == [[True, False, False], [False, False, True]]
    between = torch.tensor([0.8, 1.0]).expand(1, 2, 1, 2)
    drawn = [bool(cct.feature_dropout(between)[0, 0, 0, 0]) for _ in range(60)]
    assert 10 < sum(drawn) < 50


def test_features_without_attention_are_kept():
    features = -torch.rand(2, 4, 5, 5) - 0.1
    assert torch.equal(cct.feature_dropout(features), features)


def same_decoders(unet):
    for branch in unet.branches:
        branch.decoder.load_state_dict(unet.decoder.state_dict())
        branch.head.load_state_dict(unet.head.state_dict())


def test_equal_decoders_of_undisturbed_features_agree(monkeypatch):
    method, batch = tiny("cct"), batch_of("cct")
    networks = built(method).eval()
    same_decoders(networks["unet"])
    assert method.losses(networks, batch, 1.0)["consistency"].item() > 1e-9
    monkeypatch.setattr(cct, "DISTURBANCES", (lambda features: features,) * 3)
    losses = method.losses(networks, batch, 1.0)
    assert losses["consistency"].item() == 0
    alone = terms.supervised(method.predictors(networks, batch.image)[0], batch)
    assert losses["supervised"].item() == pytest.approx(alone.item(), rel=1e-6)


def test_disturbances_reach_all_levels_and_the_main_decoder_sees_none(monkeypatch):
    seen = []
    monkeypatch.setattr(cct, "DISTURBANCES", (lambda z: seen.append(z.shape[-1]) or torch.zeros_like(z),) * 3)
    unet = built(tiny("cct"))["unet"].eval()
    image = random_logits(1, 1, 64, 64)
    main, others = cct.decoded(unet, image)
    assert seen == [64, 32, 16, 8, 4] * 3
    assert torch.equal(main, unet(image).logits)
    assert all(not torch.equal(main, other) for other in others)


@pytest.mark.parametrize("follows", [False, True])
def test_the_main_decoder_learns_from_the_others_only_on_request(follows):
    method, batch = tiny("cct", main_follows=follows), batch_of("cct")
    networks = built(method)
    method.losses(networks, batch, 1.0)["consistency"].backward()
    unet = networks["unet"]
    assert has_gradient(unet.decoder) == has_gradient(unet.head) == follows
    assert has_gradient(unet.encoder)
    assert all(has_gradient(branch) for branch in unet.branches)


def test_supervision_is_the_mean_of_four_decoders(monkeypatch):
    method, batch = tiny("cct"), batch_of("cct")
    logits = [random_logits(4, 3, 64, 64, seed=seed) for seed in range(4)]
    monkeypatch.setattr(cct, "decoded", lambda unet, image: (logits[0], logits[1:]))
    losses = method.losses(built(method), batch, 1.0)
    expected = sum(terms.supervised(each, batch).item() for each in logits) / 4
    assert losses["supervised"].item() == pytest.approx(expected, rel=1e-6)
    p = [each.softmax(dim=1)[2:] for each in logits]
    apart = sum((p[0] - each).square().mean().item() for each in p[1:]) / 3
    assert losses["consistency"].item() == pytest.approx(0.1 * apart, rel=1e-5)


def test_pseudo_labels_by_hand():
    """CE of uniform logits against any pseudo-label is ln 3, on unlabelled pixels only."""
    batch = batch_of("cps")
    first = torch.zeros(4, 3, 64, 64)
    first[:2, 1] = 50.0  # wrong and sure where the annotator knows better
    one, other = terms.mutual(first, random_logits(4, 3, 64, 64), batch, terms.cross_entropy)
    assert one.item() == pytest.approx(math.log(3), rel=1e-5)
    assert other.item() > 0


def test_agreeing_networks_teach_nothing_and_order_does_not_matter():
    batch = batch_of("cps")
    one, two = (random_logits(4, 3, 64, 64, seed=seed) for seed in (0, 1))
    sure = 60.0 * nn.functional.one_hot(one.argmax(dim=1), 3).movedim(-1, 1).float()
    assert sum(terms.mutual(sure, sure, batch, terms.cross_entropy)).item() < 1e-6
    forth, back = terms.mutual(one, two, batch, terms.cross_entropy), terms.mutual(two, one, batch, terms.cross_entropy)
    assert forth == tuple(reversed(back))


def test_the_terms_are_cross_entropies_with_the_other_s_labels():
    """w(T) = 0.1 times CE(p₁, ŷ₂) and CE(p₂, ŷ₁) over unlabelled pixels."""
    method, batch = tiny("cps"), batch_of("cps")
    networks = built(method).eval()
    one, two = (networks[name](batch.image).logits[2:] for name in ("first", "second"))
    losses = method.losses(networks, batch, 1.0)
    for term, taught, teaching in (("first from second", one, two), ("second from first", two, one)):
        expected = 0.1 * nn.functional.cross_entropy(taught, teaching.argmax(dim=1))
        assert losses[term].item() == pytest.approx(expected.item(), rel=1e-5)


def test_each_network_guides_the_contrast_of_the_other():
    class Guides(nn.Module):
        def forward(self, outputs, guides, batch, progress):
            self.seen = (outputs, guides)
            return torch.zeros(())

    method, batch = tiny("cps", contrast=1e-3), batch_of("cps")
    networks = built(method).eval()
    networks["contrast"] = Guides()
    method.losses(networks, batch, 0.5)
    outputs, guides = networks["contrast"].seen
    assert torch.equal(guides["first"], outputs["second"].logits)
    assert torch.equal(guides["second"], outputs["first"].logits)
    assert not torch.equal(guides["first"], guides["second"])


def test_two_unets_begin_differently_and_either_or_both_predict():
    method = tiny("cps")
    networks = built(method).eval()
    first, second = method.predictors(networks, random_logits(1, 1, 64, 64))
    assert not torch.allclose(first, second, atol=1e-3)
    assert [tiny("cps", predict_with=who).shares() for who in ("mean", "first", "second")] == [
        (0.5, 0.5),
        (1.0, 0.0),
        (0.0, 1.0),
    ]


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_unlabelled_slices_teach(name, monkeypatch):
    """Each unsupervised term has a gradient that follows the unlabelled images, and none of its own without them."""
    monkeypatch.setattr(dct, "draw_turns", lambda image: 1)
    method, batch = tiny(name), batch_of(name)
    pupil = next(iter(method.rates()))
    found = []
    for image in (batch.image, torch.cat([batch.image[:2], batch.image[2:].flip(-1) * 2])):
        networks = sharp(built(method).eval(), 50.0)
        torch.manual_seed(0)
        losses = method.losses(networks, dataclasses.replace(batch, image=image), 1.0)
        sum(losses[term] for term in UNSUPERVISED[name]).backward()
        found.append(torch.cat([p.grad.flatten() for p in networks[pupil].parameters() if p.grad is not None]))
    assert found[0].abs().max() > 0
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_with_everything_said_nothing_is_left_to_learn(name):
    batch = batch_of(name)
    said = dataclasses.replace(batch, label=torch.zeros_like(batch.label))
    losses = tiny(name).losses(built(tiny(name)), said, 1.0)
    assert sum(value.item() for key, value in losses.items() if "supervised" not in key) == 0


@pytest.mark.parametrize(("name", "learning"), [("mean_teacher", ("student",)), ("cps", ("first", "second"))])
def test_contrast_is_a_switch(name, learning):
    """Guided by the teacher or by the other network: features learn, guides and heads do not (T-Tab 5.5)."""
    method = tiny(name, contrast=1e-3)
    assert "contrast" not in built(tiny(name))
    networks = sharp(built(method), 200.0)
    assert set(networks) == {*built(tiny(name)), "contrast"}
    assert set(method.rates()) == {*learning, "contrast"}
    batch = batch_of(name)
    for _ in range(2):
        loss = method.losses(networks, batch, 0.5)["contrast"]
    loss.backward()
    assert loss.item() > 0
    for key in learning:
        assert has_gradient(networks[key].encoder)
        assert not has_gradient(networks[key].head)
    assert has_gradient(networks["contrast"])
    bank = networks["contrast"].banks["4"]
    assert int(bank.filled.sum()) > 0
    twice = tiny(name, contrast=2e-3)
    networks["contrast"].clear()
    torch.manual_seed(0)
    once = method.losses(networks.eval(), batch, 0.5)["contrast"].item()
    networks["contrast"].clear()
    torch.manual_seed(0)
    assert twice.losses(networks, batch, 0.5)["contrast"].item() == pytest.approx(2 * once, rel=1e-4)
    method.after_warm_start(networks)
    assert not bank.filled.any()


@pytest.mark.parametrize("name", ["cross_teaching", "mcsc", "mcscv2"])
def test_the_transformer_can_be_chosen(name):
    """The papers' Swin-Unet in the preset of the print, CS-Unet, which learns from few images, elsewhere."""
    kind = methods.get(name)
    assert kind.preset("paper", small=False).transformer == "swin_unet"
    assert (
        kind.preset("product", small=True).transformer == kind.preset("product", small=False).transformer == "cs_unet"
    )
    widths = {
        choice: type(built(tiny(name, transformer=choice, transformer_width=12))["transformer"]).__name__
        for choice in ("cs_unet", "swin_unet")
    }
    assert widths == {"cs_unet": "CSUnet", "swin_unet": "SwinUnet"}
    with pytest.raises(ValidationError):
        tiny(name, transformer="vit")
