"""Which slices the simulated annotator takes, and how its hand slips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_cases import rings

from napari_semiseg.benchmark import annotator as annotators
from napari_semiseg.benchmark.annotator import Annotator
from napari_semiseg.benchmark.peers import certain
from napari_semiseg.errors import InputError

UNSAID = 255


def test_the_first_slices_are_equally_spaced_over_the_structures():
    assert Annotator().first(rings(), 3, seed=0) == [1, 4, 7]
    assert Annotator("suggested").first(rings(), 2, seed=0) == [1, 7]


def test_random_slices_show_a_structure_and_follow_the_seed():
    drawn = [Annotator("random").first(rings(), 3, seed=seed) for seed in range(6)]
    assert all(set(planes) <= set(range(1, 8)) and len(set(planes)) == 3 for planes in drawn)
    assert len(set(map(tuple, drawn))) > 1
    assert drawn[2] == Annotator("random").first(rings(), 3, seed=2)


def test_a_slice_must_be_left_to_judge_by():
    with pytest.raises(InputError, match=r"7 slices of rings.*7 show a structure.*fewer"):
        Annotator().first(rings(), 7, seed=0)


def predicted(case, wrong):
    """The reference, with so many wrong pixels on some planes and their entropy high."""
    labels = case.reference.copy()
    for plane, pixels in wrong.items():
        labels[plane].flat[:pixels] = 5
    maps = certain(labels)
    for plane in wrong:
        maps.entropy[plane] = 200
    return maps


def test_the_next_slice_by_policy():
    case = rings()
    maps = predicted(case, {2: 9, 5: 12})
    assert Annotator("worst").next(case, [1, 7], maps, 0) == 5
    assert Annotator("worst").next(case, [1, 5, 7], maps, 0) == 2
    assert Annotator("suggested").next(case, [1, 7], maps, 0) in (2, 5)
    assert Annotator("equidistant").next(case, [1, 7], maps, 0) == 4
    assert Annotator("equidistant").next(case, [1, 7], None, 0) == 4
    assert Annotator("random").next(case, [1, 2, 3, 4, 5, 7], None, 0) == 6
    assert Annotator("random").next(case, range(1, 8), None, 0) is None


def test_policies_that_follow_predictions_need_some():
    with pytest.raises(InputError, match=r"policy worst follows the predictions.*made none of rings"):
        Annotator("worst").next(rings(), [1], None, 0)


def test_wrong_pixels_by_hand():
    reference = np.array([[[0, 1], [2, 255]], [[0, 0], [0, 0]]], np.uint8)
    found = np.array([[[1, 1], [0, 3]], [[0, 0], [0, 4]]], np.uint8)
    assert annotators.wrong_pixels(found, reference).tolist() == [2, 1]


def test_a_careful_annotator_paints_the_reference_and_nothing_else():
    case = rings()
    labels = Annotator().labels(case, [3, 5], seed=0)
    assert np.array_equal(labels[[3, 5]], case.reference[[3, 5]])
    assert (np.delete(labels, [3, 5], axis=0) == UNSAID).all()


@pytest.mark.parametrize("rms", [1.0, 2.5])
def test_a_contour_that_jitters_is_off_by_so_many_mm(rms):
    """A straight edge shows the displacement across it: of both directions' mean square it has one half."""
    plane = np.zeros((160, 160), np.uint8)
    plane[:, 80:] = 1
    off = []
    for seed in range(20):
        moved = annotators.jittered(plane, rms, (0.5, 0.5), np.random.default_rng(seed))
        assert set(np.unique(moved)) == {0, 1}
        off.append((moved.sum(axis=1, dtype=int) - 80) * 0.5)
    assert np.sqrt(np.mean(np.square(off))) == pytest.approx(rms / np.sqrt(2), rel=0.15)
    assert np.abs(np.diff(off, axis=1)).mean() < rms / 4  # neighbouring points are off alike


def test_jitter_is_the_same_whatever_else_is_annotated_and_keeps_the_size_of_structures():
    case = rings(side=64)
    shaky = Annotator(jitter_mm=1.0)
    alone, together = shaky.labels(case, [4], seed=3), shaky.labels(case, [2, 4, 6], seed=3)
    assert np.array_equal(alone[4], together[4])
    assert not np.array_equal(alone[4], case.reference[4])
    assert not np.array_equal(alone[4], shaky.labels(case, [4], seed=4)[4])
    assert (alone[4] > 0).sum() == pytest.approx((case.reference[4] > 0).sum(), rel=0.3)


def test_small_parts_are_overlooked_by_their_area_in_mm():
    plane = np.zeros((12, 12), np.uint8)
    plane[1:3, 1:3] = 1  # 4 pixels of 0.5 mm²
    plane[5:8, 5:8] = 1  # 9
    plane[10, 10] = 255
    found = Annotator(missed_mm2=4.5).painted(plane, (0.5, 1.0), np.random.default_rng(0))
    assert found[1:3, 1:3].max() == 0
    assert found[5:8, 5:8].min() == 1
    assert found[10, 10] == 255
    assert np.array_equal(annotators.without_small_parts(plane, 1), plane)


def test_scribbles_lie_within_the_structures_and_around_them():
    truth = rings().reference[4]
    strokes = annotators.scribbled(truth)
    said = strokes != UNSAID
    assert 0.01 < said.mean() < 0.35
    assert set(np.unique(strokes)) == {0, 2, 5, UNSAID}
    assert np.array_equal(strokes[said], truth[said])
    assert (annotators.scribbled(np.zeros((9, 9), np.uint8)) == 0).sum() == 9


def test_a_reference_without_a_structure_is_refused():
    case = rings()
    with pytest.raises(InputError, match="reference of rings shows no structure"):
        dataclasses.replace(case, reference=np.where(case.reference, 255, 0).astype(np.uint8))
