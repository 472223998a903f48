"""What pre-training does beside its losses (methods.md 10)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_methods import TINY, built, draw_batch, has_gradient, shapes, tiny

from napari_semiseg import methods
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.pretraining import Pretrained
from napari_semiseg.errors import InputError
from napari_semiseg.losses import local_region_contrast
from napari_semiseg.steps import completed


def superpixels(method, volume):
    working = to_working([volume], WorkingGrid.of([volume], 512), IntensityRule.of([volume]))
    return completed(method.targets(working, [volume], lambda: False)).maps["regions"]


def stripes(planes=6):
    """Four bright bands on air."""
    image = np.zeros((planes, 64, 64), np.float32)
    for band, start in enumerate((4, 18, 32, 46)):
        image[:, start : start + 12, 8:56] = 40 + 20 * band
    return TrainingVolume("stripes", image, (5.0, 1.0, 1.0), np.full(image.shape, 255, np.uint8))


def test_superpixels_leave_out_the_air_and_never_use_its_number():
    (regions,) = superpixels(tiny("lrc"), stripes())
    assert regions.dtype == torch.int16
    assert (regions[:, :, :4] == 255).all()
    inside = regions[0, 8:12, 20:40]
    assert (inside == inside[0, 0]).all()
    assert inside[0, 0] != 255
    assert len({int(regions[0, row, 30]) for row in (10, 24, 38, 52)}) == 4


def test_more_than_255_superpixels_keep_numbers_of_their_own():
    rng = np.random.default_rng(0)
    blocks = rng.permutation(400).reshape(20, 20).repeat(10, 0).repeat(10, 1)[None].astype(np.float32) + 50
    volume = TrainingVolume("blocks", blocks, (5.0, 1.0, 1.0), np.full(blocks.shape, 255, np.uint8))
    (regions,) = superpixels(tiny("lrc", superpixel_scale=1.0, superpixel_smoothing=0.0), volume)
    numbers = regions[0, 5::10, 5::10]
    dark = numbers == 255
    assert numbers.max() > 255
    assert len(numbers[~dark].unique()) > 255
    brightness = torch.from_numpy(blocks[0, 5::10, 5::10])
    assert brightness[dark].max() < brightness[~dark].min()


def test_superpixels_of_many_slices_are_sought_on_evenly_spread_ones_only():
    (regions,) = superpixels(tiny("lrc", superpixel_planes=3), stripes(9))
    assert [p for p in range(9) if (regions[p] != 255).any()] == [0, 4, 8]


def test_a_constant_volume_teaches_no_superpixels():
    volume = TrainingVolume("flat", np.ones((6, 64, 64), np.float32), (5.0, 1.0, 1.0), np.full((6, 64, 64), 255, "u1"))
    method = tiny("lrc")
    losses = method.losses(built(method), draw_batch(method, volume), 0.5)
    assert losses["superpixels"].item() == 0


def test_the_key_encoder_gets_no_gradient_and_follows_its_model():
    method = tiny("lrc", momentum=0.9)
    networks = built(method)
    losses = method.losses(networks, draw_batch(method, shapes()), 0.5)
    sum(losses.values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in networks["follower"].parameters())
    before = networks["follower"]["projector"][0].weight.clone()
    with torch.no_grad():
        networks["projector"][0].weight.add_(1.0)
        networks["unet"].encoder[0][1].running_mean.fill_(7.0)
    method.after_step(networks, 100)
    assert torch.allclose(networks["follower"]["projector"][0].weight, before + 0.1, atol=1e-5)
    assert (networks["follower"]["unet"].encoder[0][1].running_mean == 7).all()
    method.after_step(networks, 0)
    assert torch.equal(networks["follower"]["projector"][0].weight, networks["projector"][0].weight)


def test_keys_are_made_with_running_statistics():
    """Those of the batch would tell which key belongs to which query."""
    method = tiny("lrc")
    networks = built(method)
    statistics = {k: v.clone() for k, v in networks["follower"].state_dict().items() if "running" in k}
    assert statistics
    method.losses(networks, draw_batch(method, stripes()), 0.5)
    assert all(torch.equal(networks["follower"].state_dict()[key], value) for key, value in statistics.items())


def test_keys_wait_in_the_queue_with_the_slices_they_come_from():
    method = tiny("lrc")
    networks = built(method)
    batch = draw_batch(method, shapes())
    method.losses(networks, batch, 0.5)
    keys, volume, plane = networks["queue"].content()
    assert torch.equal(volume, batch.volume)
    assert torch.equal(plane, batch.plane)
    assert torch.allclose(keys.norm(dim=1), torch.ones(6), atol=1e-5)
    method.after_warm_start(networks)
    assert len(networks["queue"].content()[0]) == 0


def test_keys_of_near_slices_are_no_negatives(monkeypatch):
    """Against the batch while the queue is empty, then against the queue."""
    seen = []

    def compare(query, positive, negatives, excluded, temperature):
        seen.append((negatives, excluded))
        return query.sum()

    monkeypatch.setattr(local_region_contrast, "image_contrast", compare)
    method = tiny("lrc")
    networks = built(method)
    first, second = (draw_batch(method, shapes(planes=12), seed=seed) for seed in (0, 1))
    method.losses(networks, first, 0.5)
    remembered = networks["queue"].content()[0]
    method.losses(networks, second, 0.5)
    for (negatives, excluded), batch in zip(seen, (first, second), strict=True):
        near = (batch.plane[:, None] - first.plane[None]).abs() <= 3
        assert near.any()
        assert not near.all()
        assert torch.equal(excluded, near)
        assert torch.equal(negatives, remembered)


@pytest.fixture
def mirrored(monkeypatch):
    """A batch whose second view is its mirror image, brighter."""
    batch = draw_batch(tiny("lrc"), stripes())
    view = batch.image.flip(-1) + 1, batch.extras["regions"].flip(-1)
    monkeypatch.setattr(type(tiny("lrc")), "_second_view", lambda self, batch: view)
    return batch, *view


def test_superpixels_of_both_views_are_compared_as_the_settings_say(mirrored, monkeypatch):
    seen = []

    def compare(features, regions, **options):
        seen.append((features, regions, options))
        return features[0].sum()

    monkeypatch.setattr(local_region_contrast, "local_loss", compare)
    method = tiny("lrc", samples=7, include_self=True, region_temperature=0.3)
    networks = built(method).eval()
    batch, image, turned = mirrored
    method.losses(networks, batch, 0.5)
    ((features, regions, options),) = seen
    assert options == {"samples": 7, "temperature": 0.3, "include_self": True}
    assert torch.equal(regions[0], batch.extras["regions"])
    assert torch.equal(regions[1], turned)
    for found, shown in zip(features, (batch.image, image), strict=True):
        assert torch.allclose(found, networks["unet"](shown).logits, atol=1e-4)


def test_keys_are_those_of_the_second_view(mirrored):
    method = tiny("lrc")
    networks = built(method)
    batch, image, _ = mirrored
    method.losses(networks, batch, 0.5)
    follower = networks["follower"].eval()
    expected = follower["projector"](follower["unet"].encode(image)[-1].mean(dim=(2, 3)))
    assert torch.allclose(networks["queue"].content()[0], torch.nn.functional.normalize(expected, dim=1), atol=1e-5)


def test_both_views_show_the_same_regions():
    """The mean brightness of a band is that of the same band in the second view."""
    method = tiny("lrc", contrast_change=0.0)
    batch = draw_batch(method, stripes())
    torch.manual_seed(0)
    image, regions = method._second_view(batch)
    first, checked = batch.extras["regions"], 0
    for sample in range(len(image)):
        for number in set(first[sample].unique().tolist()) & set(regions[sample].unique().tolist()) - {255}:
            there, here = regions[sample] == number, first[sample] == number
            if there.sum() > 200 and here.sum() > 200:
                assert image[sample, 0][there].median().item() == pytest.approx(
                    batch.image[sample, 0][here].median().item(), abs=0.05
                )
                checked += 1
    assert checked > 10
    assert (regions != first).any()


def test_training_lowers_both_terms():
    method = tiny("lrc")
    networks = built(method)
    optimiser = torch.optim.AdamW([p for key in method.rates() for p in networks[key].parameters()], lr=2e-3)
    seen = []
    for step in range(40):
        losses = method.losses(networks, draw_batch(method, stripes(12), seed=step), 0.5)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        method.after_step(networks, step)
        seen.append(losses["superpixels"].item())
    assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:3])


def test_it_refuses_to_segment():
    method = tiny("lrc")
    with pytest.raises(InputError, match="cannot segment"):
        method.predictors(built(method), torch.zeros(1, 1, 64, 64))


def test_a_resnet_is_pre_trained_and_supervised_starts_from_it():
    """Encoder and decoder fit; the head, which knows classes, does not."""
    method = tiny("lrc", network="resnet_unet")
    networks = built(method)
    sum(method.losses(networks, draw_batch(method, shapes()), 0.5).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in networks["unet"].parameters())
    assert all(p.grad is None for p in networks["follower"].parameters())
    mine = built(tiny("supervised", network="resnet_unet"))["unet"].state_dict()
    fitting = {key for key, value in networks["unet"].state_dict().items() if mine[key].shape == value.shape}
    assert set(mine) - fitting == {"head.weight", "head.bias"}


def test_as_printed_a_resnet_learns_slices_beside_a_unet_that_learns_superpixels():
    method = methods.get("lrc").preset("paper", small=True, **TINY["lrc"])
    networks, batch = built(method), draw_batch(method, stripes())
    pair = networks["unet"]
    losses = method.losses(networks, batch, 0.5)
    losses["slices"].backward(retain_graph=True)
    assert has_gradient(pair.whole.encoder)
    assert not has_gradient(pair.regions)
    losses["superpixels"].backward()
    assert has_gradient(pair.regions.encoder)
    assert has_gradient(pair.regions.head)
    assert not has_gradient(pair.whole.decoder)  # fresh when labels come
    with torch.no_grad():
        pair.whole.encoder.stem[0].weight.add_(1.0)
    method.after_step(networks, 0)
    assert torch.equal(networks["follower"]["unet"].encoder.stem[0].weight, pair.whole.encoder.stem[0].weight)


def test_the_printed_pair_starts_pre_trained_but_for_the_head_that_knows_classes():
    rule, grid = IntensityRule(None), WorkingGrid(1.0)
    pre_trained, fresh = (
        Model.build(method, (0, 1, 2), {}, grid, rule, small=True)
        for method in (
            methods.get("lrc").preset("paper", small=True),
            methods.get("supervised").preset("product", small=True, network="lrc_pair"),
        )
    )
    mine = fresh.networks["unet"]
    before = mine.head.weight.clone()
    assert Pretrained(pre_trained, "round 1").give_to(fresh) == "unet starts pre-trained from round 1"
    theirs = pre_trained.networks["unet"]
    assert torch.equal(mine.regions.head.weight, theirs.regions.head.weight)
    assert torch.equal(mine.whole.encoder.stem[0].weight, theirs.whole.encoder.stem[0].weight)
    assert torch.equal(mine.head.weight, before)
