"""Values and properties of LRC's losses (methods.md 10)."""

from __future__ import annotations

import math

import pytest
import torch

from napari_semiseg.losses import local_region_contrast as lrc


@pytest.mark.parametrize(
    ("include_self", "temperature", "expected"),
    [(False, 1.0, 0.551445), (True, 1.0, 1.006409), (True, 0.1, 0.693193), (False, 0.1, math.log1p(2 * math.exp(-10)))],
)
def test_values_of_two_orthonormal_regions(include_self, temperature, expected):
    """The printed form cannot go below ln 2; leaving a region out of its own negatives can."""
    regions = torch.eye(2)
    loss = lrc.region_contrast(regions, regions, temperature, include_self=include_self)
    assert loss.item() == pytest.approx(expected, abs=2e-6)


def test_the_printed_form_is_bounded_by_ln_2():
    query = torch.nn.functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    assert lrc.region_contrast(query, query, 0.01, include_self=True) >= math.log(2) - 1e-6
    assert lrc.region_contrast(torch.eye(7), torch.eye(7), 0.01) < 1e-6


def test_value_of_three_regions_by_hand():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    positive = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    e = math.exp
    costs = [
        -math.log(e(0) / (e(0) + e(-1) + e(0) + e(1) + e(-1))),
        -math.log(e(0) / (e(0) + e(0) + e(1) + e(0) + e(0))),
        -math.log(e(1) / (e(-1) + e(0) + e(0) + e(-1) + e(1))),
    ]
    assert lrc.region_contrast(query, positive, 1.0).item() == pytest.approx(sum(costs) / 3, rel=1e-6)


def test_value_of_one_orthogonal_negative():
    query = torch.tensor([[1.0, 0.0]])
    loss = lrc.image_contrast(query, query, torch.tensor([[0.0, 1.0]]), torch.zeros(1, 1).bool())
    assert loss.item() == pytest.approx(6.25e-7, abs=1e-9)


def test_excluded_negatives_do_not_count_and_queries_without_any_are_left_out():
    query = torch.eye(2)
    negatives = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    excluded = torch.tensor([[True, False], [True, True]])
    loss = lrc.image_contrast(query, query, negatives, excluded, 1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 1)), rel=1e-6)
    nothing = lrc.image_contrast(query.requires_grad_(), query.detach(), negatives, torch.ones(2, 2).bool())
    assert nothing.item() == 0
    nothing.backward()


def test_regions_of_one_image_are_their_own_positives():
    """Identity transform and all pixels: q_k = p_k, each the normalised mean of the region."""
    features = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(1))
    regions = torch.arange(36).reshape(6, 6) // 12
    numbers = lrc.shared_regions(regions, regions, 12)
    q = lrc.region_features(features, regions, numbers, None)
    mean = features[:, 2:4].mean(dim=(1, 2))
    assert torch.allclose(q[1], mean / mean.norm(), atol=1e-6)
    assert torch.equal(q, lrc.region_features(features, regions, numbers, None))


def test_sampled_features_come_from_their_own_region():
    """Every pixel's feature is its region's number as a direction: whatever is drawn, the mean is that direction."""
    regions = torch.tensor([[0, 7, 7, 255], [0, 7, 300, 300], [0, 0, 300, 255]])
    directions = torch.nn.functional.one_hot(regions % 5, 5).float().permute(2, 0, 1)
    numbers = torch.tensor([0, 7, 300])
    found = lrc.region_features(directions, regions, numbers, 50)
    assert torch.allclose(found, torch.eye(5)[[0, 2, 0]])


def test_every_pixel_of_a_region_can_be_drawn_and_means_converge():
    torch.manual_seed(0)
    features = torch.randn(3, 8, 8)
    regions = torch.arange(64).reshape(8, 8) % 2
    numbers = torch.tensor([0, 1])
    many = lrc.region_features(features, regions, numbers, 40000)
    assert torch.allclose(many, lrc.region_features(features, regions, numbers, None), atol=0.03)
    drawn = lrc._drawn(regions.flatten(), numbers, 2000)
    assert [sorted(set(row.tolist())) for row in drawn] == [list(range(0, 64, 2)), list(range(1, 64, 2))]


def test_only_regions_large_enough_in_both_views_count():
    first = torch.tensor([[0, 0, 0, 1, 1, 255, 255, 255, 2, 2, 2]])
    second = torch.tensor([[0, 0, 1, 1, 1, 255, 255, 255, 2, 2, 2]])
    assert lrc.shared_regions(first, second, 3).tolist() == [2]
    assert lrc.shared_regions(first, second, 2).tolist() == [0, 1, 2]


