"""That unlabelled data teach, and only where they should (methods.md 2, 5)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg.methods import terms
from napari_semiseg.methods.supervised import Supervised

teaching = pytest.mark.parametrize("name", ["cross_teaching", "mcsc", "mcscv2"])


@teaching
def test_the_teacher_gets_no_gradient_from_what_it_teaches(name):
    """∂Dice(p_cnn, ŷ_transformer)/∂θ_transformer = 0, and the other way round."""
    method = tiny(name)
    networks = built(method)
    losses = method.losses(networks, draw_batch(method, shapes()), 0.9)
    for term, pupil, teacher in (
        ("CNN from Transformer", "cnn", "transformer"),
        ("Transformer from CNN", "transformer", "cnn"),
    ):
        networks.zero_grad()
        losses[term].backward(retain_graph=True)
        assert all(p.grad is None or not p.grad.any() for p in networks[teacher].parameters())
        assert any(p.grad is not None and p.grad.any() for p in networks[pupil].parameters())


@teaching
def test_unlabelled_pixels_change_the_gradient(name):
    method = tiny(name)
    drawn = draw_batch(method, shapes())
    gradients = []
    for image in (drawn.image, torch.cat([drawn.image[: drawn.labelled], drawn.image[drawn.labelled :].flip(-1) * 2])):
        networks = built(method).eval()
        losses = method.losses(networks, dataclasses.replace(drawn, image=image), 0.9)
        losses["CNN from Transformer"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in networks["cnn"].parameters() if p.grad is not None]))
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


def test_no_consistency_gives_the_gradients_of_the_supervised_method():
    """Unsupervised weight 0 → gradients of UNet-LS, with dropout 0 and instance norm (1.6 e)."""
    from napari_semiseg.networks.unet import UNet

    method = tiny("cross_teaching", consistency=0.0)
    batch = draw_batch(method, shapes())
    gradients = []
    for both in (True, False):
        torch.manual_seed(0)
        unet = UNet(1, 3, norm="instance", dropout=(0, 0, 0, 0, 0))
        networks = torch.nn.ModuleDict({"cnn": unet, "transformer": built(method)["transformer"], "unet": unet})
        recipe = method if both else Supervised()
        part = (
            batch
            if both
            else dataclasses.replace(
                batch, image=batch.image[:2], label=batch.label[:2], inside=batch.inside[:2], weight=batch.weight[:2]
            )
        )
        losses = recipe.losses(networks, part, 0.9)
        losses["CNN supervised" if both else "supervised"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in unet.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


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
