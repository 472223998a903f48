"""Starting the networks of one method from those of another, by name and shape (methods.md 10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from napari_semiseg.engine.model import LEAST_SHARE, Model
from napari_semiseg.errors import InputError


@dataclass(frozen=True)
class Pretrained:
    """A model that the networks of a run start from.

    Attributes
    ----------
    model : Model
    origin : str
        Where it comes from, such as ``"round 2"``.
    demanded : bool
        Whether somebody asked for it by name; then it is an error if nothing of it fits.
    """

    model: Model
    origin: str
    demanded: bool = False

    def give_to(self, model: Model) -> str | None:
        """Copy every tensor of equal name and shape from network to network; heads, which know classes, stay fresh.

        Each network of ``model`` takes over from the network that fills most of it, whatever the two are called: a
        ``cnn`` starts from a ``unet``.

        Returns
        -------
        str or None
            A clause for the annotator, None where nothing fits.

        Raises
        ------
        InputError
            If nothing fits although it was asked for.
        """
        filled = [name for name in model.method.rates() if _fill(model, name, self.model)]
        if filled:
            model.method.after_warm_start(model.networks)
            return f"{', '.join(filled)} start{'s' if len(filled) == 1 else ''} pre-trained from {self.origin}"
        if self.demanded:
            raise InputError(
                f"The networks of {self.origin} ({self.model.method.name}) have no layers in common with those of "
                f"{model.method.name}; choose another method or another model to start from."
            )
        return None


def _fill(model: Model, name: str, source: Model) -> bool:
    """Let one network of a model take over what fits; return whether it was enough."""
    mine = model.networks[name].state_dict()
    classes = model.setup.classes
    shared = max((_shared(mine, network.state_dict(), classes) for network in source.networks.values()), key=_size)
    if not shared or _size(shared) < LEAST_SHARE * _size(mine):
        return False
    for key, value in shared.items():
        mine[key].copy_(value)
    return True


def _shared(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], classes: int) -> dict[str, Tensor]:
    return {
        key: theirs[key]
        for key, value in mine.items()
        if key in theirs
        and theirs[key].shape == value.shape
        and not ("head" in key.split(".") and len(value) == classes)
    }


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in tensors.values())
