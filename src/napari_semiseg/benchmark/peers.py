"""What is compared: each peer is one function from annotated volumes to segmented ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg import methods
from napari_semiseg.benchmark.forest import segment_by_forest
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.maps import Maps
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.errors import InputError
from napari_semiseg.regions.between import Means, fill_between
from napari_semiseg.regions.propagation import random_walker


@dataclass(frozen=True)
class Task:
    """What every peer gets.

    Attributes
    ----------
    volumes : sequence of TrainingVolume
        Those without any label are only to be segmented.
    budget : mapping of str to float
        ``minutes`` or ``steps`` of peers that train.
    seed : int
    start : Model or None
        What the same peer learned in the round before.
    options : mapping
        ``device``, ``threads`` and ``settings`` of peers that train.
    tell : callable
        Hears how far it is, 0 to 1.
    """

    volumes: Sequence[TrainingVolume]
    budget: Mapping[str, float]
    seed: int = 0
    start: Model | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[float], object] = lambda progress: None


@dataclass(frozen=True)
class Outcome:
    """What a peer returns.

    Attributes
    ----------
    maps : mapping of str to Maps
        Prediction by volume id, class indices; a volume that the peer cannot segment is missing.
    model : Model or None
        To go on from in the next round.
    note : str
        What was chosen and why, or why it failed.
    failed : bool
    """

    maps: Mapping[str, Maps]
    model: Model | None = None
    note: str = ""
    failed: bool = False


Peer = Callable[[Task], Outcome]


def network(method: str, **plan: Any) -> Peer:
    """Return the peer that trains a method of this package."""

    def run(task: Task) -> Outcome:
        # A class that no annotated slice shows cannot be learned.
        known = np.unique(np.concatenate([np.unique(volume.labels) for volume in task.volumes]))
        indices = [0, *(int(i) for i in known if i not in (0, UNSAID))]
        table = np.full(256, UNSAID, np.uint8)
        table[indices] = np.arange(len(indices))
        volumes = [_relabelled(volume, table) for volume in task.volumes]
        keeper, note = MemoryKeeper(), ""
        asked = Plan(method=method, seed=task.seed, **{**task.budget, **task.options, **plan})
        for event in train(volumes, indices, asked, keeper=keeper, start=task.start):
            if isinstance(event, events.Started):
                note = event.reason
            elif isinstance(event, events.StepDone):
                task.tell(event.progress)
        return Outcome(keeper.predictions, _loaded(keeper), note)

    return run


def _relabelled(volume: TrainingVolume, table: np.ndarray) -> TrainingVolume:
    return TrainingVolume(volume.id, volume.image, volume.spacing, table[volume.labels], volume.corrected)


def _loaded(keeper: MemoryKeeper) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("model.safetensors", "model.json"):
            (Path(folder) / name).write_bytes(keeper.files[name])
        return Model.load(folder)


def between(means: Means) -> Peer:
    """Return the peer that fills the slices between annotated ones; it cannot segment a volume without any."""

    def run(task: Task) -> Outcome:
        annotated = [volume for volume in task.volumes if volume.labelled_planes()]
        return Outcome({v.id: certain(fill_between(v.image, v.labels, v.spacing, means)) for v in annotated})

    return run


def walker(task: Task) -> Outcome:
    """Scikit-image's random walker with a penalty of 130, from everything that is annotated."""
    annotated = [volume for volume in task.volumes if volume.labelled_planes()]
    return Outcome({v.id: certain(random_walker(v.image, v.labels, v.spacing)[0]) for v in annotated})


def forest(task: Task) -> Outcome:
    """A random forest that classifies pixels by multi-scale features."""
    found = segment_by_forest(task.volumes, task.seed, task.options.get("threads") or None)
    return Outcome({v.id: certain(labels) for v, labels in zip(task.volumes, found, strict=True)})


def certain(labels: np.ndarray) -> Maps:
    """Return the maps of a peer that says nothing of its uncertainty."""
    return Maps(labels, np.zeros_like(labels), None, np.empty((0, *labels.shape), np.uint8))


PEERS: dict[str, Peer] = {
    "auto": network("auto"),
    "unet": network("supervised"),
    "cross_teaching": network("cross_teaching", preset="paper"),
    "walker": walker,
    "distance": between("distance"),
    "morphology": between("morphology"),
    "forest": forest,
}
"""By name: what the panel trains by default, the plain U-Net, cross teaching in the paper's form, scikit-image's random
walker, signed-distance and morphological interpolation, the random forest."""
DEFAULT_PEERS = ("auto", "unet", "walker", "distance", "morphology")
"""Those that need nothing but the core install and take no more than the budget."""


def peer_of(name: str) -> Peer:
    """Return a peer by its name, or by the name of any method.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name in PEERS:
        return PEERS[name]
    trainable = [method for method in methods.names() if methods.get(method).needs_labels]
    if name in trainable:
        return network(name)
    raise InputError(
        f"The peer {name!r} is unknown; choose among {', '.join(PEERS)}, or a method: {', '.join(trainable)}."
    )
