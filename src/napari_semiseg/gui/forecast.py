"""What ``auto`` would choose, told without loading torch."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.engine.auto import choose_method
from napari_semiseg.session import SliceState
from napari_semiseg.session.annotation import SILENT

_SAID = {
    SliceState.UNLABELLED: (UNSAID,) * 4,
    SliceState.PROPOSED: (UNSAID,) * 4,
    SliceState.SCRIBBLED: (0, UNSAID, UNSAID, UNSAID),
    SliceState.COMPLETE: (0,) * 4,
    SliceState.REVIEWED: (0,) * 4,
}


def sees_gpu() -> bool:
    """Return whether the machine seems to have a GPU for training: NVIDIA's tools, or an Apple processor."""
    return shutil.which("nvidia-smi") is not None or (platform.system() == "Darwin" and platform.machine() == "arm64")


def auto_sentence(states: Sequence[Sequence[SliceState]], classes: int, *, small: bool) -> str:
    """Return what would be chosen for volumes with these slice states, and why.

    The choice looks only at which share of each slice is labelled, so miniatures of the volumes suffice.
    """
    if not any(state not in SILENT for volume in states for state in volume):
        return "Picks the method by what is annotated and by this machine."
    volumes = [
        TrainingVolume(
            id=str(index),
            image=np.zeros((len(volume), 1, 4), np.uint8),
            spacing=(1.0, 1.0, 1.0),
            labels=np.array([_SAID[state] for state in volume], np.uint8)[:, np.newaxis],
        )
        for index, volume in enumerate(states)
    ]
    name, reason = choose_method(volumes, classes, small=small)
    return f"Would pick {name}: {reason}."
