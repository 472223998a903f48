"""DCT: consistency under quarter-turns (T§4.4, in the form of SSL4MIS; methods.md 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.methods.teacher import PAPER, SMALL


class TurnConsistency(Method):
    """U-Net16 whose prediction of a turned image is its turned prediction."""

    name: ClassVar[str] = "dct"
    title: ClassVar[str] = "Consistency under turns"
    summary: ClassVar[str] = (
        "A U-Net learns from the labelled slices, and on the rest that a turned slice is segmented alike."
    )
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER, "product": {}, "product-small": SMALL}

    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the consistency under turns")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the U-Net."""
        return nn.ModuleDict({"unet": nets.build("unet16", setup.channels, setup.classes)})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup and w(t)·L_con."""
        logits = networks["unet"](batch.image).logits
        losses = {"supervised": terms.supervised(logits, batch)}
        weight = terms.consistency_weight(self.consistency, progress)
        if weight > 0 and batch.unsaid.any():
            chosen = terms.open_samples(batch)
            losses["consistency"] = weight * turn_consistency(
                networks["unet"], logits[chosen], batch.only(chosen), draw_turns(batch.image)
            )
        return losses

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the U-Net's logits."""
        return [networks["unet"](image).logits]

    def rates(self) -> Mapping[str, Rate]:
        """Return the U-Net's learning rate."""
        return {"unet": Rate(self.learning_rate)}


def draw_turns(image: Tensor) -> int:
    """Draw k of 0…3 quarter-turns, 0 or 2 where images are not square."""
    height, width = image.shape[-2:]
    return int(torch.randint(4, ())) if height == width else 2 * int(torch.randint(2, ()))


def turn_consistency(network: nn.Module, logits: Tensor, batch: Batch, turns: int) -> Tensor:
    """L_con = ½[MSE(sg q, rot p) + MSE(q, sg rot p)] where nothing is said, q the prediction of the turned images.

    Parameters
    ----------
    network : Module
    logits : Tensor, shape (B, C, H, W)
        Its logits of the images as they are, from which p.
    batch : Batch
    turns : int
        Quarter-turns.
    """

    def turned(values: Tensor) -> Tensor:
        return torch.rot90(values, turns, dims=(-2, -1))

    other_logits = network(turned(batch.image)).logits
    other, own = (values.float().softmax(dim=1) for values in (other_logits, turned(logits)))
    where = turned(batch.unsaid)
    towards_own = terms.mean_square(other, own.detach(), where)
    towards_other = terms.mean_square(own, other.detach(), where)
    return 0.5 * (towards_own + towards_other)
