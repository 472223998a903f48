from __future__ import annotations

import numpy as np

from napari_semiseg.engine.suggest import band_entropy, rank_planes


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
    scores = band_entropy(labels, entropy)
    assert np.nanargmax(scores) == 6
    assert np.isnan(scores[0])
    assert scores[8] < scores[3]


def test_neighbours_of_a_suggestion_are_passed_over():
    labels, entropy = prediction()
    ranked = rank_planes(labels, entropy, annotated=[], spacing=2.0, count=2)
    assert [s.plane for s in ranked] == [6, 3]


def test_annotated_planes_are_not_suggested():
    labels, entropy = prediction()
    assert rank_planes(labels, entropy, annotated=[6], spacing=2.0, count=1)[0].plane == 5


def test_the_reason_says_what_and_where():
    labels, entropy = prediction()
    disagreement = np.zeros_like(labels)
    disagreement[6, 10:20, 10:15] = 255
    reason = rank_planes(
        labels, entropy, disagreement=disagreement, annotated=[2], spacing=2.0, class_names={1: "atrium"}, count=1
    )[0].reason
    assert "most uncertain" in reason
    assert "atrium" in reason
    assert "50%" in reason
    assert "8 mm" in reason


def test_nothing_predicted_gives_no_suggestion():
    empty = np.zeros((5, 8, 8), np.uint8)
    assert rank_planes(empty, empty, annotated=[], spacing=1.0) == []
