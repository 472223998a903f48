"""The guide of a volume as a model wants it: on its working grid, or none."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from torch import Tensor

from napari_semiseg.data.guide import Guide
from napari_semiseg.engine.model import Model
from napari_semiseg.regions.guidance import guiding
from napari_semiseg.steps import completed


def guide_of(model: Model, working: Tensor, labels: Tensor, unsought: frozenset[int] = frozenset()) -> Guide | None:
    """Return the guide of a volume: `guiding_of`, to its end."""
    return completed(guiding_of(model, working, labels, unsought))


def guiding_of(
    model: Model, working: Tensor, labels: Tensor, unsought: frozenset[int] = frozenset()
) -> Generator[float, None, Guide | None]:
    """Make the guide of a volume on the working grid; None where the model does without.

    Parameters
    ----------
    model : Model
    working : Tensor of float32, shape (planes, rows, columns)
    labels : Tensor of uint8, same shape
        Class indices, 255 not said.
    unsought : frozenset of int
        Class indices for which a label of 0 may stand besides background.

    Yields
    ------
    float
        Which part is done, 0…1.
    """
    if not model.method.walks:
        return None
    guide = yield from guiding(working, labels, model.setup.classes, closed=model.method.closed)
    return None if guide is None else replace(guide, unsought=unsought)
