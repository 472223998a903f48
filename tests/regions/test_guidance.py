"""What annotated planes say about the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_semiseg.data.guide import Guide, with_guide
from napari_semiseg.regions.guidance import make_guide

UNSAID = 255


def cone(annotated: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    planes, rows, columns = np.indices((13, 32, 32))
    truth = (np.hypot(rows - 16, columns - 16) < 3 + planes / 2).astype(np.uint8)
    labels = np.full_like(truth, UNSAID)
    labels[list(annotated)] = truth[list(annotated)]
    image = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(labels), truth


def test_planes_between_get_the_structure():
    image, labels, truth = cone((0, 6, 12))
    guide = make_guide(image, labels, 2.0, 2)
    assert guide.channels.shape == (13, Guide.count(2), 32, 32)
    assert guide.channels.dtype == guide.probabilities.dtype == torch.uint8
    assert ((guide.probabilities[3, 1].numpy() > 127) == truth[3]).mean() > 0.98
    assert torch.equal(guide.channels[3, 0], guide.probabilities[3, 1])


def test_an_annotated_plane_shows_what_the_others_say_about_it():
    image, labels, _ = cone((0, 6, 12))
    before = make_guide(image, labels, 2.0, 2)
    labels[6] = 0  # the plane itself now says something else
    after = make_guide(image, labels, 2.0, 2)
    assert torch.equal(before.channels[6], after.channels[6])
    assert not torch.equal(before.probabilities[6], after.probabilities[6])
    assert not torch.equal(before.channels[5], after.channels[5])


def test_a_structure_that_no_other_plane_shows_is_not_shown_on_its_own_plane():
    image, labels, _ = cone((0, 6, 12))
    labels[[0, 12]] = 0
    assert int(make_guide(image, labels, 2.0, 2).channels[6, 0].max()) == 0
    image, labels, _ = cone((0, 6, 12))
    labels[6, :2, :2] = 1  # far from what the others show
    assert int(make_guide(image, labels, 2.0, 2).channels[6, 0, :2, :2].max()) < 5


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("annotated", [(0, 6, 12), (2, 9), (1, 2, 3, 5, 6, 8, 9, 10, 11, 12)])
def test_what_a_plane_says_never_changes_what_it_is_shown(annotated, closed):
    image, labels, truth = cone(annotated)
    shown = make_guide(image, labels, 2.0, 3, closed=closed).channels
    for number, plane in enumerate(annotated):
        other = labels.clone()
        said = np.random.default_rng(number).integers(0, 3, truth[0].shape)
        other[plane] = torch.from_numpy(np.where(truth[0] == 1, said, UNSAID if number % 2 else 2).astype(np.uint8))
        assert torch.equal(make_guide(image, other, 2.0, 3, closed=closed).channels[plane], shown[plane])


def test_the_distance_to_the_next_annotated_plane_is_shown_in_steps_of_40_mm():
    guide = make_guide(*cone((0, 6, 12))[:2], 2.0, 2)
    distance = guide.channels[:, -1, 0, 0].float() / 255 * 40
    assert torch.allclose(distance[[1, 3, 5]], torch.tensor([2.0, 6.0, 2.0]), atol=0.1)
    assert torch.allclose(distance[[0, 6]], torch.tensor([12.0, 12.0]), atol=0.1)  # not to itself
    assert float(make_guide(*cone((0, 12))[:2], 10.0, 2).channels[5, -1].max()) == 255


def test_structures_end_at_the_outermost_annotated_planes():
    image, labels, _ = cone((2, 6, 9))
    guide = make_guide(image, labels, 2.0, 2)
    assert guide.ends == (2, 9)
    assert torch.nonzero(~guide.covers)[:, 0].tolist() == [2, 6, 9]
    assert int(guide.probabilities[[0, 1, 10, 12], 1].max()) == 0
    assert int(guide.channels[[0, 1, 10, 12], 0].max()) == 0


def test_what_lies_beyond_can_be_left_open():
    guide = make_guide(*cone((2, 6, 9))[:2], 2.0, 2, closed=False)
    assert guide.ends == (None, None)
    assert torch.nonzero(guide.covers)[:, 0].tolist() == [3, 4, 5, 7, 8]


def test_an_end_is_only_believed_on_a_complete_plane():
    image, labels, _ = cone((2, 6, 9))
    labels[2, :3] = UNSAID
    assert make_guide(image, labels, 2.0, 2).ends == (None, 9)


def test_scribbled_planes_are_covered():
    image, labels, _ = cone((2, 9))
    labels[5, 15:18, 15:18] = 1
    guide = make_guide(image, labels, 2.0, 2)
    assert bool(guide.covers[5])
    assert int(guide.probabilities[5, 1, 16, 16]) == 255


def test_one_annotated_plane_says_nothing_about_others():
    assert make_guide(*cone((4,))[:2], 2.0, 2) is None
    image, labels, _ = cone((4, 8))
    labels[[4, 8]] = 0
    assert make_guide(image, labels, 2.0, 2) is None


def test_many_annotated_planes_are_left_out_in_groups():
    image, labels, truth = cone(tuple(range(13)))
    guide = make_guide(image, labels, 2.0, 2)
    assert ((guide.channels[1:12, 0].numpy() > 127) == truth[1:12]).mean() > 0.97
    assert not bool(guide.covers.any())


def test_channels_are_appended_or_empty():
    guide = make_guide(*cone((0, 6, 12))[:2], 2.0, 2)
    image = torch.ones(2, 3, 32, 32)
    assert with_guide(image, guide, [3, 5], 0) is image
    seen = with_guide(image, guide, [3, 5], 2)
    assert torch.equal(seen[:, :3], image)
    assert torch.allclose(seen[:, 3:], guide.channels[[3, 5]] / 255)
    assert float(with_guide(image, None, [3, 5], 2)[:, 3:].abs().max()) == 0
