"""Volumes in which not every class was looked for, in every method."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg import methods
from napari_semiseg.methods import terms
from napari_semiseg.methods.registered import registration_supervision

supervising = pytest.mark.parametrize("name", [n for n in methods.names() if methods.get(n).needs_labels])


def partial(unsought=frozenset({2}), **options):
    """A volume in which class 2 was not looked for: what is of class 2 is labelled 0."""
    volume = shapes(**options)
    labels = volume.labels.copy()
    labels[labels == 2] = 0
    return dataclasses.replace(volume, labels=labels, unsought=unsought)


def test_uncertain_pixels_are_not_said():
    batch = draw_batch(tiny("supervised"), partial())
    whole = draw_batch(tiny("supervised"), partial(unsought=frozenset()))
    assert batch.either is not None
    assert batch.either.any()
    assert torch.equal(batch.either, whole.label == 0)
    assert (batch.label[batch.either] == 255).all()
    assert torch.equal(batch.coarse, whole.label)
    assert torch.equal(batch.label[~batch.either], whole.label[~batch.either])
    assert batch.merged.tolist() == [[True, False, True]] * len(batch.image)
    assert whole.either is None
    assert torch.equal(whole.coarse, whole.label)


def test_pseudo_labels_are_among_what_the_annotator_left_open():
    batch = draw_batch(tiny("cross_teaching"), partial())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(0))
    pseudo = terms.pseudo_label(logits, batch)
    assert set(pseudo[batch.either].unique().tolist()) == {0, 2}
    assert torch.equal(pseudo[~batch.either], logits.argmax(dim=1)[~batch.either])


def test_what_registration_carries_over_is_among_what_the_annotator_left_open():
    batch = draw_batch(tiny("cct_r"), partial())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(0))
    trust = torch.ones(batch.label.shape)

    def loss(carried):
        extras = {"registered": carried, "trust": trust}
        return registration_supervision(logits, dataclasses.replace(batch, extras=extras)).item()

    one, other = torch.full_like(batch.label, 1), torch.full_like(batch.label, 2)
    assert bool((batch.unsaid & ~batch.either).any())
    assert loss(one) == loss(torch.where(batch.either, 255, 1)), "class 1 was looked for and is not there"
    assert loss(other) != loss(torch.where(batch.either, 255, 2)), "class 2 may be there"


def test_features_of_registered_contrast_are_never_labelled_as_what_was_ruled_out(monkeypatch):
    method = tiny("cct_r")
    parts, batch = built(method).eval(), draw_batch(method, partial())
    given = {}
    monkeypatch.setattr(
        parts["registered"], "forward", lambda outputs, guides, batch: given.update(guides) or batch.image.sum()
    )
    method.losses(parts, batch, 0.5)
    for guide in given.values():
        assert set(guide.argmax(dim=1)[batch.either].unique().tolist()) <= {0, 2}
        assert not guide.requires_grad


@supervising
def test_a_network_that_finds_the_other_class_is_not_told_that_it_is_background(name):
    """Losses are finite, and the supervised ones do not change when 0 and the class not looked for change places."""
    method = tiny(name)
    batch = draw_batch(method, partial(), plain=False)
    networks = built(method)
    losses = method.losses(networks, batch, 0.5)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in networks.parameters() if p.grad is not None)


def test_supervised_terms_leave_open_which_of_the_two_it_is():
    batch = draw_batch(tiny("supervised"), partial())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(1))
    swapped = torch.where(batch.either[:, None], logits[:, [2, 1, 0]], logits)
    assert terms.supervised(swapped, batch).item() == pytest.approx(terms.supervised(logits, batch).item(), abs=1e-6)
    known = dataclasses.replace(batch, label=batch.coarse, either=None, merged=None)
    assert terms.supervised(swapped, known).item() != pytest.approx(terms.supervised(logits, known).item(), abs=1e-3)
