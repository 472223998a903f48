"""Learning from registration: labels carried over and registered positives (methods.md 6)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.point_map import PointMap
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.losses.in_batch_contrast import in_batch_contrast
from napari_semiseg.losses.map_bank import MapBank
from napari_semiseg.losses.supervised import cross_entropy, dice_loss
from napari_semiseg.methods.preparation import Registrations
from napari_semiseg.methods.registered import registration_supervision
from napari_semiseg.methods.registered_contrast import RegisteredContrast
from napari_semiseg.registration.carry import merged
from napari_semiseg.steps import completed


def other(volume, name, **changes):
    return dataclasses.replace(volume, id=name, labels=np.full_like(volume.labels, 255), **changes)


def prepared(method, volumes):
    working = to_working(volumes, WorkingGrid.of(volumes, 512), IntensityRule.of(volumes))
    return completed(method.targets(working, volumes, lambda: False))


# -- supervision by registered labels (RSL) -------------------------------------------------------------------------


def labelled_by_registration(batch, registered, trust=1.0):
    extras = {"registered": registered, "trust": torch.full(registered.shape, trust)}
    return dataclasses.replace(batch, extras=extras)


def test_registered_labels_teach_by_cross_entropy_and_dice_where_nothing_is_labelled():
    batch = draw_batch(tiny("cross_teaching"), shapes())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], generator=torch.Generator().manual_seed(0))
    registered = torch.randint(0, 3, batch.label.shape, generator=torch.Generator().manual_seed(1))
    batch.label[0, :, 32:] = 255
    valid = torch.where(batch.unsaid, registered, 255)
    expected = cross_entropy(logits, valid) + dice_loss(logits, valid)
    assert bool((valid != 255).any())
    whole = registration_supervision(logits, labelled_by_registration(batch, registered))
    assert whole.item() == pytest.approx(expected.item(), rel=1e-5)
    assert whole.item() > 0  # with the minus of T-eq 6.7 it would be below
    half = registration_supervision(logits, labelled_by_registration(batch, registered, 0.5))
    assert half.item() == pytest.approx(0.5 * expected.item(), rel=1e-5)


def test_nothing_carried_over_teaches_nothing():
    """r = 255 everywhere → L_rs = 0, finite (methods.md 6, 6)."""
    batch = draw_batch(tiny("supervised"), shapes())
    logits = torch.randn(len(batch.image), 3, *batch.label.shape[1:], requires_grad=True)
    loss = registration_supervision(logits, labelled_by_registration(batch, torch.full_like(batch.label, 255)))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("progress", "fade", "expected"), [(0, True, 1), (0.5, True, 0.5), (0.99, True, 0.1), (0.99, False, 1)]
)
def test_the_weight_of_registered_labels_fades(progress, fade, expected):
    method = tiny("cct_r", registered_labels_fade=fade, registered_contrast=0.0)
    batch, networks = draw_batch(method, shapes()), built(method).eval()
    outputs = {name: networks[name](batch.image) for name in ("cnn", "transformer")}
    whole = sum(registration_supervision(output.logits, batch) for output in outputs.values()).item()
    assert whole > 0
    loss = method.losses(networks, batch, progress)["registered labels"]
    assert loss.item() == pytest.approx(expected * whole, rel=1e-5)


def test_labels_of_both_sides():
    first = torch.tensor([0, 1, 255, 1, 255], dtype=torch.uint8)
    second = torch.tensor([0, 2, 2, 255, 255], dtype=torch.uint8)
    assert merged([first, second], [1, 1]).tolist() == [0, 255, 2, 1, 255]
    assert merged([first, second], [1, 2]).tolist() == [0, 1, 2, 1, 255]
    assert merged([first], [1]).tolist() == first.tolist()


def test_one_volume_takes_labels_from_its_nearest_slices():
    """Planes 1 and 4 of 6 are labelled, 5 mm apart; the anatomy is the same on all."""
    volume = shapes()
    targets = prepared(tiny("cct_r"), [volume])
    (labels,), (trust,) = targets.maps["registered"], targets.maps["trust"]
    truth = torch.from_numpy(volume.labels[1])
    for plane in (0, 2, 3, 5):
        said = labels[plane] != 255
        assert said.float().mean() > 0.9
        assert (labels[plane] == truth)[said].float().mean() > 0.97
        assert torch.allclose(trust[plane], torch.tensor(math.exp(-1)))
    assert (labels[[1, 4]] == 255).all()
    assert targets.correspondences.planes == 6
    # `paper` knows volumes only, but with one volume there are none.
    assert torch.equal(prepared(tiny("cct_r", registered_from="volumes"), [volume]).maps["registered"][0], labels)


def test_partly_labelled_volumes_of_different_grids_teach_each_other():
    from napari_semiseg.data.volumes import TrainingVolume

    volume = shapes()
    coarse = TrainingVolume("coarse", volume.image[:, ::2, ::2].copy(), (5.0, 2.0, 2.0),
                            np.full((6, 32, 32), 255, np.uint8))  # fmt: skip
    targets = prepared(tiny("cct_r", registered_from="volumes"), [volume, coarse])
    labels = targets.maps["registered"][1]
    # What volume 1 knows on two of its planes arrives on as many, give or take one, and nothing is invented.
    planes = [p for p in range(len(labels)) if (labels[p] != 255).float().mean() > 0.5]
    assert 1 <= len(planes) <= 3
    assert set(labels.unique().tolist()) <= {0, 1, 2, 255}
    assert (targets.maps["registered"][0] == 255).all()  # the only other volume knows nothing
    assert {(0, 1), (1, 0)} <= set(targets.correspondences.volumes)
    both = prepared(tiny("cct_r"), [volume, coarse]).maps["registered"]
    assert (both[0][[0, 2, 3, 5]] != 255).float().mean() > 0.9


def test_a_zero_of_a_volume_where_not_every_class_was_looked_for_is_not_carried():
    volume = dataclasses.replace(shapes(), unsought=frozenset({2}))
    labels = prepared(tiny("cct_r"), [volume]).maps["registered"][0]
    assert set(labels.unique().tolist()) <= {1, 2, 255}


# -- contrast within the batch (SCL) --------------------------------------------------------------------------------


def unit(index, width=600):
    return torch.nn.functional.one_hot(torch.tensor(index), width).float()


def test_all_negatives_count_one_by_one():
    """500 orthogonal negatives, a_p = a_i: ln(1 + 500·e⁻¹⁰) = .0224462 (methods.md 6, 4)."""
    features = torch.cat([unit([0]), unit(list(range(1, 501)))])
    label = torch.tensor([0] + [1] * 500)
    seen = []

    def embed(chosen):
        seen.append(len(chosen))
        return features[chosen]

    # Class 1's own loss is that of 500 anchors far from their mean; only class 0 is looked at.
    def positives(chosen, mean):
        return features[chosen]

    loss = in_batch_contrast(embed, label, torch.ones(501, dtype=torch.bool), positives=positives)
    other_class = math.log1p(math.exp(-10))
    assert 2 * loss.item() - other_class == pytest.approx(0.0224462, abs=1e-6)


def test_quotas_of_negatives_are_equal():
    """60 negatives per class of three: at most 30 of each other class."""
    label = torch.tensor([0] * 10 + [1] * 100 + [2] * 4)
    features = unit(label.tolist(), 3)
    loss = in_batch_contrast(lambda i: features[i], label, torch.ones(114, dtype=torch.bool), negatives=60)
    # Class 0 sees 30 + 4, class 1 10 + 4, class 2 10 + 30.
    expected = np.mean([math.log1p(n * math.exp(-10)) for n in (34, 14, 40)])
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_one_class_alone_teaches_nothing_and_positives_carry_no_gradient():
    features = torch.nn.functional.normalize(torch.randn(20, 8), dim=1).requires_grad_()
    alone = in_batch_contrast(
        lambda i: features[i], torch.zeros(20, dtype=torch.long), torch.ones(20, dtype=torch.bool)
    )
    alone.backward()
    assert alone.item() == 0
    features.grad = None
    label = torch.tensor([0] * 19 + [1])
    chosen = torch.zeros(20, dtype=torch.bool)
    chosen[[0, 19]] = True
    in_batch_contrast(lambda i: features[i], label, chosen).backward()
    assert features.grad[[0, 19]].any(dim=1).all()
    assert not features.grad[1:19].any()
    features.grad = None
    label = torch.tensor([0, 0, *[1] * 18])
    in_batch_contrast(lambda i: features[i], label, torch.ones(20, dtype=torch.bool), anchors=1).backward()
    # Members of a mean that are no anchors themselves learn nothing.
    assert features.grad[:2].any(dim=1).sum() == 1


# -- registered positives (REPS) ------------------------------------------------------------------------------------


def tilted(crop=16):
    """A feature map that tells where in the plane a pixel lies, of a crop whose affine map is not the identity."""
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    return torch.stack([rows, columns, torch.ones_like(rows)])[None]


def test_positives_are_found_through_the_crop_that_was_remembered():
    """A map of 4 × 4 for a crop of 16; pixel (0, 0) of the map covers crop pixels −8 … −4 from the centre."""
    bank = MapBank(3, torch.float32)
    bank.reserve(2, (4, 4))
    affine = torch.tensor([[[1.0, 0, 20], [0, 1, 30]]])
    bank.push(tilted(), torch.tensor([1]), torch.tensor([5]), affine)
    pixels = torch.tensor([[20 - 6.0, 30 - 2.0], [20.0, 30.0], [29.0, 30.0]])
    features, found = bank.look_up(1, torch.tensor([5, 5, 5]), pixels, (16, 16))
    assert found.tolist() == [True, True, False]  # the last one lies beyond the crop
    assert features[:2, :2].tolist() == [[0.0, 1.0], [1.5, 1.5]]
    # A crop that was stretched: 2 plane pixels per crop pixel along rows, ½ along columns.
    bank.push(tilted(), torch.tensor([2]), torch.tensor([5]), torch.tensor([[[2.0, 0, 20], [0, 0.5, 30]]]))
    assert bank.look_up(2, torch.tensor([5]), torch.tensor([[8.0, 29.0]]), (16, 16))[0][0, :2].tolist() == [0.0, 1.0]
    assert not bank.look_up(1, torch.tensor([4]), pixels[:1], (16, 16))[1].any()
    assert not bank.look_up(0, torch.tensor([5]), pixels[:1], (16, 16))[1].any()


@pytest.mark.parametrize("turn", [[[1.0, 0], [0, -1]], [[0.0, -1], [1, 0]], [[-1.0, 0], [0, 1]]])
def test_a_flipped_or_turned_crop_gives_the_same_feature(turn):
    """methods.md 6, 5: flip the map and its affine; the feature of a point stays."""
    matrix = torch.tensor(turn)
    bank = MapBank(3, torch.float32)
    bank.reserve(2, (4, 4))
    plain = tilted()
    offsets = torch.stack(torch.meshgrid(torch.arange(4) - 1.5, torch.arange(4) - 1.5, indexing="ij"), dim=-1)
    places = (offsets @ matrix.T + 1.5).round().long()
    moved = plain[:, :, places[..., 0], places[..., 1]]
    centre = torch.tensor([[20.0], [30.0]])
    for volume, (maps, linear) in enumerate(((plain, torch.eye(2)), (moved, matrix))):
        bank.push(maps, torch.tensor([volume]), torch.tensor([0]), torch.cat([linear, centre], dim=1)[None])
    pixels = torch.tensor([[15.0, 27.0], [22.0, 36.0], [20.0, 30.0]])
    one, other_ = (bank.look_up(v, torch.zeros(3, dtype=torch.long), pixels, (16, 16))[0] for v in (0, 1))
    assert torch.allclose(one, other_, atol=1e-5)
    assert not torch.allclose(plain, moved)


def test_the_bank_replaces_slices_and_forgets_the_oldest():
    bank = MapBank(1, torch.float32)
    bank.reserve(3, (1, 1))

    def push(plane, value):
        bank.push(torch.full((1, 1, 1, 1), value), torch.tensor([0]), torch.tensor([plane]), torch.eye(2, 3)[None])

    for plane in (1, 2, 3):
        push(plane, float(plane))
    push(1, 7.0)  # known: a new map, the same place in the queue
    assert sorted(bank.places[:, 1].tolist()) == [1, 2, 3]
    push(4, 4.0)
    assert sorted(bank.places[:, 1].tolist()) == [2, 3, 4]
    push(5, 5.0)
    assert sorted(bank.places[:, 1].tolist()) == [3, 4, 5]
    copy = MapBank(1, torch.float32)
    copy.load_state_dict(bank.state_dict())
    assert torch.equal(copy.maps, bank.maps)
    assert copy.capacity == 3
    bank.clear()
    assert not bank.look_up(0, torch.tensor([5]), torch.zeros(1, 2), (1, 1))[1].any()


def contrast_part(share=0.5):
    torch.manual_seed(0)
    return RegisteredContrast({"cnn": {"1/4": 8}}, scale=4, share=share)


def one_sample(links):
    batch = draw_batch(tiny("supervised", labelled_batch=1, unlabelled_batch=0), shapes())
    zero = torch.zeros(1, dtype=torch.long)
    return dataclasses.replace(batch, volume=zero, plane=zero, correspondences=links)


def test_positives_mix_the_class_and_the_mean_of_the_volumes_that_are_found():
    links = Correspondences(
        [(1, 64, 64)] * 4, [(5.0, 1.0, 1.0)] * 4, {(0, v): PointMap.translation([0, 0, 0]) for v in (1, 2, 3)}
    )
    batch = one_sample(links)
    part = contrast_part()
    part.bank.reserve(3, (16, 16))
    for volume in (1, 2):  # the third one is not in the bank
        maps = torch.zeros(1, 128, 16, 16)
        maps[:, volume] = 1
        part.bank.push(maps, torch.tensor([volume]), torch.tensor([0]), batch.affine)
    mean = unit(0, 128)
    found = part.positives(torch.tensor([5, 17]), mean, batch, (16, 16))
    expected = torch.nn.functional.normalize(0.5 * mean + 0.25 * unit(1, 128) + 0.25 * unit(2, 128), dim=0)
    assert torch.allclose(found, expected.expand(2, -1), atol=1e-3)


def test_without_registered_positives_the_mean_of_the_class_remains_exactly():
    """J = ∅ reproduces the a^l result (methods.md 6, 3)."""
    method = tiny("cct_r")
    parts, batch = built(method).eval(), draw_batch(method, shapes())
    outputs = {name: parts[name](batch.image) for name in ("cnn", "transformer")}
    guides = {name: output.logits for name, output in outputs.items()}
    nowhere = dataclasses.replace(batch, correspondences=Correspondences([(6, 64, 64)], [(5.0, 1.0, 1.0)]))
    values = []
    for case in (nowhere, dataclasses.replace(batch, correspondences=None)):
        torch.manual_seed(3)
        values.append(parts["registered"](outputs, guides, case).item())
    assert values[0] == values[1]
    torch.manual_seed(3)
    with_neighbours = parts["registered"](outputs, guides, batch).item()
    assert with_neighbours != values[0]


def test_anchors_look_where_their_anatomy_is():
    """The anchor's pixel goes through its crop, to mm, through φ, to the other slice: hand-computed."""
    links = Correspondences([(2, 64, 64)], [(5.0, 1.0, 1.0)], {}, {(0, 0, 1): PointMap.translation([8.0, -4.0])})
    batch = one_sample(links)
    part = contrast_part(share=1.0)
    part.bank.reserve(1, (16, 16))
    maps = torch.zeros(1, 128, 16, 16)
    maps[0, :16] = torch.eye(16)[:, :, None]  # channel = row of the map
    maps[0, 16:32] = torch.eye(16)[:, None, :]  # channel − 16 = column
    part.bank.push(maps, torch.tensor([0]), torch.tensor([1]), batch.affine)
    # Row 5, column 9 of 16 × 16 → 8 mm are 2 rows, −4 mm one column.
    (found,) = part.positives(torch.tensor([5 * 16 + 9]), unit(0, 128), batch, (16, 16))
    assert found.nonzero()[:, 0].tolist() == [7, 16 + 8]


