"""What is particular to the methods of volumes (methods.md 8, 9, 11, 12-E)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_methods import built, draw_batch, has_gradient, shapes, tiny

from napari_semiseg import methods
from napari_semiseg.losses.foreground_contrast import kinds_contrast
from napari_semiseg.losses.supervised import cross_entropy, dice_loss
from napari_semiseg.methods import Setup, terms
from napari_semiseg.methods.dual_stream import PrototypeMemory, prototype_weight
from napari_semiseg.methods.fba_net import ContrastModule
from napari_semiseg.methods.two_streams import STREAMS, Winner
from napari_semiseg.networks.output import NetworkOutput

VOLUMES = ["fba_net", "mc_net", "mcf", "dual_stream"]


def setup(spacing=(1.0, 1.0, 1.0), planes=None, classes=3):
    return Setup(classes=classes, channels=1, small=True, spacing=spacing, planes=planes)


@pytest.mark.parametrize(
    ("spacing", "planes", "expected"),
    [
        ((1.0, 1.0, 1.0), None, (80, 112, 112)),
        # Half as many planes at twice the distance; halved three times only.
        ((2.0, 1.0, 1.0), None, (40, 112, 112)),
        # 80 px of 1.4 mm are 11.2 planes of 10 mm; halved twice: 12.
        ((10.0, 1.4, 1.4), 20, (12, 112, 112)),
        # No more planes than there are, in whole multiples of 4, 2 and 16.
        ((10.0, 1.4, 1.4), 9, (12, 112, 112)),
        ((10.0, 1.0, 1.0), 5, (6, 112, 112)),
        # 80 px of 1 mm are 8.9 planes of 9 mm, which are rounded up and halved once: 10.
        ((9.0, 1.0, 1.0), 20, (10, 112, 112)),
        ((1.0, 1.0, 1.0), 20, (32, 112, 112)),
        # Thick planes: at least 8 of them.
        ((40.0, 1.0, 1.0), 30, (8, 112, 112)),
    ],
)
def test_patches_follow_the_spacing(spacing, planes, expected):
    assert methods.get("mcf")().patch(setup(spacing, planes)) == expected


def test_patches_of_planes_are_crops():
    assert tiny("fba_net", dimensions="2d").patch(setup()) == (32, 32)


def test_networks_of_thick_planes_halve_them_less_often():
    networks = tiny("mcf").networks(setup((5.0, 1.0, 1.0)))
    kernels = [tuple(level[0].kernel_size) for level in networks["vnet"].encoder.levels]
    assert kernels[:3] == [(1, 3, 3), (1, 3, 3), (3, 3, 3)]


@pytest.mark.parametrize("name", ["mcf", "dual_stream"])
@pytest.mark.parametrize("settings", [{"context": 1}, {"beyond": "network"}, {"overlap": 1.0}])
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ValidationError):
        methods.get(name).preset("product", small=True, **settings)


def test_only_planes_have_neighbours_as_channels():
    with pytest.raises(ValidationError, match="for methods that look at planes"):
        methods.get("mc_net").preset("product", small=True, context=1)
    assert methods.get("mc_net").preset("product", small=True, dimensions="2d", context=1)


def test_networks_of_volumes_have_the_width_norm_and_dropout_of_the_settings():
    for norm, kind in (("batch", torch.nn.BatchNorm3d), ("instance", torch.nn.InstanceNorm3d)):
        networks = built(tiny("mcf", width=4, norm=norm, dropout=0.3))
        for name in STREAMS:
            modules = list(networks[name].modules())
            norms = [m for m in modules if isinstance(m, (torch.nn.BatchNorm3d, torch.nn.InstanceNorm3d))]
            assert all(isinstance(m, kind) for m in norms)
            assert norms[0].num_features == 4
            assert {m.p for m in modules if isinstance(m, torch.nn.Dropout3d)} == {0.3}


@pytest.mark.parametrize("name", VOLUMES)
def test_the_paper_trains_by_sgd(name):
    """Rate .01, falling by steps (constant in FBA-Net), decay 1e-4, batch norm, dropout .5, 112 × 112 × 80 voxels."""
    paper = methods.get(name).preset("paper", small=False)
    assert (paper.optimiser, paper.learning_rate, paper.weight_decay) == ("sgd", 0.01, 1e-4)
    assert (paper.norm, paper.dropout, paper.crop, paper.depth) == ("batch", 0.5, 112, 80)
    schedule = "constant" if name == "fba_net" else "step"
    assert {rate.schedule for rate in paper.rates().values()} == {schedule}
    assert {rate.base for rate in paper.rates().values()} == {0.01}


@pytest.mark.parametrize("settings", [{"decoders": 1}, {"decoders": 4}, {"dimensions": "4d"}, {"contrast_loss": "x"}])
def test_impossible_settings_of_decoders_are_refused(settings):
    with pytest.raises(ValidationError):
        methods.get("fba_net").preset("product", small=True, **settings)


# --- supervision -------------------------------------------------------------------------------------------------


def test_dice_counts_on_complete_planes_of_a_patch_though_most_planes_are_empty():
    """One labelled plane of six: cross entropy and Dice are those of that plane."""
    method = tiny("mc_net")
    batch = draw_batch(method, shapes(labelled=(2,)))
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(0))
    expected = 0.5 * (cross_entropy(logits, batch.label) + dice_loss(logits, batch.label))
    assert terms.supervised(logits, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms.supervised_dice(logits, batch).item() == pytest.approx(dice_loss(logits, batch.label).item(), rel=1e-5)


def test_scribbled_planes_of_a_patch_count_in_the_cross_entropy_only():
    method = tiny("mc_net")
    batch = draw_batch(method, shapes(labelled=(1, 4)))
    complete = batch.said.flatten(2).all(dim=2)
    scribbled = batch.label.clone()
    first = complete.float().argmax(dim=1)
    for sample in range(batch.labelled):
        scribbled[sample, first[sample], 4:] = 255
    mixed = dataclasses.replace(batch, label=scribbled)
    dense = scribbled.clone()
    for sample in range(batch.labelled):
        dense[sample, first[sample]] = 255
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(0))
    expected = 0.5 * (cross_entropy(logits, scribbled) + dice_loss(logits, dense))
    assert terms.supervised(logits, mixed).item() == pytest.approx(expected.item(), rel=1e-5)
    strokes = dataclasses.replace(batch, label=torch.where(dense == 255, scribbled, 255))
    assert terms.supervised_dice(logits, strokes).item() == pytest.approx(
        0.5 * cross_entropy(logits, strokes.label).item(), rel=1e-5
    )


def test_supervision_of_the_paper_is_half_dice():
    batch = draw_batch(tiny("mc_net"), shapes())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:])
    output = NetworkOutput(logits, {}, (NetworkOutput(logits.flip(1)),))
    losses = tiny("mc_net", supervision="dice").mutual_losses(output, batch, 0.0)
    assert losses["decoder 1 supervised"].item() == pytest.approx(0.5 * dice_loss(output.logits, batch.label).item())


# --- mutual consistency ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fba_net", "mc_net"])
@pytest.mark.parametrize("dimensions", ["3d", "2d"])
def test_unlabelled_samples_teach_every_decoder(name, dimensions):
    method = tiny(name, dimensions=dimensions, decoders=3, width=4)
    networks = built(method)
    batch = draw_batch(method, shapes())
    batch = dataclasses.replace(batch, label=torch.full_like(batch.label, 255))
    losses = method.losses(networks, batch, 0.9)
    for term in set(losses) & {"consistency", "contrast"}:
        networks.zero_grad()
        losses[term].backward(retain_graph=True)
        network = networks["network"]
        assert has_gradient(network.encoder)
        for decoder in network.decoders if dimensions == "3d" else [network.decoder, *network.branches]:
            assert has_gradient(decoder)
    assert "consistency" in losses
    assert ("contrast" in losses) == (name == "fba_net")


@pytest.mark.parametrize("name", VOLUMES)
def test_nothing_is_unlabelled_and_nothing_unsupervised_is_left(name):
    method = tiny(name)
    batch = draw_batch(method, shapes())
    batch = dataclasses.replace(batch, label=torch.where(batch.inside, 0, 255))
    losses = method.losses(built(method), batch, 0.9)
    assert all("supervised" in term or "correction" in term for term in losses)


def test_consistency_grows_over_the_first_part_of_the_run():
    method = tiny("mc_net", decoders=2, ramp=0.4)
    batch = draw_batch(method, shapes())
    one, other = (torch.randn(len(batch.image), 3, *batch.label.shape[1:]) for _ in range(2))
    output = NetworkOutput(one, {}, (NetworkOutput(other),))
    at = [method.mutual_losses(output, batch, t)["consistency"].item() for t in (0.0, 0.2, 0.4, 0.9)]
    assert at[0] / at[3] == pytest.approx(0.0067379, rel=1e-3)
    assert at[1] / at[3] == pytest.approx(0.286505, rel=1e-3)
    assert at[2] == at[3]


def test_padding_takes_no_part_in_the_consistency():
    method = tiny("mc_net", decoders=2)
    batch = draw_batch(method, shapes())
    batch.inside[:, 3:] = False
    batch.label[:, 3:] = 255
    one, other = (torch.randn(len(batch.image), 3, *batch.label.shape[1:]) for _ in range(2))
    values = []
    for shift in (0.0, 5.0):
        moved = other.clone()
        moved[:, 0, 3:] += shift
        values.append(method.mutual_losses(NetworkOutput(one, {}, (NetworkOutput(moved),)), batch, 1.0)["consistency"])
    assert values[0] == values[1]


def test_the_first_decoder_may_predict_alone():
    assert tiny("mc_net", predict_with="first", decoders=3).shares() == (1.0, 0.0, 0.0)
    assert tiny("mc_net", decoders=2).shares() == (0.5, 0.5)
    assert methods.get("fba_net").preset("paper", small=False).shares() == (1.0, 0.0)


# --- contrast module of FBA-Net ----------------------------------------------------------------------------------


def boxes(size=(16, 32, 32), classes=2):
    """Logits of four samples that differ in where a box lies."""
    logits = torch.zeros(4, classes, *size)
    for sample in range(4):
        start = 4 + 5 * sample
        logits[sample, 1, ..., start : start + 8, start : start + 8] = 4.0
    return logits


@pytest.mark.parametrize(("form", "least", "most"), [("pooled", 0.05, 10.0), ("released", 0.0, 0.01)])
def test_representations_tell_different_maps_apart_unless_released(form, least, most):
    """std/mean of z over the batch at initialisation, averaged over its features."""
    torch.manual_seed(0)
    module = ContrastModule(2, 3, form, (16, 32, 32))
    z = module(boxes())[0]
    alive = z.mean(dim=0) > 1e-6
    spread = (z.std(dim=0)[alive] / z.mean(dim=0)[alive]).mean().item()
    assert least < spread < most


def test_foreground_and_background_of_two_classes_and_a_map_for_each_of_more():
    torch.manual_seed(0)
    two, three = ContrastModule(2, 3, "pooled", ()), ContrastModule(3, 2, "pooled", ())
    assert two.reduce.out_channels == 1
    assert [tuple(z.shape) for z in two(boxes())] == [(4, 128)] * 2
    assert three.reduce.out_channels == 3
    assert [tuple(z.shape) for z in three(boxes((32, 32), 3))] == [(4, 128)] * 3
    assert two.project[0].in_features == 1960
    assert three.project[0].in_features == 256


def test_the_released_form_sees_the_whole_map():
    module = ContrastModule(2, 3, "released", (80, 112, 112))
    assert module.project[0].in_features == 40 * 56 * 56


def test_a_class_that_is_predicted_nowhere_is_left_out():
    torch.manual_seed(0)
    module = ContrastModule(3, 2, "pooled", ())
    module.norm.bias.data[1] = -30.0
    module.norm.weight.data[1] = 0.0
    assert len(module(boxes((32, 32), 3))) == 2
    module.norm.bias.data[:2] = -30.0
    module.norm.weight.data[:2] = 0.0
    assert len(module(boxes((32, 32), 3))) == 1


@pytest.mark.parametrize("settings", [{"contrast_loss": "info_nce"}, {"contrast_form": "released"}, {"alpha": 1.0}])
@pytest.mark.parametrize("dimensions", ["3d", "2d"])
def test_every_switch_of_the_contrast_changes_it(settings, dimensions):
    values = []
    for change in ({}, settings):
        method = tiny("fba_net", dimensions=dimensions, **change)
        networks = built(method)
        loss = method.losses(networks, draw_batch(method, shapes()), 0.5)["contrast"]
        loss.backward()
        assert torch.isfinite(loss)
        assert has_gradient(networks["contrast"])
        values.append(loss.item())
    assert values[0] != values[1]


def test_maps_are_halved_and_pooled_about_zero():
    """Of 10 × 14 × 14 in a patch; background is 1 − foreground; representations are not negative."""
    torch.manual_seed(0)
    module = ContrastModule(2, 3, "pooled", ()).eval()
    assert module.reduce.stride == (2, 2, 2)
    maps = module.pool(torch.sigmoid(module.norm(module.reduce(boxes()))))[:, 0]
    assert maps.shape == (4, 10, 14, 14)
    foreground, background = module(boxes())
    expected = (
        torch.relu(module.project[0](maps.flatten(1) - 0.5)),
        torch.relu(module.project[1](0.5 - maps.flatten(1))),
    )
    assert torch.allclose(foreground, expected[0], atol=1e-5)
    assert torch.allclose(background, expected[1], atol=1e-5)


def test_the_released_form_takes_odd_patches():
    z = ContrastModule(2, 3, "released", (9, 32, 32))(boxes((9, 32, 32)))
    assert [tuple(each.shape) for each in z] == [(4, 128)] * 2


@pytest.mark.parametrize(
    "settings", [{}, {"contrast_loss": "info_nce", "temperature": 0.5}, {"contrast_form": "released"}, {"alpha": 1.0}]
)
def test_the_contrast_is_that_of_every_decoder_by_its_own_module(settings):
    method = tiny("fba_net", contrast=2.0, **settings)
    networks, batch = built(method).eval(), draw_batch(method, shapes())
    decoders = networks["network"](batch.image).of_all_decoders
    assert not torch.equal(decoders[0].logits, decoders[1].logits)
    expected = sum(
        kinds_contrast(
            module(decoder.logits),
            binary=decoder.logits.shape[1] == 2,
            loss=method.contrast_loss,
            alpha=method.alpha,
            temperature=method.temperature,
            released="contrast_form" in settings,
        )
        for module, decoder in zip(networks["contrast"], decoders, strict=True)
    )
    found = method.losses(networks, batch, 0.5)["contrast"]
    assert found.item() == pytest.approx(2 * expected.item(), rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):  # half the digits in the networks, all of them in the contrast
        assert method.losses(networks, batch, 0.5)["contrast"].dtype == torch.float32
    assert method.rates()["contrast"] == method.rates()["network"]


def test_contrast_of_every_decoder_adds_up():
    method = tiny("fba_net", contrast=2.0)
    networks, batch = built(method).eval(), draw_batch(method, shapes())
    once = tiny("fba_net", contrast=1.0).losses(networks, batch, 0.5)["contrast"].item()
    assert method.losses(networks, batch, 0.5)["contrast"].item() == pytest.approx(2 * once, rel=1e-5)


# --- two streams -------------------------------------------------------------------------------------------------


def streams(batch, classes=3, width=2, seed=0):
    """Outputs of two networks as leaves."""
    generator = torch.Generator().manual_seed(seed)
    shape = batch.label.shape
    return [
        NetworkOutput(
            torch.randn(shape[0], classes, *shape[1:], generator=generator).requires_grad_(),
            {"full": torch.randn(shape[0], width, *shape[1:], generator=generator).requires_grad_()},
        )
        for _ in range(2)
    ]


def test_the_winner_is_who_fits_the_labels_better_on_the_average():
    batch = draw_batch(tiny("mcf"), shapes())
    known = torch.where(batch.said, batch.label, 0)
    right = 20.0 * torch.nn.functional.one_hot(known, 3).movedim(-1, 1).float()
    wrong = right.roll(1, dims=1)
    winner = Winner().train()
    assert winner.update([wrong, right], batch) == 1
    assert winner.losses.tolist() == pytest.approx([1.0, 0.0], abs=1e-3)
    # One step on which the other is better is not enough: .9·1 + .1·0 against .9·0 + .1·1.
    assert winner.update([right, wrong], batch) == 1
    assert winner.losses.tolist() == pytest.approx([0.9, 0.1], abs=1e-3)
    for _ in range(8):
        last = winner.update([right, wrong], batch)
    assert last == 0
    empty = dataclasses.replace(batch, label=torch.full_like(batch.label, 255))
    before = winner.losses.clone()
    assert winner.update([wrong, right], empty) == 0
    assert torch.equal(winner.losses, before)
    winner.eval()
    winner.update([wrong, right], batch)
    assert torch.equal(winner.losses, before)
    winner.forget()
    assert torch.isinf(winner.losses).all()


@pytest.mark.parametrize("name", ["mcf", "dual_stream"])
@pytest.mark.parametrize("winner", [0, 1])
def test_only_the_loser_learns_from_the_winner(name, winner):
    method = tiny(name, confidence=0.0) if name == "dual_stream" else tiny(name)
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    losses = method.mutual_losses(built(method), outputs, winner, batch, 0.9)
    losses["loser from winner"].backward(retain_graph=True)
    assert outputs[winner].logits.grad is None
    taught = outputs[1 - winner].logits.grad.abs().sum(dim=1)
    assert taught[batch.unsaid].any()
    assert not taught[~batch.unsaid].any()


@pytest.mark.parametrize("winner", [0, 1])
def test_the_loser_of_mcf_is_taught_the_sharpened_winner_by_hand(winner):
    method = tiny("mcf", correction=0.0)
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    loss = method.mutual_losses(built(method), outputs, winner, batch, 1.0)["loser from winner"]
    taught = outputs[1 - winner].logits.softmax(dim=1).movedim(1, -1)[batch.unsaid]
    target = (outputs[winner].logits / 0.1).softmax(dim=1).movedim(1, -1)[batch.unsaid]
    assert loss.item() == pytest.approx(0.1 * (taught - target).square().mean().item(), rel=1e-4)


def test_labelled_voxels_on_which_networks_differ_are_corrected():
    """Mean squared distance to the truth, over classes and the voxels where they differ; weight .5."""
    method = tiny("mcf", consistency=0.0)
    batch = draw_batch(method, shapes())
    batch = dataclasses.replace(batch, label=torch.where(batch.said, 0, 255))
    outputs = streams(batch)
    differ = batch.said & (outputs[0].logits.argmax(1) != outputs[1].logits.argmax(1))
    losses = method.mutual_losses(built(method), outputs, 0, batch, 0.9)
    for name, output in zip(STREAMS, outputs, strict=True):
        p = output.logits.softmax(dim=1).movedim(1, -1)[differ]
        expected = 0.5 * ((p - torch.tensor([1.0, 0.0, 0.0])) ** 2).mean()
        assert losses[f"{name} correction"].item() == pytest.approx(expected.item(), rel=1e-5)
    agreeing = method.mutual_losses(built(method), [outputs[0]] * 2, 0, batch, 0.9)
    assert agreeing["vnet correction"].item() == 0


def test_disagreement_teaches_both_and_swapping_leaves_it_unchanged():
    method = tiny("dual_stream", confidence=0.3, final_confidence=0.3)
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    losses = method.mutual_losses(built(method), outputs, 0, batch, 0.9)
    swapped = method.mutual_losses(built(method), outputs[::-1], 1, batch, 0.9)
    assert losses["disagreement"].item() == pytest.approx(swapped["disagreement"].item(), rel=1e-6)
    assert losses["disagreement"].item() > 0
    losses["disagreement"].backward()
    assert all(output.logits.grad.any() for output in outputs)


def test_the_confidence_moves_over_the_run():
    method = tiny("dual_stream", confidence=0.0, final_confidence=0.99)
    batch = draw_batch(method, shapes())
    at = [
        method.mutual_losses(built(method), streams(batch), 0, batch, t)["disagreement"].item() for t in (0.0, 0.5, 1.0)
    ]
    assert at[0] > 0
    assert at[2] == 0


def not_looked_for(name):
    """A batch of which nobody looked for class 2: where its label would be 0, it is 0 or 2."""
    volume = shapes()
    labels = np.where(volume.labels == 2, 0, volume.labels)
    return draw_batch(tiny(name), dataclasses.replace(volume, labels=labels, unsought=frozenset({2})))


def test_the_winner_need_not_call_a_class_background_that_nobody_looked_for():
    batch = not_looked_for("mcf")
    first = streams(batch)[0].logits.detach()
    changed = torch.where(batch.either[:, None], first[:, [2, 1, 0]], first)
    winner = Winner().train()
    winner.update([first, changed], batch)
    assert winner.losses[1].item() == pytest.approx(winner.losses[0].item(), rel=1e-5)
    # Whoever calls it by the name of a class that was looked for is wrong.
    wrong = first.clone()
    wrong[:, 1][batch.either] += 10.0
    winner.forget()
    assert winner.update([wrong, first], batch) == 1
    assert winner.losses[0] > winner.losses[1] + 0.05


def test_the_teacher_of_the_dual_stream_says_nothing_that_the_annotator_ruled_out():
    method = tiny("dual_stream", unreliable=0.0, unsupervised_ramp=False)
    batch = not_looked_for("dual_stream")
    outputs = streams(batch)
    pseudo = outputs[0].logits.detach().clone()
    pseudo[:, 1][batch.either] = -torch.inf
    label = torch.where(batch.unsaid, pseudo.argmax(dim=1), 255)
    expected = cross_entropy(outputs[1].logits, label) + dice_loss(outputs[1].logits, label)
    loss = method.mutual_losses(built(method), outputs, 0, batch, 0.5)["loser from winner"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


DIRECTIONS = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])


@pytest.mark.parametrize("winner", [0, 1])
def test_dual_stream_by_hand(winner):
    """D-eq 2 to 7 at t = .5 T, where the ramp is e^{−5/4} and λ_c = λ·e⁻¹."""
    ramp = math.exp(-1.25)
    method = tiny("dual_stream", unreliable=0.3, confidence=0.4, final_confidence=0.5, contrast=0.2)
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    best, other = (outputs[i].logits.detach().softmax(dim=1) for i in (winner, 1 - winner))
    entropies = -(best * best.log()).sum(dim=1)
    ordered = entropies[batch.unsaid].sort().values
    sure = batch.unsaid & (entropies <= ordered[math.ceil(0.7 * len(ordered)) - 1])
    pseudo = best.argmax(dim=1)
    # Features of sure voxels point in the direction of their class, those of the others in that of the next one.
    features = DIRECTIONS[torch.where(sure, pseudo, (pseudo + 1) % 3)].movedim(-1, 1)
    outputs[1 - winner] = NetworkOutput(outputs[1 - winner].logits, {"full": features})
    networks = built(method)
    losses = method.mutual_losses(networks, outputs, winner, batch, 0.5)

    label = torch.where(sure, pseudo, 255)
    taught = cross_entropy(outputs[1 - winner].logits, label) + dice_loss(outputs[1 - winner].logits, label)
    assert losses["loser from winner"].item() == pytest.approx(ramp * taught.item(), rel=1e-5)

    differ = batch.unsaid & (pseudo != other.argmax(dim=1))
    differ &= (best.amax(dim=1) > 0.45) & (other.amax(dim=1) > 0.45)
    apart = (best - other).abs().sum(dim=1)[differ].mean()
    assert losses["disagreement"].item() == pytest.approx(ramp * apart.item(), rel=1e-5)

    # .2·e⁻¹·(3 + ln(1 + 2e⁻³)): squared distances are 3 to two prototypes, that of its class one of them, and 0 to one.
    assert losses["prototypes"].item() == pytest.approx(0.2 * math.exp(-1) * 3.0949, rel=1e-3)
    memory = networks["prototypes"]
    assert torch.allclose(memory.centres[1 - winner], DIRECTIONS, atol=1e-4)
    assert not memory.known[winner].any()


def test_prototypes_alone_push_each_other_apart():
    """Without unsure voxels L_c is the repulsion; equal features are at 1."""
    method = tiny("dual_stream", unreliable=0.0, contrast=1.0)
    batch = draw_batch(method, shapes())
    outputs = [NetworkOutput(o.logits, {"full": torch.ones_like(o.features["full"])}) for o in streams(batch)]
    loss = method.mutual_losses(built(method), outputs, 0, batch, 1.0)["prototypes"]
    assert loss.item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("winner", [0, 1])
def test_prototypes_draw_the_features_of_the_loser(winner):
    method = tiny("dual_stream")
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    losses = method.mutual_losses(built(method), outputs, winner, batch, 0.9)
    losses["prototypes"].backward()
    assert outputs[winner].features["full"].grad is None
    assert outputs[1 - winner].features["full"].grad.any()
    assert all(output.logits.grad is None for output in outputs)


def test_weight_of_prototypes_grows():
    """λ_c(0) = .00183156, λ_c(T) = .1."""
    assert prototype_weight(0.1, 0.0) == pytest.approx(0.00183156, rel=1e-5)
    assert prototype_weight(0.1, 1.0) == pytest.approx(0.1)
    values = [prototype_weight(0.1, t / 10) for t in range(11)]
    assert values == sorted(values)


def test_the_unsupervised_weight_is_constant_in_the_paper():
    batch = draw_batch(tiny("dual_stream"), shapes())
    for ramp, ratio in ((True, 0.0067379), (False, 1.0)):
        method = tiny("dual_stream", unsupervised_ramp=ramp)
        first, last = (
            method.mutual_losses(built(method), streams(batch), 0, batch, t)["loser from winner"].item()
            for t in (0.0, 1.0)
        )
        assert first / last == pytest.approx(ratio, rel=1e-3)
    assert not methods.get("dual_stream").preset("paper", small=False).unsupervised_ramp


def test_unreliable_voxels_teach_nothing():
    method = tiny("dual_stream", unreliable=0.5)
    batch = draw_batch(method, shapes())
    outputs = streams(batch)
    losses = method.mutual_losses(built(method), outputs, 0, batch, 0.9)
    losses["loser from winner"].backward()
    taught = (outputs[1].logits.grad.abs().sum(dim=1) > 0) & batch.unsaid
    assert taught.sum().item() == pytest.approx(0.5 * batch.unsaid.sum().item(), rel=0.01)


def test_prototypes_are_remembered_by_network_for_classes_that_are_missing():
    memory = PrototypeMemory(3, 2).train()
    centres, known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([True, True, False])
    first, first_known = memory.completed(0, centres, known)
    assert torch.equal(first, centres)
    assert first_known.tolist() == [True, True, False]
    later, later_known = memory.completed(0, torch.zeros(3, 2), torch.tensor([False, False, True]))
    assert torch.equal(later[:2], centres[:2])
    assert later_known.all()
    # .9·(1, 0) + .1·(0, 1)
    memory.completed(0, torch.tensor([[0.0, 1.0]] * 3), torch.tensor([True, False, False]))
    assert torch.allclose(memory.centres[0, 0], torch.tensor([0.9, 0.1]))
    assert not memory.known[1].any()
    memory.eval()
    before = memory.centres.clone()
    memory.completed(1, torch.ones(3, 2), torch.tensor([True, True, True]))
    assert torch.equal(memory.centres, before)
    assert not memory.known[1].any()
    memory.forget()
    assert not memory.known.any()
    assert not memory.centres.any()


@pytest.mark.parametrize("name", ["mcf", "dual_stream"])
def test_both_networks_predict_alike_and_learn_by_the_schedule(name):
    method = tiny(name, schedule="step", learning_rate=0.5)
    assert method.shares() == (0.5, 0.5)
    assert {key: (rate.base, rate.schedule) for key, rate in method.rates().items()} == dict.fromkeys(
        STREAMS, (0.5, "step")
    )


@pytest.mark.parametrize("name", ["mcf", "dual_stream"])
def test_supervision_is_cross_entropy_and_dice_of_each_network(name):
    method = tiny(name)
    batch = draw_batch(method, shapes())
    networks = built(method).eval()
    losses = method.losses(networks, batch, 0.5)
    for key in STREAMS:
        logits = networks[key](batch.image).logits
        expected = cross_entropy(logits, batch.label) + dice_loss(logits, batch.label)
        assert losses[f"{key} supervised"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", ["mcf", "dual_stream"])
def test_a_warm_start_lets_the_networks_compete_anew(name):
    method = tiny(name)
    networks = built(method)
    method.losses(networks, draw_batch(method, shapes()), 0.5)
    assert torch.isfinite(networks["winner"].losses).all()
    method.after_warm_start(networks)
    assert torch.isinf(networks["winner"].losses).all()
    if name == "dual_stream":
        assert not networks["prototypes"].known.any()
