from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_semiseg.engine.evaluate import evaluate
from napari_semiseg.errors import InputError


def box(shape, *slices):
    mask = np.zeros(shape, np.uint8)
    mask[slices] = 1
    return mask


def test_overlap_by_hand():
    a = box((1, 10, 10), 0, slice(0, 4), slice(0, 5))  # 20 voxels
    b = box((1, 10, 10), 0, slice(2, 6), slice(0, 5))  # 20 voxels, 10 in common
    score = evaluate(a, b, (1, 1, 1))[1]
    assert score.dice == pytest.approx(0.5)
    assert score.jaccard == pytest.approx(10 / 30)
    assert (score.predicted_voxels, score.reference_voxels) == (20, 20)


def test_shifted_plate_has_its_shift_as_distance_in_mm_and_voxels():
    a, b = box((9, 12, 12), 2, slice(2, 10), slice(2, 10)), box((9, 12, 12), 5, slice(2, 10), slice(2, 10))
    score = evaluate(a, b, (4.0, 0.5, 0.5))[1]
    assert (score.hd95_mm, score.asd_mm) == (pytest.approx(12.0), pytest.approx(12.0))
    assert (score.hd95_voxels, score.asd_voxels) == (pytest.approx(3.0), pytest.approx(3.0))


def test_distances_agree_with_monai():
    pytest.importorskip("monai", reason="monai is not part of the core install")
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(0)
    spacing = (3.0, 1.0, 1.5)
    a, b = (
        box((8, 24, 24), slice(2, 6), slice(4, 16), slice(5, 19)),
        box((8, 24, 24), slice(1, 6), slice(6, 20), slice(4, 17)),
    )
    a[3, 10, rng.integers(5, 19, 4)] = 0
    one_hot = [torch.from_numpy(np.stack([m == 0, m == 1])[None].astype(np.float32)) for m in (a, b)]
    hd = compute_hausdorff_distance(*one_hot, include_background=False, percentile=95, spacing=spacing).item()
    asd = compute_average_surface_distance(*one_hot, include_background=False, symmetric=True, spacing=spacing).item()
    score = evaluate(a, b, spacing)[1]
    assert score.hd95_mm == pytest.approx(hd, rel=1e-5)
    assert score.asd_mm == pytest.approx(asd, rel=1e-5)


def test_empty_prediction_has_no_distance_instead_of_a_perfect_one():
    reference = box((3, 8, 8), 1, slice(2, 6), slice(2, 6))
    score = evaluate(np.zeros_like(reference), reference, (1, 1, 1))[1]
    assert (score.dice, score.hd95_mm, score.asd_voxels) == (0.0, None, None)


def test_skipped_planes_count_neither_for_nor_against():
    reference = box((4, 8, 8), slice(0, 4), slice(2, 6), slice(2, 6))
    predicted = reference.copy()
    predicted[1] = 0
    assert evaluate(predicted, reference, (1, 1, 1), skip_planes=[1])[1].dice == 1.0
    predicted[2, 2] = 0
    judged = evaluate(predicted, reference, (1, 1, 1), skip_planes=[1])[1]
    assert judged.dice == pytest.approx(2 * 44 / (44 + 48))
    assert judged.hd95_mm <= 1.0


def test_unsaid_voxels_of_the_reference_are_not_judged():
    reference = box((1, 8, 8), 0, slice(2, 6), slice(2, 6))
    reference[0, :, 6:] = 255
    predicted = np.where(reference == 255, 3, reference).astype(np.uint8)
    scores = evaluate(predicted, reference, (1, 1, 1))
    assert scores[1].dice == 1.0
    assert 255 not in scores
    assert 3 not in scores


def test_a_class_only_in_the_prediction_scores_zero():
    reference = np.zeros((2, 4, 4), np.uint8)
    predicted = box((2, 4, 4), 0, slice(0, 2), slice(0, 2)) * 7
    assert evaluate(predicted, reference, (1, 1, 1))[7].dice == 0.0


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"\(1, 2, 2\).*\(1, 2, 3\)"):
        evaluate(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8), (1, 1, 1))