def test_networks_choose_the_labels_of_each_others_features(monkeypatch):
    """Anchors and classes of the CNN's features come from the Transformer's logits, and the other way round."""
    method = tiny("cct_r")
    parts, batch = built(method).eval(), draw_batch(method, shapes())
    given = {}
    monkeypatch.setattr(
        parts["registered"], "forward", lambda outputs, guides, batch: given.update(guides) or batch.image.sum()
    )
    method.losses(parts, batch, 0.5)
    for name, other_name in (("cnn", "transformer"), ("transformer", "cnn")):
        assert torch.allclose(given[name], parts[other_name](batch.image).logits)


def test_elastic_deformation_is_off_only_where_crops_are_remembered():
    assert tiny("cct_r").strength().elastic == 0
    assert tiny("cct_r", registered_positives=0.0).strength().elastic > 0
    assert isinstance(tiny("cct_r").strength(), Augmentation)


# -- the method -----------------------------------------------------------------------------------------------------


def test_the_mean_of_the_logits_predicts():
    method = tiny("cct_r")
    networks = built(method).eval()
    image = torch.randn(1, 1, 64, 64)
    cnn, transformer, mean = method.predictors(networks, image)
    assert torch.allclose(mean, (cnn + transformer) / 2)
    assert list(method.shares()) == [0, 0, 1]
    assert list(tiny("cct_r", predict_with="cnn").shares()) == [1, 0, 0]


