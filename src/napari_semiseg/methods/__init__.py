"""Methods by name. Third parties add theirs through the entry-point group ``napari_semiseg.methods``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from napari_semiseg.errors import InputError
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.methods.bcll import BoundaryContrast
from napari_semiseg.methods.cct import CrossConsistency
from napari_semiseg.methods.cct_r import RegisteredTeaching
from napari_semiseg.methods.cps import CrossPseudoSupervision
from napari_semiseg.methods.cross_teaching import CrossTeaching
from napari_semiseg.methods.dct import TurnConsistency
from napari_semiseg.methods.dual_stream import DualStream
from napari_semiseg.methods.fba_net import ForegroundContrast
from napari_semiseg.methods.ict import InterpolationConsistency
from napari_semiseg.methods.lrc import RegionPreTraining
from napari_semiseg.methods.mc_net import MutualConsistency
from napari_semiseg.methods.mcf import MutualCorrection
from napari_semiseg.methods.mcsc import PatchContrast
from napari_semiseg.methods.mcscv2 import CertaintyContrast
from napari_semiseg.methods.mean_teacher import MeanTeacher
from napari_semiseg.methods.supervised import Supervised
from napari_semiseg.methods.uamt import UncertaintyAwareTeacher
from napari_semiseg.methods.walk_teaching import WalkTeaching

__all__ = ["Method", "Rate", "Setup", "get", "names"]

_OWN = (
    Supervised,
    MeanTeacher,
    UncertaintyAwareTeacher,
    InterpolationConsistency,
    TurnConsistency,
    CrossConsistency,
    CrossPseudoSupervision,
    CrossTeaching,
    BoundaryContrast,
    PatchContrast,
    CertaintyContrast,
    RegisteredTeaching,
    RegionPreTraining,
    ForegroundContrast,
    MutualConsistency,
    MutualCorrection,
    DualStream,
    WalkTeaching,
)


@cache
def _registry() -> dict[str, type[Method]]:
    found: dict[str, type[Method]] = {method.name: method for method in _OWN}
    for entry in entry_points(group="napari_semiseg.methods"):
        method = entry.load()
        found.setdefault(method.name, method)
    return found


def names() -> list[str]:
    """Return the names of all methods, ``auto`` not among them."""
    return list(_registry())


def get(name: str) -> type[Method]:
    """Return the method of a name.

    Raises
    ------
    InputError
        For an unknown name; the message lists the valid ones.
    """
    try:
        return _registry()[name]
    except KeyError:
        valid = ", ".join(["auto", *names()])
        raise InputError(f"There is no method {name!r}; choose one of {valid}.") from None
