from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_semiseg.regions import morphing
from napari_semiseg.regions.between import MEANS, fill_between
from napari_semiseg.regions.morphing import interpolate_morphological

SPACING = (5.0, 1.0, 1.0)


def disc(radius, centre=(32, 32), side=64) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def between(first, second, planes=5) -> np.ndarray:
    """Two labelled planes and nothing said between them."""
    labels = np.full((planes, *first.shape), 255, np.uint8)
    labels[0], labels[-1] = first, second
    return labels


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def centre(mask) -> np.ndarray:
    return np.mean(np.nonzero(mask), axis=1)


@pytest.mark.parametrize("means", MEANS)
def test_every_means_recovers_a_cone_with_any_class_ids(means):
    truth = np.zeros((5, 64, 64), np.uint8)
    for plane, radius in enumerate(np.linspace(8, 20, 5)):
        truth[plane][disc(radius)] = 200
        truth[plane][disc(radius / 2)] = 7
    image = 100 * (truth > 0) + 100 * (truth == 7) + np.random.default_rng(0).normal(0, 3, truth.shape)
    found = fill_between(image, between(truth[0], truth[-1]), SPACING, means)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 7, 200}
    assert dice(found == 200, truth == 200) > 0.9
    assert dice(found == 7, truth == 7) > 0.88


@pytest.mark.parametrize("means", MEANS)
def test_what_is_said_between_stays(means):
    labels = between(disc(12).astype(np.uint8), disc(12).astype(np.uint8))
    labels[2, 30:34, 30:34] = 3
    labels[2, 28, 28] = 0
    found = fill_between(np.zeros(labels.shape), labels, SPACING, means)
    assert (found[labels != 255] == labels[labels != 255]).all()
    assert (found != 255).all()


def test_unknown_means_are_named():
    with pytest.raises(ValueError, match=r"'magic'.*distance, morphology, walker"):
        fill_between(np.zeros((3, 4, 4)), np.zeros((3, 4, 4), np.uint8), SPACING, "magic")


def test_outlines_move_even_where_discs_hardly_overlap():
    """The signed distance shrinks such discs to their overlap; laid over each other by their centres they stay."""
    first, second = disc(8, (32, 25)), disc(8, (32, 39))
    middle = interpolate_morphological(between(first.astype(np.uint8), second.astype(np.uint8)))[2] == 1
    assert dice(middle, disc(8, (32, 32))) > 0.98


def test_a_quarter_of_the_way_by_hand():
    """A bar of 3 and one of 11 pixels about one centre: one more pixel on each side per plane."""
    first, second = np.zeros((5, 15), np.uint8), np.zeros((5, 15), np.uint8)
    first[2, 6:9] = second[2, 2:13] = 1
    found = interpolate_morphological(between(first, second))
    assert found.sum(axis=(1, 2)).tolist() == [3, 5, 7, 9, 11]
    assert found[1, 2].nonzero()[0].tolist() == [5, 6, 7, 8, 9]


def test_one_that_becomes_two():
    single = disc(14).astype(np.uint8)
    double = (disc(6, (32, 24)) | disc(6, (32, 40))).astype(np.uint8)
    found = interpolate_morphological(between(single, double))
    areas = found.sum(axis=(1, 2))
    assert (np.diff(areas.astype(int)) < 0).all()
    assert (found[3][double == 1] == 1).mean() > 0.9


def bar(*spans) -> np.ndarray:
    plane = np.zeros((5, 40), np.uint8)
    for class_id, first, last in spans:
        plane[2, first : last + 1] = class_id
    return plane


def test_one_that_becomes_two_is_divided_between_them():
    """Each half shrinks to its own part; undivided, the whole would move to both."""
    found = interpolate_morphological(between(bar((1, 10, 29)), bar((1, 10, 14), (1, 25, 29))))
    assert found[3].sum() <= 12


def test_where_outlines_overlap_the_deeper_class_wins():
    planes = np.random.default_rng(0).choice(np.array([0, 1, 2], np.uint8), (2, 12, 12))
    found = interpolate_morphological(between(*planes, planes=3))[1]
    depths = []
    for class_id in (1, 2):
        outer, holes = morphing._outlines(planes[0] == class_id, planes[1] == class_id)
        depth = morphing._depth(outer, 0.5, found.shape)
        depth[morphing._depth(holes, 0.5, found.shape) >= 0] = -1
        depths.append(depth)
    first, second = depths
    assert ((first > second) & (second >= 0)).any(), "nothing overlaps in this example"
    assert (found[(first > second) & (first >= 0)] == 1).all()
    assert (found[(second > first) & (second >= 0)] == 2).all()
    assert (found[(first < 0) & (second < 0)] == 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_structure_that_one_plane_lacks_ends_halfway(reverse):
    planes = [disc(10).astype(np.uint8), np.zeros((64, 64), np.uint8)]
    found = interpolate_morphological(between(*(planes[::-1] if reverse else planes), planes=7))
    present = found.any(axis=(1, 2))[:: -1 if reverse else 1].tolist()
    assert present[:3] == [True] * 3
    assert present[4:] == [False] * 3
    areas = found.sum(axis=(1, 2))[:: -1 if reverse else 1]
    assert areas[1] == pytest.approx(areas[0] * (4 / 6) ** 2, rel=0.15), "it shrinks at a steady pace"
    assert areas[2] == pytest.approx(areas[0] * (2 / 6) ** 2, rel=0.3)


def test_a_component_without_partner_ends_beside_one_with():
    first = (disc(6, (20, 20)) | disc(6, (48, 48))).astype(np.uint8)
    found = interpolate_morphological(between(first, disc(6, (20, 20)).astype(np.uint8), planes=9))
    assert np.array_equal(found[4] == 1, disc(6, (20, 20)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999))
def test_ends_stay_and_the_other_way_round_is_the_mirror_image_for_equal_outlines(seed):
    rng = np.random.default_rng(seed)
    plane = rng.choice(np.array([0, 1, 2], np.uint8), (9, 11))
    found = interpolate_morphological(between(plane, plane, planes=4))
    assert all(np.array_equal(part, plane) for part in found)
    other = rng.choice(np.array([0, 1, 2], np.uint8), (9, 11))
    found = interpolate_morphological(between(plane, other, planes=4))
    assert np.array_equal(found[0], plane)
    assert np.array_equal(found[-1], other)
    assert set(np.unique(found)) <= {0, 1, 2}
