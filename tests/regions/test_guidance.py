"""What annotated planes say about the others."""

from __future__ import annotations

import numpy as np
import torch

from napari_semiseg.data.guide import shared_out
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
    guide = make_guide(image, labels, 2)
    assert guide.probabilities.shape == (13, 2, 32, 32)
    assert guide.probabilities.dtype == torch.uint8
    assert ((guide.probabilities[3, 1].numpy() > 127) == truth[3]).mean() > 0.98


def test_structures_end_at_the_outermost_annotated_planes():
    image, labels, _ = cone((2, 6, 9))
    guide = make_guide(image, labels, 2)
    assert guide.ends == (2, 9)
    assert torch.nonzero(~guide.covers)[:, 0].tolist() == [2, 6, 9]
    assert int(guide.probabilities[[0, 1, 10, 12], 1].max()) == 0


def test_what_lies_beyond_can_be_left_open():
    guide = make_guide(*cone((2, 6, 9))[:2], 2, closed=False)
    assert guide.ends == (None, None)
    assert torch.nonzero(guide.covers)[:, 0].tolist() == [3, 4, 5, 7, 8]


def test_an_end_is_only_believed_on_a_complete_plane():
    image, labels, _ = cone((2, 6, 9))
    labels[2, :3] = UNSAID
    assert make_guide(image, labels, 2).ends == (None, 9)


def test_scribbled_planes_are_covered():
    image, labels, _ = cone((2, 9))
    labels[5, 15:18, 15:18] = 1
    guide = make_guide(image, labels, 2)
    assert bool(guide.covers[5])
    assert int(guide.probabilities[5, 1, 16, 16]) == 255


def test_one_annotated_plane_says_nothing_about_others():
    assert make_guide(*cone((4,))[:2], 2) is None
    image, labels, _ = cone((4, 8))
    labels[[4, 8]] = 0
    assert make_guide(image, labels, 2) is None


def test_complete_planes_are_worth_no_vote():
    image, labels, _ = cone(tuple(range(13)))
    assert not bool(make_guide(image, labels, 2).covers.any())


def test_the_mass_of_background_is_shared_out_as_others_do():
    carried = torch.tensor([0.8, 0.2, 0.0]).view(1, 3, 1, 1)
    by = torch.tensor([0.3, 0.1, 0.6]).view(1, 3, 1, 1)
    shared = shared_out(carried, by, torch.tensor([[True, False, True]]))
    # Background and the third class have 0.8, of which the others give 0.3 : 0.6.
    assert torch.allclose(shared.flatten(), torch.tensor([0.8 / 3, 0.2, 1.6 / 3]), atol=1e-5)
    assert torch.allclose(shared_out(carried, by, torch.tensor([[True, False, False]])), carried, atol=1e-6)
