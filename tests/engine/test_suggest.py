from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.engine.slice_facts import SliceFacts
from napari_semiseg.engine.suggest import Wording, distances, equidistant_planes, rank_planes


def prediction(planes=12):
    labels = np.zeros((planes, 32, 32), np.uint8)
    labels[2:10, 10:20, 10:20] = 1
    entropy = np.full(labels.shape, 10, np.uint8)
    entropy[6, 9:21, 9:21] = 200
    entropy[5, 9:21, 9:21] = 150
    entropy[3, 9:21, 9:21] = 120
    return labels, entropy


def test_band_not_background_decides():
    """A plane with much uncertain background but a certain structure does not win."""
    labels, entropy = prediction()
    entropy[8, :, 25:] = 255
    scores = SliceFacts.of(labels, entropy).entropy
    assert np.nanargmax(scores) == 6
    assert np.isnan(scores[0])
    assert scores[8] < scores[3]


def test_the_band_is_three_pixels_wide():
    labels = np.zeros((1, 32, 32), np.uint8)
    labels[0, 14:18, 14:18] = 1
    entropy = np.zeros(labels.shape, np.uint8)
    entropy[0, 14:18, 11] = 255  # the third pixel outside, in four of its rows
    # A diamond-shaped widening by 3 of a 4 x 4 square: 16 + 4 * 3 * 4 + 4 * 3 pixels.
    assert SliceFacts.of(labels, entropy).entropy[0] == pytest.approx(4 / 76)
    entropy[:] = 0
    entropy[0, 14:18, 10] = 255
    assert SliceFacts.of(labels, entropy).entropy[0] == 0


def test_facts_of_blocks_join_and_survive_json():
    labels, entropy = prediction()
    whole = SliceFacts.of(labels, entropy, entropy)
    parts = SliceFacts.join(SliceFacts.of(*(a[i : i + 5] for a in (labels, entropy, entropy))) for i in (0, 5, 10))
    again = SliceFacts.from_json(parts.to_json())
    np.testing.assert_allclose(again.entropy, whole.entropy, atol=1e-5)
    np.testing.assert_allclose(again.disagreement, whole.disagreement, atol=1e-5)
    assert SliceFacts.from_json(SliceFacts.of(labels, entropy).to_json()).disagreement is None


def test_neighbours_of_a_suggestion_are_passed_over():
    labels, entropy = prediction()
    ranked = rank_planes(labels, entropy, annotated=[], spacing=2.0, count=2)
    assert [s.plane for s in ranked] == [6, 3]


def test_annotated_planes_are_not_suggested():
    labels, entropy = prediction()
    ranked = rank_planes(labels, entropy, annotated=[6], spacing=2.0, count=1, distance_share=0)
    assert ranked[0].plane == 5


def test_a_plane_far_from_annotated_ones_goes_before_a_neighbour_that_is_a_little_more_unsure():
    labels, entropy = prediction()
    # Relative uncertainty and distance: plane 5 has 1 and 1/4, plane 3 about 0.8 and 3/4.
    best = rank_planes(labels, entropy, annotated=[6], spacing=2.0, count=1, distance_share=0.4)[0]
    assert best.plane == 3
    assert best.priority > 0.6 * 1 + 0.4 / 4


def test_disagreement_counts_as_uncertainty():
    labels, entropy = prediction()
    differing = np.zeros_like(labels)
    differing[9, 10:20, 10:20] = 255
    best = rank_planes(labels, entropy, disagreement=differing, annotated=[6], spacing=2.0, count=1)[0]
    assert best.plane == 9


def test_the_reason_says_what_and_where():
    labels, entropy = prediction()
    disagreement = np.zeros_like(labels)
    disagreement[6, 10:20, 10:15] = 255
    wording = Wording({1: "atrium"}, ("inferior", "superior"), "two networks")
    first = rank_planes(
        labels, entropy, disagreement=disagreement, annotated=[2], spacing=2.0, wording=wording, count=1
    )[0]
    for part in ("Slice 6", "in the middle part", "most uncertain", "atrium", "two networks disagree by 50%", "8 mm"):
        assert part in first.reason
    disagreement[:] = 0
    disagreement[9, 10:20, 10:20] = 255
    last = rank_planes(
        labels, entropy, disagreement=disagreement, annotated=[2], spacing=2.0, wording=wording, count=1
    )[0]
    assert last.reason.startswith("Slice 9, at the superior end: two networks disagree by 100%;")


def test_nothing_predicted_gives_no_suggestion():
    empty = np.zeros((5, 8, 8), np.uint8)
    assert rank_planes(empty, empty, annotated=[], spacing=1.0) == []


def test_everything_annotated_gives_no_suggestion():
    labels, entropy = prediction()
    assert rank_planes(labels, entropy, annotated=range(12), spacing=1.0) == []
    assert equidistant_planes(12, annotated=range(12)) == []


def test_distances_to_the_nearest_annotated_plane():
    assert distances([1, 5], 7).tolist() == [1, 0, 1, 2, 1, 0, 1]
    assert distances([], 3).tolist() == [3, 3, 3]


def test_equidistant_planes_halve_the_widest_gap():
    found = equidistant_planes(21, annotated=[0, 8, 20], count=3)
    assert [s.plane for s in found] == [14, 4, 11]
    assert "between slices 8 and 20" in found[0].reason
    assert {s.order for s in found} == {"equidistant"}


def test_equidistant_planes_stay_where_something_is():
    assert [s.plane for s in equidistant_planes(100, annotated=[40], predicted=range(30, 51), count=2)] == [30, 50]
    assert equidistant_planes(100, annotated=[40, 60], count=1)[0].plane == 50


def test_equidistant_planes_without_anything_begin_in_the_middle():
    found = equidistant_planes(9, annotated=[], count=3)
    assert found[0].plane == 4
    assert {s.plane for s in found[1:]} == {0, 8}
