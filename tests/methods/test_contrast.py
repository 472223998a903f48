"""Contrast as a part of methods: patch-wise in MCSC (methods.md 4), certainty-guided for any networks (5, 12)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pydantic import ValidationError
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg import methods, networks
from napari_semiseg.losses import certainty_contrast as cc
from napari_semiseg.methods import mcsc
from napari_semiseg.methods.contrast import SMALL, CertaintyGuided, Projectors, channels_of, shrink

PAIR = ("cnn", "transformer")


def patch_term(method, built_networks, batch, progress=0.5):
    torch.manual_seed(1)
    return method.losses(built_networks, batch, progress)["contrast"]


def has_gradient(module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_patches_teach_both_networks_and_no_label_carries_a_gradient():
    """The heads, from which pseudo-labels come, get nothing of L_cl; everything before them does."""
    method = tiny("mcsc")
    parts = built(method)
    patch_term(method, parts, draw_batch(method, shapes())).backward()
    assert has_gradient(parts["projectors"])
    for name in PAIR:
        assert has_gradient(parts[name])
        assert not has_gradient(parts[name].head)


@pytest.mark.parametrize(("progress", "compared"), [(0.0, False), (0.07, False), (0.08, True), (0.9, True)])
def test_labelled_pixels_are_compared_first(progress, compared):
    """Unlabelled images take part after 7.5 % of the run; in eval mode no image sees another one."""
    method = tiny("mcsc")
    batch = draw_batch(method, shapes())
    batch = dataclasses.replace(batch, image=batch.image.clone().requires_grad_())
    patch_term(method, built(method).eval(), batch, progress).backward()
    assert batch.image.grad[: batch.labelled].any()
    assert bool(batch.image.grad[batch.labelled :].any()) == compared


def test_pseudo_labels_are_exchanged_and_truth_comes_first(monkeypatch):
    seen = []

    def capture(features, label, group, **options):
        seen.append((features, label, group, options))
        return features.sum()

    monkeypatch.setattr(mcsc, "patch_contrast", capture)
    method = tiny("mcsc", temperature=0.3, balanced=False, background_anchors=False)
    parts, batch = built(method).eval(), draw_batch(method, shapes())
    batch.inside[:, :, :8] = False
    batch.label[:, :, :8] = 255
    patch_term(method, parts, batch)
    (features, label, group, options) = seen[0]
    predicted = [parts[name](batch.image).logits.argmax(dim=1) for name in reversed(PAIR)]
    expected = torch.cat([torch.where(batch.inside, torch.where(batch.said, batch.label, p), 255) for p in predicted])
    expected = shrink(expected, (16, 16))
    assert torch.equal(label, expected[expected != 255])
    assert len(features) == len(label) == len(group) == 2 * 4 * 16 * 14
    assert options == {"temperature": 0.3, "balanced": False, "background_anchors": False}
    # Tiles of 28·½ pixels in a map of 16: four per map.
    assert group.unique().tolist() == [0, 1, 2, 3]
    own = torch.cat(
        [parts["projectors"](4, n, parts[n](batch.image).features["1/4"], torch.arange(1024)) for n in PAIR]
    )
    assert torch.allclose(features, own[(expected != 255).flatten()], atol=1e-5)


def test_weight_of_the_contrast_counts_once():
    method = tiny("mcsc")
    parts, batch = built(method).eval(), draw_batch(method, shapes())
    once = patch_term(method, parts, batch).item()
    outputs = {name: parts[name](batch.image) for name in PAIR}
    torch.manual_seed(1)
    assert once == pytest.approx(1e-3 * method._contrast(parts["projectors"], outputs, batch, 0.5).item(), rel=1e-5)
    assert patch_term(tiny("mcsc", contrast=3e-3), parts, batch).item() == pytest.approx(3 * once, rel=1e-5)
    assert "contrast" not in tiny("mcsc", contrast=0.0).losses(parts, batch, 0.5)


@pytest.mark.parametrize(("name", "place", "function"), [("mcsc", mcsc, "patch_contrast"), ("mcscv2", cc, "contrast")])
def test_scales_add_up(name, place, function, monkeypatch):
    """Every scale looks at features of its own size, odd sizes included."""
    compared, original = [], getattr(place, function)

    def compare(*arguments, **options):
        compared.append(original(*arguments, **options))
        return compared[-1]

    monkeypatch.setattr(place, function, compare)
    batch = draw_batch(tiny(name), shapes())
    batch = dataclasses.replace(batch, image=batch.image[..., :50, :37], label=batch.label[..., :50, :37],
                                inside=batch.inside[..., :50, :37])  # fmt: skip
    for scales in ((1,), (8,), (1, 4, 8)):
        compared.clear()
        method = tiny(name, scales=scales)
        loss = patch_term(method, built(method), batch)
        loss.backward()
        assert len(compared) == len(scales) * (1 if name == "mcsc" else len(PAIR))
        assert loss.item() == pytest.approx(method.contrast * sum(value.item() for value in compared), rel=1e-5)
        assert loss.item() > 0


@pytest.mark.parametrize("name", ["mcsc", "mcscv2"])
@pytest.mark.parametrize("settings", [{"scales": (2,)}, {"scales": (4, 4)}, {"scales": ()}, {"temperature": 0.0}])
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ValidationError):
        methods.get(name).preset("product", small=True, **settings)


@pytest.mark.parametrize("settings", [{"sampling": "easy"}, {"uncertain": 1.5}, {"bank": 0}])
def test_impossible_settings_of_certainty_are_refused(settings):
    with pytest.raises(ValidationError):
        methods.get("mcscv2").preset("product", small=True, **settings)


def test_projectors_share_the_last_layer_and_return_unit_vectors():
    torch.manual_seed(0)
    projectors = Projectors({"a": {"full": 4, "1/8": 6}, "b": {"full": 5, "1/8": 7}}, (1, 8))
    count = (4 + 5 + 6 + 7 + 4) * 256 + 2 * (256 + 1) * 128
    assert sum(p.numel() for p in projectors.parameters()) == count
    features = torch.randn(2, 5, 3, 3)
    chosen = projectors(1, "b", features, torch.tensor([0, 10]))
    assert chosen.shape == (2, 128)
    assert torch.allclose(chosen.norm(dim=1), torch.ones(2), atol=1e-5)
    everything = projectors(1, "b", features, torch.arange(18))
    assert torch.allclose(everything[[0, 10]], chosen, atol=1e-6)
    # Place 10 is image 1, row 0, column 1.
    alone = projectors(1, "b", features[1:, :, :1, 1:2], torch.tensor([0]))
    assert torch.allclose(alone, chosen[1:], atol=1e-6)


def test_mcscv2_is_the_shared_part_guided_by_the_other_network():
    method = tiny("mcscv2")
    parts, batch = built(method).eval(), draw_batch(method, shapes())
    state = {name: value.clone() for name, value in parts.state_dict().items()}
    loss = patch_term(method, parts, batch)
    values = []
    for first, second in (reversed(PAIR), PAIR):
        parts.load_state_dict(state)
        outputs = {name: parts[name](batch.image) for name in PAIR}
        guides = {"cnn": outputs[first].logits, "transformer": outputs[second].logits}
        torch.manual_seed(1)
        values.append(method.contrast * parts["contrast"](outputs, guides, batch, 0.5).item())
    assert values[0] == pytest.approx(loss.item(), rel=1e-5)
    assert values[1] != pytest.approx(loss.item(), rel=1e-2)


def plain_pair(count=2):
    torch.manual_seed(0)
    return {name: networks.build("unet16", 1, 3) for name in ("one", "two")[:count]}


def guided(pair, **options):
    small = {**SMALL, "confidence": 0.1, "bank": 512, "anchors": 64, "negatives": 32}
    return CertaintyGuided(channels_of(pair), 3, **{**small, **options})


@pytest.mark.parametrize("options", [{}, {"sampling": "hard"}, {"scales": (1, 4, 8), "bank_dtype": torch.float16}])
def test_two_networks_of_one_kind_guide_each_other(options):
    """As in CPS: features of both learn, logits that guide do not."""
    pair = plain_pair()
    part = guided(pair, **options)
    batch = draw_batch(tiny("cross_teaching"), shapes())
    outputs = {name: network(batch.image) for name, network in pair.items()}
    guides = {"one": outputs["two"].logits, "two": outputs["one"].logits}
    loss = part(outputs, guides, batch, 0.5)
    loss.backward()
    assert loss.item() > 0
    assert has_gradient(part)
    for network in pair.values():
        assert has_gradient(network)
        assert not has_gradient(network.head)


def test_one_network_is_guided_by_its_teacher():
    """As in mean teacher: no gradient reaches the teacher, and what it is certain of matters."""
    pair = plain_pair()
    student, teacher = pair["one"], pair["two"].eval()
    part = guided({"student": student})
    batch = draw_batch(tiny("cross_teaching"), shapes())
    output, guide = student(batch.image), teacher(batch.image).logits
    part({"student": output}, {"student": guide}, batch, 0.5).backward()
    assert has_gradient(student)
    assert not has_gradient(teacher)
    part.clear()
    # A guide that is sure of one class everywhere: nothing is anchor of the others but what the annotator said.
    sure = torch.tensor([9.0, 0.0, 0.0])[:, None, None].expand(guide.shape)
    strict = guided({"student": student}, confidence=0.9)
    strict({"student": output}, {"student": sure}, batch, 0.5)
    assert strict.banks["4"].filled[0] > 0  # labelled 1 and 2, taken for 0
    assert (strict.banks["4"].ids[0, : int(strict.banks["4"].filled[0])] > 0).all()


def test_memory_travels_with_the_state_and_is_forgotten_on_request():
    pair = plain_pair()
    part = guided(pair)
    batch = draw_batch(tiny("cross_teaching"), shapes())
    outputs = {name: network(batch.image) for name, network in pair.items()}
    guides = {name: output.logits for name, output in outputs.items()}
    part(outputs, guides, batch, 0.5)
    copy = guided(pair)
    copy.load_state_dict(part.state_dict())
    values = []
    for each in (part, copy):
        torch.manual_seed(0)
        values.append(each(outputs, guides, batch, 0.5).item())
    assert values[0] == values[1]
    part.clear()
    assert not part.banks["4"].filled.any()
    method = tiny("mcscv2")
    parts = built(method)
    parts["contrast"].banks["4"].filled.fill_(3)
    method.after_warm_start(parts)
    assert not parts["contrast"].banks["4"].filled.any()


def test_hard_sampling_is_a_setting_of_mcscv2():
    batch = draw_batch(tiny("mcscv2"), shapes())
    values = {}
    for sampling in ("certain", "hard"):
        method = tiny("mcscv2", sampling=sampling)
        loss = patch_term(method, built(method), batch)
        loss.backward()
        values[sampling] = loss.item()
    assert values["hard"] > 0
    assert values["hard"] != values["certain"]
    assert tiny("mcscv2").sampling == "certain"
