"""Patch-wise contrast (methods.md 4, tests 1 to 6 and the rules of its edge cases)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_semiseg.losses.patch_contrast import TILES, patch_contrast, tile_groups

UNSAID = 255


def pixels(n=60, classes=4, width=8, groups=3, seed=0, unsaid=0.1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, width, generator=generator, dtype=torch.float64)
    label = torch.randint(0, classes, (n,), generator=generator)
    label[torch.rand(n, generator=generator) < unsaid] = UNSAID
    return features, label, torch.randint(0, groups, (n,), generator=generator)


def printed(features, label, group, temperature=0.1, *, balanced=True, background_anchors=True):
    """The loss as methods.md prints it, sums and all, by autograd."""
    unit = functional.normalize(features, dim=1)
    per_group = []
    for m in group.unique():
        member = (group == m) & (label != UNSAID)
        a, y = unit[member], label[member]
        similarity = a @ a.T / temperature
        losses = []
        for i in range(len(y)):
            others = torch.arange(len(y)) != i
            positives = others & (y == y[i])
            if len(y.unique()) < 2 or not positives.any() or (y[i] == 0 and not background_anchors):
                continue
            denominator = 0.0
            for j in y.unique():
                of_j = others & (y == j)
                if of_j.any():
                    sum_ = similarity[i, of_j].exp().sum()
                    denominator = denominator + (sum_ / of_j.sum() if balanced else sum_)
            losses.append(-similarity[i, positives].mean() + denominator.log())
        if losses:
            per_group.append(torch.stack(losses).mean())
    return torch.stack(per_group).mean()


def test_three_pixels_by_hand():
    """e₁, e₁, e₂ with labels 0, 0, 1 and τ = 1: two anchors of ln(1+e⁻¹), the third has no positive."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = patch_contrast(features, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.long), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    assert loss.item() == pytest.approx(0.313262, abs=1e-6)


@pytest.mark.parametrize("counts", [(2, 2), (3, 40), (25, 2)])
def test_two_orthogonal_perfect_classes(counts):
    """4.5399e-5 at τ = .1, however many pixels each class has."""
    label = torch.repeat_interleave(torch.tensor([0, 1]), torch.tensor(counts))
    loss = patch_contrast(torch.eye(4).double()[label], label, torch.zeros_like(label))
    assert loss.item() == pytest.approx(4.5399e-5, abs=1e-9)


OPTIONS = [
    {},
    {"balanced": False},
    {"background_anchors": False},
    {"balanced": False, "background_anchors": False, "temperature": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_those_of_the_printed_form(options, chunk, seed):
    """In blocks of any size: one anchor at a time, blocks that do not divide a class, everything at once."""
    features, label, group = pixels(seed=seed)
    mine, plain = features.clone().requires_grad_(), features.clone().requires_grad_()
    loss, expected = patch_contrast(mine, label, group, chunk=chunk, **options), printed(plain, label, group, **options)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    (3 * loss).backward()
    (3 * expected).backward()
    assert torch.allclose(mine.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_gradient_agrees_with_differences():
    features, label, group = pixels(n=12, width=3, groups=2, classes=3)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: patch_contrast(f, label, group, temperature=0.7, chunk=9), (features,))


@pytest.mark.parametrize("times", [2, 5])
def test_repeating_a_class_leaves_anchors_of_the_others_unchanged(times):
    """GLCL's form has anchors of class 1 alone, so the copies of class 0 can show in its denominator only."""
    features, label, _ = pixels(classes=2, unsaid=0)
    zero = label == 0
    more = torch.cat([features, *[features[zero]] * (times - 1)])
    labels = torch.cat([label, *[label[zero]] * (times - 1)])

    def loss(f, y, **options):
        return patch_contrast(f, y, torch.zeros_like(y), background_anchors=False, **options).item()

    assert loss(more, labels) == pytest.approx(loss(features, label), rel=1e-12)
    assert loss(more, labels, balanced=False) > loss(features, label, balanced=False) * 1.001


def test_length_of_features_does_not_matter():
    features, label, group = pixels()
    lengths = torch.rand(len(label), 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 9 + 0.1
    loss = patch_contrast(features * lengths, label, group)
    assert loss.item() == pytest.approx(patch_contrast(features, label, group).item(), rel=1e-10)


def test_class_names_and_the_order_of_pixels_do_not_matter():
    features, label, group = pixels()
    expected = patch_contrast(features, label, group).item()
    names = torch.full((256,), UNSAID)
    names[:4] = torch.tensor([2, 0, 3, 1])
    shuffled = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    loss = patch_contrast(features[shuffled], names[label][shuffled], group[shuffled])
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_what_is_not_said_counts_nothing():
    features, label, group = pixels(unsaid=0.3)
    features.requires_grad_()
    loss = patch_contrast(features, label, group)
    loss.backward()
    assert (features.grad[label == UNSAID] == 0).all()
    said = label != UNSAID
    assert loss.item() == pytest.approx(patch_contrast(features[said], label[said], group[said]).item(), rel=1e-12)


def test_the_only_pixel_of_a_class_is_a_negative():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]]).double().requires_grad_()
    patch_contrast(features, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.long)).backward()
    assert features.grad[2].abs().sum() > 0


