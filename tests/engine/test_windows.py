"""Windows that slide over a volume: values, coverage, order, memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.engine.windows import Slab, count_windows, slide, window_starts
from napari_semiseg.networks import build


def whole(predict, image, window, overlap):
    """All slabs joined, and how many windows there were."""
    steps = list(slide(predict, image, window, overlap))
    slabs = [step for step in steps if isinstance(step, Slab)]
    assert [slab.first for slab in slabs] == [
        sum(len(s.probabilities[0]) for s in slabs[:i]) for i in range(len(slabs))
    ]
    count = len(slabs[0].probabilities)
    return [torch.cat([slab.probabilities[i] for slab in slabs]) for i in range(count)], steps.count(None)


def brightness(patch):
    """Two networks, of two and of three classes, that say what the image shows."""
    return [torch.cat([patch, 1 - patch], dim=1), torch.cat([patch] * 3, dim=1)]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 90), window=st.integers(1, 40), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_and_overlap_as_asked(size, window, overlap):
    starts = window_starts(size, window, overlap)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    seen = {place for start in starts for place in range(start, start + min(window, size))}
    assert seen == set(range(size))
    steps = [b - a for a, b in pairwise(starts)]
    assert all(step <= max(1, window * (1 - overlap)) + 1 for step in steps)


def test_windows_of_a_hand_computed_axis():
    assert window_starts(10, 4, 0.0) == [0, 3, 6]
    assert window_starts(8, 4, 0.0) == [0, 4]
    assert window_starts(8, 4, 0.5) == [0, 2, 4]
    assert window_starts(3, 4, 0.5) == [0]


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)),
    window=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    overlap=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_every_voxel_comes_back_where_it_was(size, window, overlap):
    """A network that returns what it sees, seen through overlapping windows, returns the volume."""
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    found, windows = whole(brightness, image, window, overlap)
    assert windows == count_windows(size, window, overlap)
    for values, classes in zip(found, (2, 3), strict=True):
        assert values.shape == (size[0], classes, *size[1:])
        assert torch.allclose(values[:, 0], image, atol=1e-6)


def test_a_constant_network_gives_a_constant_volume():
    found, _ = whole(lambda patch: [torch.full((1, 4, *patch.shape[2:]), 0.25)], torch.rand(11, 9, 13), (4, 5, 6), 0.4)
    assert torch.equal(found[0], torch.full((11, 4, 9, 13), 0.25))


def test_overlapping_windows_are_averaged():
    """Windows that say 0, 1 and 2 on planes 0…3, 2…5 and 4…7."""
    said = iter([0.0, 1.0, 2.0])
    found, _ = whole(lambda patch: [torch.full_like(patch, next(said))], torch.rand(8, 2, 2), (4, 2, 2), 0.5)
    assert found[0][:, 0, 0, 0].tolist() == [0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]


def test_a_window_over_the_whole_volume_is_a_full_forward():
    torch.manual_seed(0)
    network = build("vnet16", 1, 3, width=2).eval()
    image = torch.rand(16, 32, 32)
    with torch.inference_mode():
        full = network(image[None, None]).logits.softmax(dim=1)
        found, windows = whole(lambda patch: [network(patch).logits.softmax(dim=1)], image, (16, 32, 32), 0.5)
    assert windows == 1
    assert torch.equal(found[0], full[0].transpose(0, 1))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_monai_computes_the_same(overlap):
    sliding_window_inference = pytest.importorskip("monai.inferers").sliding_window_inference
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 3, padding=1), torch.nn.Softmax(dim=1)).eval()
    image = torch.rand(16, 24, 32)
    with torch.inference_mode():
        found, _ = whole(lambda patch: [network(patch)], image, (8, 8, 8), overlap)
        theirs = sliding_window_inference(image[None, None], (8, 8, 8), 1, network, overlap=overlap, mode="constant")
    assert torch.allclose(found[0], theirs[0].transpose(0, 1), atol=1e-6)


def test_planes_are_handed_out_as_soon_as_no_window_sees_them():
    steps = list(slide(brightness, torch.rand(8, 4, 8), (4, 4, 4), 0.5))
    kinds = ["slab" if isinstance(step, Slab) else "window" for step in steps]
    assert kinds == [*["window"] * 3, "slab"] * 3
    assert [len(step.probabilities[0]) for step in steps if isinstance(step, Slab)] == [2, 2, 4]
