from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.sampling import PlaneSampler, neighbours
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working


def volume(planes=10, shape=(40, 48), labelled=(2, 5), corrected=(), spacing=(8.0, 1.0, 1.0), name="a"):
    """A volume whose intensity tells the plane, with a square on the labelled planes."""
    image = np.broadcast_to(np.arange(planes, dtype=np.float32)[:, None, None], (planes, *shape)).copy()
    labels = np.full(image.shape, 255, np.uint8)
    for plane in labelled:
        labels[plane] = 0
        labels[plane, 10:20, 12:24] = 1
    return TrainingVolume(name, image, spacing, labels, frozenset(corrected))


def sampler(*volumes, labelled=2, unlabelled=2, seed=0, **options):
    grid = WorkingGrid.of(volumes, longest_side=512)
    working = to_working(volumes, grid, IntensityRule((0.0, 9.0)))
    options = {"crop": 32, "strength": Augmentation(turns=False, rotation=0), **options}
    return PlaneSampler(working, labelled=labelled, unlabelled=unlabelled, seed=seed, **options)


def test_streams_are_kept_apart():
    source = sampler(volume())
    for _ in range(20):
        batch = source.batch()
        assert batch.labelled == 2
        assert set(batch.plane[:2].tolist()) <= {2, 5}
        assert not set(batch.plane[2:].tolist()) & {2, 5}
        assert batch.said[:2].all()
        assert not batch.said[2:].any()
        assert torch.equal(batch.position, batch.plane * 8.0)


def test_unlabelled_planes_are_drawn_from_all_over_the_volume():
    source = sampler(volume(), unlabelled=8)
    assert sorted(source.batch().plane[2:].tolist()) == [0, 1, 3, 4, 6, 7, 8, 9]


def test_one_labelled_slice_is_drawn_repeatedly():
    assert sampler(volume(labelled=[4]), labelled=3).batch().plane[:3].tolist() == [4, 4, 4]


def test_without_unlabelled_planes_the_stream_is_off():
    batch = sampler(volume(planes=2, labelled=[0, 1])).batch()
    assert len(batch.image) == batch.labelled == 2


def test_scribbled_planes_are_in_both_streams():
    scribbled = volume(labelled=[])
    scribbled.labels[3, 5:8, 5:30] = 1
    scribbled.labels[3, 30:33, 5:30] = 0
    source = sampler(scribbled)
    assert source.labelled_planes == [(0, 3)]
    assert (0, 3) in source.unlabelled_planes


def test_padding_is_neither_said_nor_inside():
    batch = sampler(volume(shape=(20, 24)), crop=32).batch()
    outside = ~batch.inside
    assert outside.any()
    assert (batch.label[outside] == 255).all()
    assert not batch.unsaid[outside].any()


def test_corrected_planes_are_a_quarter_and_weigh_double():
    source = sampler(volume(planes=40, labelled=range(20), corrected=[7]), labelled=4, unlabelled=0)
    batches = [source.batch() for _ in range(200)]
    planes = torch.cat([batch.plane for batch in batches])
    weights = torch.cat([batch.weight for batch in batches])
    assert 0.2 < (planes == 7).float().mean() < 0.35
    assert torch.equal(weights, 1.0 + (planes == 7))


def test_same_seed_same_batches_and_state_restores():
    options = {"strength": Augmentation(turns=True, rotation=20, elastic=2, contrast=0.2, noise=0.1)}
    one, two = sampler(volume(), seed=5, **options), sampler(volume(), seed=5, **options)
    for _ in range(3):
        assert torch.equal(one.batch().image, two.batch().image)
    state = one.state()
    expected = one.batch().image
    one.batch()
    one.restore(state)
    assert torch.equal(one.batch().image, expected)
    assert not torch.equal(sampler(volume(), seed=6, **options).batch().image, expected)


def test_crops_look_at_the_structures_more_often_than_not():
    source = sampler(volume(shape=(200, 200), labelled=[1]), labelled=40, unlabelled=0)
    hits = (source.batch().label == 1).any(dim=(1, 2)).float().mean()
    assert hits > 0.6


def test_neighbouring_planes_are_channels_and_ends_repeat():
    assert neighbours(0, 5, 1) == [0, 0, 1]
    assert neighbours(4, 5, 2) == [2, 3, 4, 4, 4]
    batch = sampler(volume(labelled=[9]), labelled=1, unlabelled=0, context=1).batch()
    values = batch.image[0].mean(dim=(1, 2))
    assert values[0] < values[1]
    assert values[1] == pytest.approx(values[2].item())


def test_volumes_of_other_spacing_share_one_grid():
    fine = volume(shape=(80, 96), spacing=(8.0, 0.5, 0.5), name="fine")
    grid = WorkingGrid.of([volume(), fine, volume(name="c")], longest_side=512)
    assert grid.spacing == 1.0
    working = to_working([fine], grid, IntensityRule())[0]
    assert tuple(working.image.shape) == (10, 40, 48)
    assert tuple(working.labels.shape) == (10, 40, 48)
    assert set(working.labels.unique().tolist()) == {0, 1, 255}


def test_long_planes_are_worked_on_more_coarsely():
    assert WorkingGrid.of([volume(shape=(512, 300))], longest_side=256).spacing == 2.0


def test_hounsfield_volumes_get_a_window_around_the_structures():
    rng = np.random.default_rng(0)
    image = rng.normal(-1000, 5, (4, 32, 32)).astype(np.float32)
    image[:, 8:24, 8:24] = rng.normal(60, 10, (4, 16, 16))
    labels = np.full(image.shape, 255, np.uint8)
    labels[1] = 0
    labels[1, 8:24, 8:24] = 1
    rule = IntensityRule.of([TrainingVolume("ct", image, (5, 1, 1), labels)])
    low, high = rule.window
    assert -120 < low < -40
    assert 120 < high < 220
    assert IntensityRule.of([volume()]).window is None


def test_a_constant_image_becomes_zeros():
    assert not IntensityRule().apply(np.full((2, 4, 4), 7.0)).any()
