"""The session folder. Knows neither Qt nor, until a run begins, torch."""

from __future__ import annotations

from napari_semiseg.session.annotation import Annotation, swap_unsaid
from napari_semiseg.session.places import default_folder, default_path
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.schema import LabelClass, SliceState, VolumeRecord
from napari_semiseg.session.session import Session

__all__ = [
    "Annotation",
    "LabelClass",
    "Round",
    "Session",
    "SliceState",
    "StoredPrediction",
    "VolumeRecord",
    "default_folder",
    "default_path",
    "swap_unsaid",
]