@pytest.mark.parametrize("samples", [None, 50])
def test_renumbering_regions_changes_nothing(samples):
    generator = torch.Generator().manual_seed(2)
    features = tuple(torch.randn(2, 8, 12, 12, generator=generator) for _ in range(2))
    regions = torch.randint(0, 4, (2, 12, 12), generator=generator)
    table = torch.tensor([300, 4, 90, 17])
    values = []
    for numbers in (regions, table[regions]):
        torch.manual_seed(0)
        values.append(lrc.local_loss(features, (numbers, numbers), samples=samples, least=5).item())
    # Drawn pixels depend on the order of the regions, so only all of them give the very same value.
    assert values[0] == pytest.approx(values[1], rel=1e-5 if samples is None else 0.2)


@pytest.mark.parametrize("number", [3, 255])
def test_fewer_than_two_regions_are_skipped(number):
    features = torch.randn(1, 4, 12, 12, requires_grad=True)
    regions = torch.full((1, 12, 12), number)
    loss = lrc.local_loss((features, features), (regions, regions))
    assert loss.item() == 0
    loss.backward()
    assert features.grad is not None
    assert not features.grad.any()


def test_images_without_regions_do_not_dilute_the_mean():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 4, 12, 12, generator=generator)
    regions = torch.stack([torch.arange(144).reshape(12, 12) // 48, torch.full((12, 12), 255)])
    both = lrc.local_loss((features, features), (regions, regions), samples=None)
    alone = lrc.local_loss((features[:1], features[:1]), (regions[:1], regions[:1]), samples=None)
    assert both.item() == pytest.approx(alone.item(), rel=1e-6)


def test_float32_even_under_autocast():
    generator = torch.Generator().manual_seed(4)
    features = tuple(torch.randn(1, 8, 12, 12, generator=generator) for _ in range(2))
    regions = (torch.arange(144).reshape(1, 12, 12) // 36,) * 2
    unit = [torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(3)]
    values = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            local = lrc.local_loss(features, regions, samples=None)
            values.append((local, lrc.image_contrast(*unit, torch.zeros(5, 5, dtype=torch.bool))))
    assert torch.equal(values[0][0], values[1][0])
    assert torch.equal(values[0][1], values[1][1])
    assert lrc.local_loss(tuple(f.bfloat16() for f in features), regions).dtype == torch.float32


def test_descent_makes_regions_agree_across_views():
    torch.manual_seed(0)
    features = [torch.randn(1, 8, 12, 12, requires_grad=True) for _ in range(2)]
    regions = (torch.arange(144).reshape(1, 12, 12) // 48,) * 2
    optimiser = torch.optim.Adam(features, lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = lrc.local_loss((features[0], features[1]), regions)
        loss.backward()
        optimiser.step()
    numbers = torch.tensor([0, 1, 2])
    q, p = (lrc.region_features(f[0].detach(), regions[0][0], numbers, None) for f in features)
    assert ((q @ p.T).argmax(dim=1) == numbers).all()
    assert (q * p).sum(dim=1).min() > 0.8


def keys(first, count):
    return torch.arange(first, first + count).float()[:, None].expand(-1, 2)


def test_the_queue_forgets_the_oldest_first():
    queue = lrc.KeyQueue(2, 5)
    for first, count in ((0, 3), (3, 1), (4, 3)):
        places = torch.arange(first, first + count)
        queue.push(keys(first, count), places, 10 * places)
    content, volume, plane = queue.content()
    assert sorted(content[:, 0].tolist()) == [2, 3, 4, 5, 6]
    assert torch.equal(volume.float(), content[:, 0])
    assert torch.equal(plane, 10 * volume)
    queue.push(keys(7, 12), torch.arange(7, 19), torch.arange(7, 19))
    assert sorted(queue.content()[0][:, 0].tolist()) == [14, 15, 16, 17, 18]
    queue.clear()
    assert len(queue.content()[0]) == 0


def test_the_queue_is_filled_before_it_forgets():
    queue = lrc.KeyQueue(2, 5)
    queue.push(keys(1, 2), torch.tensor([0, 0]), torch.tensor([0, 0]))
    assert queue.content()[0][:, 0].tolist() == [1, 2]


def test_the_queue_keeps_no_graph_and_comes_back_from_its_state():
    queue = lrc.KeyQueue(2, 5)
    queue.push(torch.ones(2, 2, requires_grad=True), torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert not queue.content()[0].requires_grad
    again = lrc.KeyQueue(2, 5)
    again.load_state_dict(queue.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(queue.content(), again.content(), strict=True))


def test_slices_nearby_in_one_volume_are_near_duplicates():
    places = (torch.tensor([0, 0]), torch.tensor([5, 0]))
    others = (torch.tensor([0, 0, 0, 1]), torch.tensor([2, 8, 9, 5]))
    assert lrc.neighbouring(places, others).tolist() == [[True, True, False, False], [True, False, False, False]]
