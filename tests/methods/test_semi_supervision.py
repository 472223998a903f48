"""That unlabelled data teach, and only where they should (methods.md 2, 5)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg import methods
from napari_semiseg import networks as nets
from napari_semiseg.losses.supervised import cross_entropy
from napari_semiseg.methods import terms

# Terms, whom they teach, and by whose predictions.
CNN_AND_TRANSFORMER = {
    "CNN from Transformer": ("cnn", "transformer"),
    "Transformer from CNN": ("transformer", "cnn"),
}
TEACHING = {
    "cross_teaching": CNN_AND_TRANSFORMER,
    "mcsc": CNN_AND_TRANSFORMER,
    "mcscv2": CNN_AND_TRANSFORMER,
    "cps": {"first from second": ("first", "second"), "second from first": ("second", "first")},
}
teaching = pytest.mark.parametrize("name", TEACHING)


@teaching
def test_the_teacher_gets_no_gradient_from_what_it_teaches(name):
    """∂L(p₁, ŷ₂)/∂θ₂ = 0, and the other way round."""
    method = tiny(name)
    networks = built(method)
    losses = method.losses(networks, draw_batch(method, shapes()), 0.9)
    for term, (pupil, teacher) in TEACHING[name].items():
        networks.zero_grad()
        losses[term].backward(retain_graph=True)
        assert all(p.grad is None or not p.grad.any() for p in networks[teacher].parameters())
        assert any(p.grad is not None and p.grad.any() for p in networks[pupil].parameters())


@teaching
def test_unlabelled_pixels_change_the_gradient(name):
    method = tiny(name)
    drawn = draw_batch(method, shapes())
    term, (pupil, _) = next(iter(TEACHING[name].items()))
    gradients = []
    for image in (drawn.image, torch.cat([drawn.image[: drawn.labelled], drawn.image[drawn.labelled :].flip(-1) * 2])):
        networks = built(method).eval()
        losses = method.losses(networks, dataclasses.replace(drawn, image=image), 0.9)
        losses[term].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in networks[pupil].parameters() if p.grad is not None]))
    assert not torch.allclose(gradients[0], gradients[1])


@teaching
def test_what_the_annotator_said_overrides_pseudo_labels(name):
    """With every pixel said, nothing is left to teach."""
    method = tiny(name)
    drawn = draw_batch(method, shapes())
    drawn = dataclasses.replace(drawn, label=torch.zeros_like(drawn.label))
    losses = method.losses(built(method), drawn, 0.9)
    assert not any("from" in term for term in losses)


def test_agreeing_confident_networks_teach_almost_nothing():
    batch = draw_batch(tiny("cross_teaching"), shapes())
    batch = dataclasses.replace(batch, label=torch.full_like(batch.label, 255))
    truth = torch.randint(0, 3, batch.label.shape, generator=torch.Generator().manual_seed(0))
    logits = 40.0 * torch.nn.functional.one_hot(truth, 3).permute(0, 3, 1, 2).float()
    assert terms.pseudo_supervised(logits, terms.pseudo_label(logits, batch), batch).item() <= 1e-4


def test_swapping_the_networks_leaves_the_total_unchanged():
    from napari_semiseg.networks import NetworkOutput

    method = tiny("cross_teaching")
    batch = draw_batch(method, shapes())
    one, two = (
        NetworkOutput(
            torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(s))
        )
        for s in (0, 1)
    )
    forth = sum(method.mutual_losses(one, two, batch, 0.7).values())
    back = sum(method.mutual_losses(two, one, batch, 0.7).values())
    assert forth.item() == pytest.approx(back.item(), rel=1e-6)


def test_scribbles_count_in_the_cross_entropy_only():
    batch = draw_batch(tiny("supervised"), shapes())
    keep = torch.zeros_like(batch.said)
    keep[:, 30:34, 10:50] = True
    scribbled = dataclasses.replace(batch, label=torch.where(keep, batch.label, 255))
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:])
    ce = torch.nn.functional.cross_entropy(logits, scribbled.label, ignore_index=255)
    assert terms.supervised(logits, scribbled).item() == pytest.approx(0.5 * ce.item(), rel=1e-5)


def test_corrected_samples_weigh_double():
    batch = draw_batch(tiny("supervised"), shapes())
    logits = torch.zeros(len(batch.image), 3, *batch.label.shape[1:])
    logits[0, 0] = 3.0
    heavy = dataclasses.replace(batch, weight=torch.tensor([2.0, 1.0]))
    per_sample = [
        terms.supervised(
            logits[i : i + 1],
            dataclasses.replace(
                batch,
                image=batch.image[i : i + 1],
                label=batch.label[i : i + 1],
                inside=batch.inside[i : i + 1],
                weight=batch.weight[i : i + 1],
            ),
        ).item()
        for i in range(2)
    ]
    light, weighted = terms.supervised(logits, batch).item(), terms.supervised(logits, heavy).item()
    assert (weighted - light) * (per_sample[0] - per_sample[1]) > 0


def test_contrast_reaches_both_networks_and_remembers_without_graph():
    method = tiny("mcscv2")
    networks = built(method)
    batch = draw_batch(method, shapes())
    for _ in range(2):
        losses = method.losses(networks, batch, 0.5)
    networks.zero_grad()
    losses["contrast"].backward()
    for key in ("cnn", "transformer", "contrast"):
        assert any(p.grad is not None and p.grad.any() for p in networks[key].parameters()), key
    bank = networks["contrast"].banks[str(method.scales[0])]
    assert int(bank.filled.sum()) > 0
    assert not bank.keys.requires_grad


@pytest.mark.parametrize("network", ["unet16", "unet32t", "resnet_unet", "cs_unet", "swin_unet"])
def test_the_supervised_network_can_be_chosen(network):
    # Drop-path skips blocks at random; one of these samples goes through each.
    torch.manual_seed(0)
    method = tiny("supervised", network=network, labelled_batch=4)
    networks = built(method)
    losses = method.losses(networks, draw_batch(method, shapes()), 0.5)
    losses["supervised"].backward()
    assert all(p.grad is not None and p.grad.any() for p in networks["unet"].parameters())
    assert type(networks["unet"]) is type(nets.build(network, 1, 3))


def test_dice_may_count_the_classes_that_a_batch_lacks():
    """Printed: the mean over all C = 3 classes; of the absent one 1 − ε/(Σ p² + ε)."""
    batch = draw_batch(tiny("supervised"), shapes())
    batch = dataclasses.replace(batch, label=torch.where(batch.label == 2, 0, batch.label))
    networks = built(tiny("supervised")).eval()
    some, every = (
        tiny("supervised", dice_all_classes=flag).losses(networks, batch, 0.5)["supervised"].item()
        for flag in (False, True)
    )
    logits = networks["unet"](batch.image).logits
    ce = cross_entropy(logits, batch.label).item()
    absent = 1 - 1e-5 / ((logits.softmax(dim=1)[:, 2].square() * batch.said).sum().item() + 1e-5)
    assert every == pytest.approx(0.5 * (ce + (2 * (2 * some - ce) + absent) / 3), abs=1e-5)
    assert methods.get("supervised").preset("paper", small=False).dice_all_classes