def test_groups_are_weighed_alike_and_one_class_makes_none():
    """A usable group of three pixels, one of a single class and one of singletons: only the first counts."""
    features = torch.eye(2)[[0, 0, 1, 0, 0, 0, 0, 1]]
    label = torch.tensor([0, 0, 1, 0, 0, 0, 0, 1])
    group = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    first = math.log(1 + math.exp(-1))
    assert patch_contrast(features, label, group, temperature=1.0).item() == pytest.approx(first, abs=1e-6)
    # Another group, of four pixels whose two anchors per class are opposite: its mean counts as much as the first's.
    opposite = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    loss = patch_contrast(
        torch.cat([features, opposite]),
        torch.cat([label, torch.tensor([0, 0, 1, 1])]),
        torch.cat([group, torch.full((4,), 3)]),
        temperature=1.0,
    )
    assert loss.item() == pytest.approx((first + math.log(1 + math.exp(-2))) / 2, abs=1e-6)


@pytest.mark.parametrize("label", [[255] * 4, [1] * 4, [0, 1, 2, 3], [0, 0, 255, 255]])
def test_nothing_usable_is_zero_and_keeps_the_graph(label):
    features = torch.randn(4, 8, requires_grad=True)
    loss = patch_contrast(features, torch.tensor(label), torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


def test_no_pixels_and_only_background_anchors():
    empty = torch.empty(0, 8, requires_grad=True)
    none = torch.empty(0, dtype=torch.long)
    assert patch_contrast(empty, none, none).item() == 0
    features, label = torch.randn(3, 8), torch.tensor([0, 0, 1])
    assert patch_contrast(features, label, torch.zeros(3, dtype=torch.long), background_anchors=False).item() == 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(0, 60),
    classes=st.integers(2, 6),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
    balanced=st.booleans(),
)
def test_never_negative_and_finite(seed, n, classes, temperature, balanced):
    features, label, group = pixels(n, classes, seed=seed)
    features = features.float().requires_grad_()
    loss = patch_contrast(features, label, group, temperature=temperature, balanced=balanced)
    loss.backward()
    assert loss.item() >= -1e-6 / temperature  # what single precision makes of zero
    assert torch.isfinite(features.grad).all()


def test_small_temperature_does_not_overflow():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = patch_contrast(features, torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.long), temperature=1e-3)
    loss.backward()
    # Anchor 1: −s_p + log(e^{s_p} + e^{1000}) = 2000; anchor 2 has both others at −1000: ln 2.
    assert loss.item() == pytest.approx((2000 + math.log(2)) / 2)
    assert torch.isfinite(features.grad).all()


@settings(max_examples=40, deadline=None)
@given(
    maps=st.integers(1, 5),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    tile=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_every_pixel_is_in_exactly_one_group_and_tiles_stay_whole(maps, height, width, tile, seed):
    torch.manual_seed(seed)
    groups = tile_groups(maps, height, width, tile)
    assert groups.shape == (maps, height, width)
    rows, columns = -(-height // tile), -(-width // tile)
    for found in groups:
        of_tiles = [
            found[r * tile : (r + 1) * tile, c * tile : (c + 1) * tile].unique().tolist()
            for r in range(rows)
            for c in range(columns)
        ]
        assert all(len(numbers) == 1 for numbers in of_tiles)
        assert sorted(numbers[0] for numbers in of_tiles) == list(range(rows * columns))


def test_maps_are_permuted_independently():
    torch.manual_seed(0)
    corners = tile_groups(200, 28, 28, 14)[:, ::14, ::14].flatten(1)
    assert len(corners.unique(dim=0)) == 24  # all orders of four tiles occur
    assert torch.bincount(corners[:, 0], minlength=4).min() > 25


@pytest.mark.parametrize(("scale", "side", "count"), [(1, 224, 144), (4, 56, 4), (8, 28, 4), (4, 32, 4)])
def test_tiles_of_19_28_and_14_pixels_cover_the_map(scale, side, count):
    assert TILES == {1: 19, 4: 28, 8: 14}
    assert len(tile_groups(1, side, side, TILES[scale]).unique()) == count


def test_float32_even_under_autocast():
    features, label, group = pixels()
    values = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(patch_contrast(features.float(), label, group))
    assert values[1].dtype == torch.float32
    assert torch.equal(values[0], values[1])
    half = patch_contrast(features.bfloat16(), label, group)
    assert half.dtype == torch.float32


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    """No matrix of similarities has more entries than the chunk, however large the group."""
    features, label, group = pixels(n=3000, groups=1)
    features = features.float().requires_grad_()
    seen = []
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args, **options: seen.append(addmm(*args, **options)) or seen[-1])
    patch_contrast(features, label, group, chunk=30_000).backward()
    assert len(seen) >= 3000**2 * 0.8 / 30_000
    assert max(matrix.numel() for matrix in seen) <= 30_000
