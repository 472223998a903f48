"""Registration between images: maps of points in mm, how good they are, and what is remembered (methods.md 6, 12-F)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.point_map import PointMap, centres, warp_image, warp_labels
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.registration.cache import Cache
from napari_semiseg.registration.carry import Options, carry
from napari_semiseg.registration.estimate import Stopped, estimate
from napari_semiseg.registration.images import Image, slice_images, volume_image
from napari_semiseg.registration.pairs import Registrar
from napari_semiseg.registration.similarity import Quality, nmi, quality
from napari_semiseg.registration.slices import between_slices, neighbours, trust
from napari_semiseg.registration.volumes import between_volumes


def field(points: torch.Tensor) -> torch.Tensor:
    """Smooth anatomy without symmetry: the intensity at points in mm, shape (n,)."""
    value = torch.zeros(len(points))
    generator = torch.Generator().manual_seed(5)
    for _ in range(14):
        middle = torch.rand(points.shape[1], generator=generator) * 50 + 8
        radius = torch.rand(points.shape[1], generator=generator) * 8 + 5
        value += (torch.rand(1, generator=generator) + 0.3) * torch.exp(-(((points - middle) / radius) ** 2).sum(dim=1))
    return value


def seen(phi: PointMap, shape, spacing, name="volume") -> TrainingVolume:
    """The anatomy on a grid; its point x shows what the point phi(x) of the anatomy is."""
    values = field(phi(centres(shape, spacing))).view(*shape)
    return TrainingVolume(name, values.numpy(), spacing, np.full(shape, UNSAID, np.uint8))


def run(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def never():
    return False


GRID = ((13, 64, 56), (5.0, 1.0, 1.2))


def test_translated_labels_coincide_with_spacing_in_mm_and_not_in_voxels():
    """v_q = v_j moved by (3, −2, 1) voxels of (.5, 1, 5) mm, columns first: IoU 1 on the overlap (methods.md 6, 1)."""
    spacing, moved = (5.0, 1.0, 0.5), (1, -2, 3)
    shape = (8, 20, 24)
    mine = torch.zeros(shape, dtype=torch.uint8)
    mine[3:5, 6:12, 8:15] = 1
    theirs = torch.full(shape, UNSAID, dtype=torch.uint8)
    for p, r, c in np.ndindex(shape):
        q = (p - moved[0], r - moved[1], c - moved[2])
        if all(0 <= i < n for i, n in zip(q, shape, strict=True)):
            theirs[p, r, c] = mine[q]

    def iou(offset):
        carried = warp_labels(theirs, spacing, PointMap.translation(offset), shape, spacing)
        overlap = carried != UNSAID
        both = (carried == 1) & (mine == 1) & overlap
        either = ((carried == 1) | (mine == 1)) & overlap
        return int(both.sum()) / int(either.sum())

    assert iou([m * s for m, s in zip(moved, spacing, strict=True)]) == 1
    assert iou([float(m) for m in moved]) < 0.5
    # The inverse is the map that transfers points from q to j, and not the one that carries labels to j.
    assert iou([-m * s for m, s in zip(moved, spacing, strict=True)]) < 0.5


def test_what_lies_outside_is_not_said():
    labels = torch.ones((2, 4, 4), dtype=torch.uint8)
    carried = warp_labels(labels, (1, 1, 1), PointMap.translation([0, 2, 0]), (2, 4, 4), (1, 1, 1))
    assert (carried[:, :2] == 1).all()
    assert (carried[:, 2:] == UNSAID).all()
    _, inside = warp_image(labels.float(), (1, 1, 1), PointMap.translation([0, 2, 0]), (2, 4, 4), (1, 1, 1))
    assert torch.equal(inside, carried == 1)


def test_images_are_warped_onto_other_grids_linearly():
    ramp = (torch.arange(8) + 0.5).view(1, 8, 1).expand(2, 8, 6) * 3.0  # 3 mm per row: the value is the place in mm
    warped, inside = warp_image(ramp, (5, 3, 1), PointMap.translation([0, 2, 0]), (1, 10, 6), (10, 2, 1))
    expected = (torch.arange(10) + 0.5) * 2 + 2
    within = (expected >= 1.5) & (expected <= 22.5)
    assert torch.allclose(warped[0, within, 3], expected[within], atol=1e-4)
    assert inside.all()


def test_a_displacement_adds_to_the_affine_map():
    displacement = torch.zeros(2, 4, 4)
    displacement[0] = torch.arange(4.0)[:, None]  # rises along rows, 10 mm per node
    phi = PointMap(2 * torch.eye(2), torch.tensor([1.0, 0.0]), displacement, (10.0, 10.0))
    mapped = phi(torch.tensor([[15.0, 20.0], [20.0, 0.0], [500.0, 3.0]]))
    assert torch.allclose(mapped, torch.tensor([[32.0, 40.0], [42.5, 0.0], [1004.0, 6.0]]))


def test_a_map_of_images_that_are_counted_from_the_other_end():
    """a is 10 mm deep, b 20 mm: x₀ becomes 10 − x₀ before the map, y₀ becomes 20 − y₀ after it."""
    matrix = torch.tensor([[1.0, 0.2, 0.0], [0.1, 0.9, 0.0], [0.3, 0.0, 1.1]])
    bent = torch.randn(3, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    phi = PointMap(matrix, torch.tensor([1.0, -2.0, 3.0]), bent, (2.0, 4.0, 4.0))
    points = torch.tensor([[1.0, 3.0, 5.0], [7.5, 2.0, 6.0]])
    over = torch.tensor([-1.0, 1.0, 1.0])
    there = phi(points * over + torch.tensor([10.0, 0, 0]))
    assert torch.allclose(phi.turned(10.0, None)(points), there, atol=1e-5)
    assert torch.allclose(phi.turned(10.0, 20.0)(points), there * over + torch.tensor([20.0, 0, 0]), atol=1e-5)
    assert torch.equal(phi.turned(None, None)(points), phi(points))


def test_volumes_whose_planes_run_the_other_way_are_registered_by_how_the_patient_lies(tmp_path):
    one = seen(PointMap.translation([4.0, -3.0, 2.0]), *GRID, "one")
    one.labels[:] = one.image > np.median(one.image)
    other = seen(PointMap.translation([0.0, 0, 0]), (14, 60, 72), (4.5, 1.1, 0.9), "other")
    over = dataclasses.replace(other, image=other.image[::-1].copy(), descending=True)
    carried, linked = [], []
    for second in (other, over):
        volumes = [one, second]
        working = to_working(volumes, WorkingGrid.of(volumes, 512), IntensityRule.of(volumes))
        found = run(carry(working, volumes, Options(source="volumes", nearest=1), never, Cache(tmp_path)))
        carried.append(found.labels[1])
        ((_, planes, _),) = found.correspondences.reach(0, 3, torch.tensor([[30.0, 30.0]]))
        linked.append(int(planes[0]))
    assert (carried[0] != UNSAID).float().mean() > 0.7
    assert (carried[0] == carried[1].flip(0)).float().mean() > 0.999
    assert linked[0] == 13 - linked[1]
    assert 0 <= linked[0] < 13


def corners():
    inner = [[a, b, c] for a in (15.0, 45.0) for b in (15.0, 45.0) for c in (15.0, 45.0)]
    return torch.tensor(inner)


@pytest.mark.parametrize(
    "true",
    [
        PointMap.translation([4.0, -6.0, 5.0]),
        PointMap(torch.tensor([[1.04, 0, 0.03], [0, 0.97, 0.1], [0.03, -0.1, 1.03]]), torch.tensor([2.0, -3.0, 4.0])),
    ],
)
def test_known_maps_are_recovered_between_anisotropic_grids(true):
    """φ maps mm points of the fixed image to the moving one, whatever their voxels are."""
    moving = seen(PointMap.translation([0, 0, 0]), (14, 60, 72), (4.5, 1.1, 0.9))
    found = run(
        estimate(volume_image(seen(true, *GRID), 2.0), volume_image(moving, 2.0), deformable=False, stopped=never)
    )
    assert float((found(corners()) - true(corners())).norm(dim=1).max()) < 1.0


def test_slices_are_registered_in_plane():
    angle = math.radians(8)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    true = PointMap(turn, torch.tensor([3.0, -2.0]))
    shape, spacing = (64, 80), (1.0, 0.8)
    images = [
        Image(field(phi(centres(shape, spacing))).view(*shape).numpy(), spacing)
        for phi in (true, PointMap.translation([0, 0]))
    ]
    found = run(estimate(*images, deformable=False, stopped=never))
    points = torch.tensor([[15.0, 15.0], [45.0, 20.0], [30.0, 45.0]])
    assert float((found(points) - true(points)).norm(dim=1).max()) < 0.5


def test_splines_follow_what_no_affine_map_can():
    def bent(points):
        still = torch.zeros(len(points))
        return points + torch.stack([still, still, 6 * torch.sin(points[:, 0] / 60 * math.pi)], dim=1)

    shape, spacing = (30, 30, 30), (2.0, 2.0, 2.0)
    fixed = Image(field(bent(centres(shape, spacing))).view(*shape).numpy(), spacing)
    moving = Image(field(centres(shape, spacing)).view(*shape).numpy(), spacing)
    errors = []
    for deformable in (False, True):
        found = run(estimate(fixed, moving, deformable=deformable, stopped=never))
        points = centres((8, 8, 8), (4.0, 4.0, 4.0)) + 14
        errors.append(float((found(points) - bent(points)).norm(dim=1).mean()))
    assert found.displacement is not None
    assert errors[1] < 0.6 * errors[0]


def test_an_optimiser_that_walks_away_is_not_followed(monkeypatch):
    image = volume_image(seen(PointMap.translation([0, 0, 0]), *GRID), 2.0)

    def astray(pair, transform, *_):
        transform.Translate([9.0, 0, 0]) if hasattr(transform, "Translate") else transform.SetOffset([9.0, 0, 0])

    monkeypatch.setattr("napari_semiseg.registration.estimate._optimise", astray)
    found = run(estimate(image, image, deformable=False, stopped=never))
    assert torch.allclose(found(corners()), corners())


@pytest.mark.parametrize("values", [np.zeros((12, 12, 12)), np.random.default_rng(0).normal(size=(2, 40, 40))])
def test_what_cannot_be_registered_gives_none(values):
    """A blank volume, and one of two thin planes."""
    image = Image(values.astype(np.float32), (1.0, 1.0, 1.0))
    assert run(estimate(image, image, deformable=False, stopped=never)) is None


def test_a_stop_ends_a_registration_in_the_middle():
    image = volume_image(seen(PointMap.translation([0, 0, 0]), *GRID), 2.0)
    calls = iter(range(1000))
    with pytest.raises(Stopped):
        run(estimate(image, image, deformable=True, stopped=lambda: next(calls) > 2))
    assert next(calls) < 10


def test_normalised_mutual_information():
    """Of an image with itself it is 1, of independent ones about 0, and it does not ask for equal intensities."""
    one, other = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
    assert nmi(one, one) == pytest.approx(1)
    assert nmi(one, other) < 0.01
    assert nmi(one, -one) > 0.9
    assert nmi(torch.zeros(50), torch.zeros(50)) == 0


def test_score():
    """S = ½·.4 − ½·.6 − .5·.3 = −.25; the paper's form leaves out the last term."""
    found = Quality(cycle_rmse=0.4, cycle_nmi=0.6, direct_nmi=0.3)
    assert found.score() == pytest.approx(-0.25)
    assert found.score(direct_weight=0) == pytest.approx(-0.1)


