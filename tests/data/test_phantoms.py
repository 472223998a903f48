from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_semiseg.data.phantoms import Phantom, abdomen, cardiac
from napari_semiseg.regions.propagation import interpolate_signed_distance

both = pytest.mark.parametrize("make", [cardiac, abdomen])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def best_threshold(phantom: Phantom, label: int) -> tuple[float, float, float]:
    """Search all intervals of intensity, knowing the truth, for the one of highest Dice."""
    edges = np.unique(np.percentile(phantom.image, np.linspace(0, 100, 120)))
    truth = phantom.labels == label
    inside, _ = np.histogram(phantom.image[truth], edges)
    everything, _ = np.histogram(phantom.image, edges)
    a, b = (np.concatenate([[0], np.cumsum(h)]) for h in (inside, everything))
    low, high = np.triu_indices(len(edges), 1)
    scores = 2 * (a[high] - a[low]) / (b[high] - b[low] + truth.sum())
    best = int(np.argmax(scores))
    return float(scores[best]), float(edges[low[best]]), float(edges[high[best]])


@both
def test_a_patient_is_always_the_same_and_the_next_one_another(make):
    one, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.labels, again.labels)
    for label in one.class_names:
        assert dice(one.labels == label, other.labels == label) < 0.92


@both
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_structure_is_there_in_one_piece_on_several_planes(make, seed):
    phantom = make(seed=seed)
    assert phantom.image.shape == phantom.labels.shape
    assert (phantom.image.dtype, phantom.labels.dtype) == (np.int16, np.uint8)
    assert set(np.unique(phantom.labels)) == {0, *phantom.class_names}
    for label in phantom.class_names:
        mask = phantom.labels == label
        assert mask.any(axis=(1, 2)).sum() >= 5
        pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.95 * mask.sum(), count


@both
def test_some_planes_show_no_structure_or_not_all(make):
    phantom = make(seed=0)
    shown = [len(np.unique(plane)) for plane in phantom.labels]
    assert min(shown) < len(phantom.class_names) + 1


@both
@pytest.mark.parametrize("seed", [0, 1])
def test_no_threshold_finds_a_structure(make, seed):
    """Neither the best interval of intensity nor its largest piece does what five labelled planes do."""
    phantom = make(seed=seed)
    for label, name in phantom.class_names.items():
        score, low, high = best_threshold(phantom, label)
        assert score < 0.65, name
        smooth = ndimage.median_filter(phantom.image, (1, 3, 3))
        pieces, _ = ndimage.label((smooth >= low) & (smooth < high))
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        assert dice(pieces == sizes.argmax(), phantom.labels == label) < 0.8, name


@both
def test_a_few_labelled_planes_tell_more_than_a_threshold(make):
    """Structures change smoothly from plane to plane, so the task can be solved."""
    phantom = make(seed=0)
    planes = np.flatnonzero((phantom.labels > 0).any(axis=(1, 2)))
    known = planes[np.linspace(0, len(planes) - 1, 5 if make is cardiac else 12).round().astype(int)]
    partial = np.full_like(phantom.labels, 255)
    partial[known] = phantom.labels[known]
    between = interpolate_signed_distance(partial, phantom.spacing)
    for label in phantom.class_names:
        assert dice(between == label, phantom.labels == label) > best_threshold(phantom, label)[0]


def test_the_heart_is_a_magnitude_image_on_thick_slices():
    phantom = cardiac()
    assert phantom.spacing == (8.0, 1.4, 1.4)
    assert phantom.image.min() >= 0
    air = phantom.image[:, :8, :8].astype(float)
    # Rician noise without signal is Rayleigh: its mean is 1.91 times its deviation.
    assert 1.7 < air.mean() / air.std() < 2.1
    assert phantom.class_names == {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}


def test_papillary_muscles_are_dark_parts_of_the_cavity():
    phantom = cardiac()
    cavity = phantom.image[phantom.labels == 3]
    wall = phantom.image[phantom.labels == 2]
    assert 0.03 < (cavity < np.percentile(wall, 75)).mean() < 0.4


def test_the_ct_is_in_hounsfield_units():
    phantom = abdomen()
    assert np.median(phantom.image[:, :10, :10]) == pytest.approx(-1000, abs=15)
    assert phantom.image.max() > 300
    for label in phantom.class_names:
        assert 30 < np.median(phantom.image[phantom.labels == label]) < 80
    assert ((phantom.image > -130) & (phantom.image < -70)).mean() > 0.05
