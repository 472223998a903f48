"""Training and predicting with where a random walk carries the annotated planes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.sampling import PlaneSampler
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.engine.auto import choose_method
from napari_semiseg.engine.control import LocalControl
from napari_semiseg.engine.events import Finished, Notice, Preparing, StepDone
from napari_semiseg.engine.guides import guide_of
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.maps import join
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import predict_volume, working_image
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError
from napari_semiseg.regions.guidance import make_guide

SETTINGS = {"context": 1, "crop": 64, "labelled_batch": 2, "unlabelled_batch": 2}


@pytest.fixture
def tube() -> tuple[TrainingVolume, np.ndarray]:
    """A tube that cannot be told from its surroundings by intensity alone: two like it stand beside it."""
    planes, rows, columns = np.indices((9, 48, 48))
    discs = [np.hypot(rows - 24 - (planes - 4), columns - x) < 6 for x in (10, 24, 38)]
    truth = discs[1].astype(np.uint8)
    image = sum(discs) + np.random.default_rng(0).normal(0, 0.1, truth.shape)
    labels = np.full_like(truth, UNSAID)
    labels[[1, 4, 7]] = truth[[1, 4, 7]]
    return TrainingVolume("tube", image.astype(np.float32), (4.0, 1.0, 1.0), labels), truth


def losses(events: list) -> list[dict[str, float]]:
    return [event.losses for event in events if isinstance(event, StepDone)]


def saved(keeper: MemoryKeeper, folder: Path) -> Model:
    for name in ("model.safetensors", "model.json"):
        (folder / name).write_bytes(keeper.files[name])
    return Model.load(folder)


def learn(volume: TrainingVolume, steps: int, keeper: MemoryKeeper, beyond: str = "background", **kwargs) -> list:
    settings = {**SETTINGS, "beyond": beyond}
    plan = Plan(method="walk_teaching", steps=steps, settings=settings, precision="float32", device="cpu")
    return list(train([volume], (0, 1), plan, keeper=keeper, **kwargs))


def test_the_walk_tells_how_far_it_is_before_the_first_step(tube):
    volume, _ = tube
    events = learn(volume, 1, MemoryKeeper())
    parts = [event.progress for event in events if isinstance(event, Preparing)]
    assert parts[0] == 0
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1)
    first = next(i for i, event in enumerate(events) if isinstance(event, StepDone))
    assert not any(isinstance(event, Preparing) for event in events[first:])


def test_a_stop_during_the_walk_learns_nothing(tube):
    volume, _ = tube
    control, keeper, seen = LocalControl(), MemoryKeeper(), []
    plan = Plan(method="walk_teaching", steps=5, settings=SETTINGS, precision="float32", device="cpu")
    for event in train([volume], (0, 1), plan, keeper=keeper, control=control):
        seen.append(event)
        if isinstance(event, Preparing):
            control.stop()
    assert sum(isinstance(event, Preparing) for event in seen) == 1
    assert not losses(seen)
    assert seen[-1].reason == "stopped"
    assert "model.safetensors" not in keeper.files


def test_the_prediction_follows_the_annotated_structure_from_the_first_steps(tube):
    volume, truth = tube
    keeper = MemoryKeeper()
    events = learn(volume, 20, keeper)
    assert isinstance(events[-1], Finished)
    maps = keeper.predictions["tube"]
    between = [2, 3, 5, 6]
    overlap = 2 * (maps.labels[between] & truth[between]).sum() / (maps.labels[between].sum() + truth[between].sum())
    assert overlap > 0.8
    assert maps.disagreement is not None
    assert maps.disagreement[between].max() > 0
    assert maps.labels[[0, 8]].max() == 0
    assert not any(isinstance(e, Notice) and "end at" in e.text for e in learn(volume, 1, keeper, beyond="network"))
    maps = keeper.predictions["tube"]
    assert maps.disagreement[[0, 8]].max() == 0  # beyond the annotated planes there is nobody to disagree with


def test_it_says_where_structures_are_taken_to_end(tube):
    volume, _ = tube
    notices = [e.text for e in learn(volume, 1, MemoryKeeper()) if isinstance(e, Notice)]
    assert any("end at slice 1 and slice 7;" in text for text in notices)


def test_resuming_is_exact(tube, tmp_path):
    volume, _ = tube
    whole, begun, rest = MemoryKeeper(), MemoryKeeper(), MemoryKeeper()
    expected = losses(learn(volume, 6, whole))
    control = LocalControl()
    found = []
    plan = Plan(method="walk_teaching", steps=6, settings=SETTINGS, precision="float32", device="cpu")
    for event in train([volume], (0, 1), plan, keeper=begun, control=control):
        found += losses([event])
        if len(found) == 3:
            control.stop()
    state = {name: begun.files[name] for name in ("state.safetensors", "state.json")}
    found += losses(learn(volume, 6, rest, start=saved(begun, tmp_path), resume=state))
    assert found == expected
    assert np.array_equal(rest.predictions["tube"].probabilities, whole.predictions["tube"].probabilities)


def test_the_model_segments_volumes_without_any_annotation(tube, tmp_path):
    volume, _ = tube
    keeper = MemoryKeeper()
    learn(volume, 2, keeper)
    model = saved(keeper, tmp_path)
    bare = join([maps for _, maps in predict_volume(model, volume.image, volume.spacing)])
    unsaid = np.full_like(volume.labels, UNSAID)
    same = join([maps for _, maps in predict_volume(model, volume.image, volume.spacing, labels=unsaid)])
    helped = join([maps for _, maps in predict_volume(model, volume.image, volume.spacing, labels=volume.labels)])
    assert np.array_equal(bare.probabilities, same.probabilities)
    assert not np.array_equal(bare.probabilities, helped.probabilities)
    assert helped.disagreement.shape == bare.disagreement.shape == volume.image.shape


def test_prediction_is_the_mean_of_network_and_walk_where_the_guide_covers(tube, tmp_path):
    volume, _ = tube
    keeper = MemoryKeeper()
    learn(volume, 2, keeper)
    model = saved(keeper, tmp_path)
    for parameter in model.networks.parameters():
        parameter.data.zero_()  # the network now says ½ everywhere
    maps = join([m for _, m in predict_volume(model, volume.image, volume.spacing, labels=volume.labels)])
    working = working_image(model, volume.image, volume.spacing)
    guide = guide_of(model, working, torch.from_numpy(volume.labels))
    walk = guide.probabilities[3, 1].numpy() / 255
    assert np.allclose(maps.probabilities[1, 3] / 255, (0.5 + walk) / 2, atol=0.005)
    assert np.allclose(maps.disagreement[3] / 255, np.abs(walk - 0.5), atol=0.005)
    assert np.allclose(maps.probabilities[:, 4] / 255, 0.5, atol=0.005)  # an annotated plane: the network alone


def test_unlabelled_samples_come_with_what_the_walk_says_of_them(tube):
    volume, _ = tube
    image, labels = torch.from_numpy(volume.image), torch.from_numpy(volume.labels)
    guide = make_guide(image, labels, 2)
    guided = WorkingVolume("tube", image, labels, 4.0, frozenset(), guide=guide)
    bare = WorkingVolume("bare", image, torch.full_like(labels, UNSAID), 4.0, frozenset())
    still = Augmentation(turns=False, rotation=0)
    sampler = PlaneSampler([guided, bare], labelled=2, unlabelled=30, crop=64, carried=2, strength=still, seed=0)
    batch = sampler.batch()
    assert batch.carried.shape == (32, 2, 64, 64)
    for index, (v, plane) in enumerate(zip(batch.volume.tolist(), batch.plane.tolist(), strict=True)):
        shown = batch.carried[index, :, batch.inside[index]].reshape(2, 48, 48)
        worth = v == 0 and bool(guide.covers[plane])
        assert torch.allclose(shown, guide.probabilities[plane] / 255 * worth, atol=1e-3)
    assert PlaneSampler([guided], labelled=2, unlabelled=2, crop=64, strength=still).batch().carried is None


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("labelled", "classes", "expected"),
    [
        ([1, 4, 7], 2, "walk_teaching"),
        ([4], 2, "mcscv2"),  # nothing can be carried from one slice
        ([1, 4, 7], 40, "mcscv2"),
        (range(9), 2, "bcll"),
    ],
)
def test_auto_chooses_by_what_is_there(tube, labelled, small, classes, expected):
    volume, truth = tube
    labels = np.full_like(truth, UNSAID)
    labels[list(labelled)] = truth[list(labelled)]
    chosen = TrainingVolume("tube", volume.image, volume.spacing, labels)
    name, reason = choose_method([chosen], classes, small=small)
    assert name == expected
    assert f"{len(labelled)} of 9 slices" in reason


def test_models_of_the_first_version_are_read(tube, tmp_path):
    volume, _ = tube
    keeper = MemoryKeeper()
    plan = Plan(method="supervised", steps=1, settings={"crop": 64}, precision="float32", device="cpu")
    list(train([volume], (0, 1), plan, keeper=keeper))
    saved(keeper, tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    description["settings"] |= {"guidance": False, "beyond": "background"}
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert Model.load(tmp_path).method.name == "supervised"
    description["settings"]["guidance"] = True  # its network saw the walk
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="replaced by walk_teaching; train a new round"):
        Model.load(tmp_path)