def test_the_cycle_cannot_tell_a_wrong_identity_but_the_direct_term_can():
    """methods.md 6, 2: identity scores best in the cycle although misaligned; the direct term ranks the truth first."""
    true = PointMap.translation([5.0, 6.0, -4.0])
    fixed = volume_image(seen(true, *GRID), 2.0)
    moving = volume_image(seen(PointMap.translation([0, 0, 0]), *GRID), 2.0)
    other = volume_image(seen(PointMap.translation([-9.0, 4.0, 9.0]), *GRID), 2.0)
    still = PointMap.translation([0.0, 0, 0])
    lazy = [quality(fixed, image, still, still) for image in (moving, other)]
    right = quality(fixed, moving, true, PointMap.translation([-5.0, -6.0, 4.0]))
    for found in lazy:
        assert found.score(0) == pytest.approx(-0.5, abs=1e-3)
        assert found.score(0) <= right.score(0) + 1e-6
        assert right.score(0.5) < found.score(0.5)


def registrar(tmp_path, stopped=never):
    return Registrar(deformable=False, stopped=stopped, cache=Cache(tmp_path))


def test_the_best_of_several_sources_is_chosen_among_different_grids(tmp_path):
    """Volume 2 shows the anatomy of volume 0 on another grid, volume 1 shows noise."""
    rng = np.random.default_rng(0)
    noise = TrainingVolume("noise", rng.normal(size=GRID[0]).astype(np.float32), GRID[1], np.full(GRID[0], 255, "u1"))
    volumes = [
        seen(PointMap.translation([2.0, 3.0, -2.0]), *GRID, "plain"),
        noise,
        seen(PointMap.translation([0, 0, 0]), (14, 60, 72), (4.5, 1.1, 0.9), "same"),
    ]
    names, images = [v.id for v in volumes], [volume_image(v, 2.0) for v in volumes]
    found = run(between_volumes(registrar(tmp_path), names, images, [1, 2], [0, 1], nearest=1))
    assert found.sources == {0: 2, 1: 2}  # noise takes labels from the only other one
    assert [(pair.to, pair.source, pair.used) for pair in found.pairs if pair.to == "plain"] == [
        ("plain", "noise", False),
        ("plain", "same", True),
    ]
    # Each one estimated for itself: the one way is not the other one turned round.
    assert {(0, 2), (2, 0), (0, 1), (1, 0)} <= set(found.maps)
    first = run(between_volumes(registrar(tmp_path), names, images, [1, 2], [0], best=False, nearest=0))
    assert first.sources == {0: 1}


