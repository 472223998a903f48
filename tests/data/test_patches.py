from __future__ import annotations

import dataclasses

import numpy as np
import torch

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.patches import PatchSampler
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working

PLAIN = Augmentation(turns=False, rotation=0)


def volume(planes=20, side=40, labelled=(9,), corrected=()):
    """A volume whose intensity tells the plane, normalised from 0…19, with a square on the labelled planes."""
    image = np.broadcast_to(np.arange(planes, dtype=np.float32)[:, None, None], (planes, side, side)).copy()
    labels = np.full(image.shape, 255, np.uint8)
    for plane in labelled:
        labels[plane] = 0
        labels[plane, 10:20, 12:24] = 1
    return TrainingVolume("a", image, (2.0, 1.0, 1.0), labels, frozenset(corrected))


def sampler(source, depth=8, crop=32, seed=0, strength=PLAIN, extras=None, labelled=2, unlabelled=2):
    (working,) = to_working([source], WorkingGrid.of([source], 512), IntensityRule((0.0, 19.0)))
    working = dataclasses.replace(working, extras=extras or {})
    patch = (depth, crop, crop)
    return PatchSampler(
        [working], patch=patch, labelled=labelled, unlabelled=unlabelled, strength=strength, seed=seed
    ), working


def planes_of(working, batch, sample):
    """Which plane of the volume each plane of a patch shows."""
    values = working.image[:, 0, 0]
    middle = batch.image[sample, 0, :, 16, 16]
    return [int((values - value).abs().argmin()) for value in middle]


def test_a_labelled_patch_holds_its_plane_with_its_neighbours_in_order():
    draw, working = sampler(volume())
    firsts = set()
    for _ in range(30):
        batch = draw.batch()
        assert batch.image.shape == (4, 1, 8, 32, 32)
        assert batch.label.shape == batch.inside.shape == (4, 8, 32, 32)
        for sample in range(2):
            shown = planes_of(working, batch, sample)
            assert shown == list(range(shown[0], shown[0] + 8))
            assert batch.plane[sample] == 9
            # A quarter of the depth off the centre at most.
            assert 2 <= 9 - shown[0] <= 6
            firsts.add(shown[0])
            said = batch.said[sample].flatten(1).any(dim=1)
            assert said.nonzero().flatten().tolist() == [9 - shown[0]]
            assert batch.said[sample, 9 - shown[0]].all()
    assert len(firsts) > 2


def test_labels_follow_the_image_through_every_transform():
    """An image that equals its labels does so in every plane of every patch."""
    source = volume(labelled=range(20))
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 4, (20, 5, 5)), np.ones((1, 8, 8))).astype(np.uint8)
    source = dataclasses.replace(source, labels=blocks)
    strength = Augmentation(turns=True, rotation=20, scale=0.2, elastic=2)
    draw, working = sampler(source, strength=strength, extras={"same": torch.from_numpy(blocks).float()}, unlabelled=0)
    assert working.labels.shape == (20, 40, 40)
    batch = draw.batch()
    certain = (batch.extras["same"] == batch.extras["same"].round()) & batch.said
    assert certain.float().mean() > 0.3
    assert (batch.extras["same"][certain].long() == batch.label[certain]).float().mean() > 0.98


def test_integer_maps_are_said_nowhere_beyond_the_volume():
    draw, _ = sampler(volume(planes=5, labelled=[2]), extras={"map": torch.full((5, 40, 40), 3, dtype=torch.int16)})
    batch = draw.batch()
    assert (batch.extras["map"][batch.inside] == 3).all()
    assert (batch.extras["map"][~batch.inside] == 255).all()


def test_beyond_a_shallow_volume_nothing_is_said_or_inside_and_its_border_is_repeated():
    draw, working = sampler(volume(planes=5, labelled=[0, 4]), depth=8)
    places = set()
    for _ in range(10):
        batch = draw.batch()
        for sample in range(4):
            inside = batch.inside[sample, :, 16, 16]
            first = int(inside.float().argmax())
            places.add(first)
            assert inside.tolist() == [first <= plane < first + 5 for plane in range(8)]
            assert planes_of(working, batch, sample) == [0] * first + [0, 1, 2, 3, 4] + [4] * (3 - first)
            assert batch.said[sample, first].all()
        assert (batch.label[~batch.inside] == 255).all()
        assert not batch.unsaid[~batch.inside].any()
    # Each place of the volume in the patch is drawn, the one at which it is predicted too.
    assert places == {0, 1, 2, 3}


def test_one_plane_makes_patches_too():
    batch = sampler(volume(planes=1, labelled=[0]), depth=4)[0].batch()
    assert batch.inside.flatten(2).any(dim=2).sum().item() == len(batch.image)
    assert torch.isfinite(batch.image).all()


def test_patches_stay_within_a_volume_that_is_deep_enough():
    draw, working = sampler(volume(labelled=[0, 19]))
    for _ in range(10):
        batch = draw.batch()
        assert batch.inside.all()
        for sample in range(2):
            assert int(batch.plane[sample]) in planes_of(working, batch, sample)


def test_streams_positions_and_corrections_are_those_of_planes():
    draw, _ = sampler(volume(labelled=[9, 12], corrected=[12]), unlabelled=4)
    batch = draw.batch()
    assert batch.labelled == 2
    assert set(batch.plane[:2].tolist()) <= {9, 12}
    assert not set(batch.plane[2:].tolist()) & {9, 12}
    assert torch.equal(batch.position, batch.plane * 2.0)
    assert torch.equal(batch.weight, 1.0 + (batch.plane == 12))
    assert torch.equal(batch.weights[:, 3, 5, 7], batch.weight)


def test_the_same_seed_draws_the_same_and_a_state_goes_on():
    one, other = sampler(volume(), strength=Augmentation(elastic=2, noise=0.1))[0], sampler(volume(), seed=3)[0]
    again = sampler(volume(), strength=Augmentation(elastic=2, noise=0.1))[0]
    first = one.batch()
    assert torch.equal(first.image, again.batch().image)
    assert not torch.equal(first.image, other.batch().image)
    state = one.state()
    following = one.batch()
    again.restore(state)
    assert torch.equal(following.image, again.batch().image)


def test_patches_are_laid_out_for_convolutions():
    assert sampler(volume())[0].batch().image.is_contiguous(memory_format=torch.channels_last_3d)
