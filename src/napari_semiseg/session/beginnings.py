"""Which earlier networks a new round begins with."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_semiseg.errors import InputError
from napari_semiseg.session.rounds import Round

if TYPE_CHECKING:
    from napari_semiseg.engine.plan import Plan


def beginnings(rounds: Sequence[Round], plan: Plan) -> tuple[int | None, str | None]:
    """Choose the round to continue and the pre-trained networks to start from.

    A plan that names pre-trained networks continues nothing. Otherwise the last round that segments is continued,
    unless a pre-training came after it: then its networks are wanted. They also are where the last round turns out to
    be one of another method. A pre-training continues the last pre-training.

    Parameters
    ----------
    rounds : sequence of Round
        In the order in which they count, the oldest first.
    plan : Plan

    Returns
    -------
    continues : int or None
        Number of the round.
    pretrained : str or None
        Number of a round, or path of a model that is none of this session's.

    Raises
    ------
    InputError
        If the plan names a round that does not exist or has no model, or a path where no model is.
    """
    if plan.pretrained:
        return None, _demanded(rounds, plan.pretrained)
    if not plan.warm_start:
        return None, None
    trained = [found for found in rounds if found.has_model]
    segmenting = next((found for found in reversed(trained) if found.segments), None)
    pretraining = next((found for found in reversed(trained) if not found.segments), None)
    if pretraining is None:
        return (None if segmenting is None else segmenting.number), None
    if plan.method == pretraining.config.get("plan", {}).get("method"):
        return pretraining.number, None
    newer = segmenting is not None and trained.index(segmenting) > trained.index(pretraining)
    return (segmenting.number if segmenting is not None and newer else None), str(pretraining.number)


def _demanded(rounds: Sequence[Round], name: str) -> str:
    if name.isdigit():
        if any(found.number == int(name) and found.has_model for found in rounds):
            return str(int(name))
        known = ", ".join(str(found.number) for found in rounds if found.has_model) or "none"
        raise InputError(f"There is no round {int(name)} with a model to start from; rounds with one: {known}.")
    if not Path(name).exists():
        raise InputError(f"{name} does not exist; give the number of a round or the path of a model to start from.")
    return _round_with(rounds, Path(name)) or str(Path(name).absolute())


def _round_with(rounds: Sequence[Round], model: Path) -> str | None:
    """Return the number of the round whose model, or a copy of it, is at a path: what it learned from is known."""
    weights = model / "model.safetensors" if model.is_dir() else model.with_suffix(".safetensors")
    for found in rounds:
        mine = found.path / "model.safetensors"
        if found.has_model and weights.is_file() and filecmp.cmp(weights, mine, shallow=False):
            return str(found.number)
    return None
