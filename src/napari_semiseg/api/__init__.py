"""The main job as functions: what the command line does, for scripts and notebooks.

Every function takes and returns plain Python values and raises `napari_semiseg.errors.InputError` with one clear
sentence when something given cannot be used. Functions import torch and the session when they need them, so importing
this package is cheap.
"""

from napari_semiseg.api.catalogue import info, list_methods
from napari_semiseg.api.finished import benchmark
from napari_semiseg.api.models import predict, train
from napari_semiseg.api.results import compare, evaluate, export, measure, restore, rounds, suggest
from napari_semiseg.api.sessions import Source, classes, hold_out, new

__all__ = [
    "Source",
    "benchmark",
    "classes",
    "compare",
    "evaluate",
    "export",
    "hold_out",
    "info",
    "list_methods",
    "measure",
    "new",
    "predict",
    "restore",
    "rounds",
    "suggest",
    "train",
]