def test_presets_differ_where_the_print_does():
    paper, product = (type(tiny("cct_r")).preset(name, small=False) for name in ("paper", "product"))
    assert (paper.direct_weight, paper.registered_labels_fade, paper.registered_from) == (0, False, "volumes")
    assert (product.direct_weight, product.registered_labels_fade, product.registered_from) == (0.5, True, "both")
    assert paper.registered_labels == product.registered_labels == 1
    assert paper.registered_contrast == 1e-3


@pytest.mark.parametrize(
    "settings",
    [{"registration_spacing": 3.0}, {"registered_from": "nowhere"}, {"bank_stride": 3}, {"registered_positives": 1.5},
     {"registered_scale": 2}, {"direct_weight": -1}, {"registration_candidates": 0}],
)  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        tiny("cct_r", **settings)


def test_nothing_is_registered_when_nothing_asks_for_it():
    method = tiny("cct_r", registered_labels=0.0, registered_positives=0.0)
    assert prepared(method, [shapes()]).maps == {}


def settings(**changes):
    return tiny("cct_r", **changes).model_dump(exclude_defaults=True)


def plan(steps=2, **changes):
    return Plan(method="cct_r", steps=steps, device="cpu", precision="float32", threads=1, settings=settings(**changes))


def test_a_run_tells_what_was_registered_and_how_well():
    volume = shapes()
    volumes = [volume, other(volume, "other")]
    run = list(train(volumes, (0, 1, 2), plan(steps=4), keeper=MemoryKeeper()))
    kinds = [type(event).__name__ for event in run]
    assert kinds.index("Started") < kinds.index("Preparing") < kinds.index("Registered") < kinds.index("StepDone")
    assert isinstance(run[-1], events.Finished)
    (found,) = [event for event in run if isinstance(event, events.Registered)]
    assert {(pair["to"], pair["source"]) for pair in found.pairs} == {("other", "shapes"), ("shapes", "shapes")}
    between = next(pair for pair in found.pairs if pair["to"] == "other")
    assert between["used"]
    assert between["quality"]["direct_nmi"] > 0.2
    assert events.from_json(found.to_json()) == found
    steps = [event.losses for event in run if isinstance(event, events.StepDone)]
    assert max(losses["registered labels"] for losses in steps) > 0
    assert max(losses["registered contrast"] for losses in steps) > 0


def test_a_stop_while_registering_ends_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path))
    control = LocalControl()
    calls = []

    def stopping(*args, stopped, **options):
        control.stop()
        calls.append(1)
        yield from estimate(*args, stopped=stopped, **options)

    from napari_semiseg.registration import pairs
    from napari_semiseg.registration.pairs import estimate

    monkeypatch.setattr(pairs, "estimate", stopping)
    volume = shapes()
    run = list(train([volume, other(volume, "other")], (0, 1, 2), plan(), control=control))
    assert len(calls) == 1
    assert isinstance(run[-1], events.Finished)
    assert run[-1].reason == "stopped"
    assert not any(isinstance(event, events.StepDone) for event in run)


def test_a_preparation_without_an_engine_tells_of_its_pairs():
    volume = shapes()
    working = to_working([volume], WorkingGrid.of([volume], 512), IntensityRule.of([volume]))
    told = list(tiny("cct_r").targets(working, [volume], lambda: False))
    assert isinstance(told[-1], Registrations)
    assert {(pair.to_plane, pair.source_plane) for pair in told[-1].pairs} >= {(2, 1), (3, 4)}