def test_a_stop_is_answered_while_it_is_found_out_which_volumes_look_alike(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr("napari_semiseg.registration.volumes.likeness", lambda one, other: looks.append(1) or 0.0)
    images = [Image(np.zeros((8, 8, 8), np.float32), (1.0, 1.0, 1.0))] * 5
    steps = between_volumes(registrar(tmp_path), list("abcde"), images, [0, 1, 2, 3], [4], candidates=1, nearest=0)
    assert [next(steps) for _ in range(3)] == [0, 0, 0]
    assert len(looks) == 2, "one look between two turns"


def test_registrations_are_remembered_by_content_and_settings(tmp_path, monkeypatch):
    fixed = volume_image(seen(PointMap.translation([1.0, 0, 0]), *GRID), 2.0)
    moving = volume_image(seen(PointMap.translation([0, 0, 0]), *GRID), 2.0)
    first = run(registrar(tmp_path).map(fixed, moving))
    monkeypatch.setattr("napari_semiseg.registration.pairs.estimate", lambda *_, **__: iter(()).throw(AssertionError))
    again = run(registrar(tmp_path).map(volume_image(seen(PointMap.translation([1.0, 0, 0]), *GRID), 2.0), moving))
    assert torch.equal(first.matrix, again.matrix)
    assert torch.equal(first.offset, again.offset)
    paths = {Cache(tmp_path).path(a, b, deformable=d) for a, b, d in (
        (fixed, moving, False), (moving, fixed, False), (fixed, moving, True),
        (Image(fixed.values, (2.0, 2.0, 2.5)), moving, False),
        (Image(fixed.values + 1e-3, fixed.spacing), moving, False),
    )}  # fmt: skip
    assert len(paths) == 5


@pytest.mark.parametrize("damage", ["cut", "text", "other axes", "not finite"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    fixed = volume_image(seen(PointMap.translation([1.0, 0, 0]), *GRID), 2.0)
    moving = volume_image(seen(PointMap.translation([0, 0, 0]), *GRID), 2.0)
    good = run(registrar(tmp_path).map(fixed, moving))
    (path,) = tmp_path.glob("*.npz")
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:100])
        case "text":
            path.write_text("no archive")
        case "other axes":
            np.savez(path, matrix=np.eye(2), offset=np.zeros(2))
        case "not finite":
            np.savez(path, matrix=np.full((3, 3), np.nan), offset=np.zeros(3))
    again = run(registrar(tmp_path).map(fixed, moving))
    assert torch.allclose(again.matrix, good.matrix)
    assert torch.equal(Cache(tmp_path).load(path).offset, again.offset)


def test_splines_are_stored_whole_and_no_pickle_is_read(tmp_path):
    cache = Cache(tmp_path)
    phi = PointMap(torch.eye(3), torch.ones(3), torch.randn(3, 4, 5, 6), (2.0, 2.5, 3.0))
    cache.store(tmp_path / "a.npz", phi)
    again = cache.load(tmp_path / "a.npz")
    assert torch.equal(again.displacement, phi.displacement)
    assert again.step == phi.step
    np.savez(tmp_path / "b.npz", matrix=np.eye(3), offset=np.array([print, 1, 2], dtype=object))
    assert cache.load(tmp_path / "b.npz") is None


def test_a_full_or_forbidden_disk_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("")
    fixed = volume_image(seen(PointMap.translation([1.0, 0, 0]), *GRID), 2.0)
    assert run(registrar(tmp_path / "file" / "below").map(fixed, fixed)) is not None


def test_old_registrations_make_room(tmp_path):
    import os

    cache = Cache(tmp_path)
    for index in range(4):
        cache.store(tmp_path / f"{index}.npz", PointMap.translation([0, 0, index]))
        os.utime(tmp_path / f"{index}.npz", (index, index))
    cache.load(tmp_path / "0.npz")  # used just now
    size = (tmp_path / "0.npz").stat().st_size
    cache.trim(int(2.5 * size))
    assert sorted(file.name for file in tmp_path.glob("*.npz")) == ["0.npz", "3.npz"]


@pytest.mark.parametrize(
    ("plane", "spacing", "expected"),
    [
        (5, 8.0, (4, 8)),
        (6, 8.0, (4, 8)),
        (7, 8.0, (8, 4)),
        (9, 8.0, (8,)),
        (12, 8.0, ()),
        (12, 2.5, (8,)),
        (1, 8.0, (4,)),
    ],
)
def test_labels_come_from_the_nearest_slice_on_either_side_within_reach(plane, spacing, expected):
    assert neighbours(plane, (4, 8), spacing) == expected


def test_trust_fades_with_the_square_of_the_distance():
    assert trust(0) == 1
    assert trust(5) == pytest.approx(math.exp(-1))
    assert trust(8) == pytest.approx(0.0773047)


def test_slices_of_one_volume(tmp_path):
    """The anatomy moves 1.5 mm per plane; what was found carries a point along."""
    planes = [field(PointMap.translation([1.5 * p, 0.0])(centres((64, 64), (1.0, 1.0)))).view(64, 64) for p in range(6)]
    volume = TrainingVolume("v", torch.stack(planes).numpy(), (4.0, 1.0, 1.0), np.full((6, 64, 64), 255, "u1"))
    found = run(between_slices(registrar(tmp_path), "v", slice_images(volume, 2.0), [1, 4], [0, 2, 3, 5], 4.0))
    assert found.sources == {0: (1,), 2: (1, 4), 3: (4, 1), 5: (4,)}
    there = found.maps[2, 4](torch.tensor([[30.0, 30.0]]))
    assert there.tolist()[0] == pytest.approx([27.0, 30.0], abs=0.6)
    reached = list(
        Correspondences([(6, 64, 64)], [(4.0, 1.0, 1.0)], {}, {(0, a, b): m for (a, b), m in found.maps.items()}).reach(
            0, 2, torch.tensor([[29.5, 29.5]])
        )
    )
    assert {int(planes[0]) for _, planes, _ in reached} == {1, 4}


def test_points_are_transferred_to_the_nearest_slice_of_other_volumes():
    links = Correspondences(
        [(6, 20, 20), (3, 40, 10)], [(5.0, 1.0, 1.0), (10.0, 0.5, 2.0)], {(0, 1): PointMap.translation([3, 1, 0])}
    )
    ((volume, planes, pixels),) = links.reach(0, 3, torch.tensor([[4.0, 7.0]]))
    # 17.5 + 3 mm is within plane 2; row 4.5 + 1 mm at .5 mm is pixel 10.5; column 7.5 mm at 2 mm is pixel 3.25.
    assert (volume, planes.tolist(), pixels.tolist()) == (1, [2], [[10.5, 3.25]])
    assert list(links.reach(1, 0, torch.zeros(1, 2))) == []
    outside = Correspondences(links.shapes, links.spacings, {(0, 1): PointMap.translation([90, 0, 0])})
    ((_, planes, _),) = outside.reach(0, 3, torch.tensor([[4.0, 7.0]]))
    assert planes.tolist() == [-1]
