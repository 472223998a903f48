"""A method as small as a method can be, to test the loop and not the networks."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup


class Toy(Method):
    """One convolution with dropout; a buffer that counts steps stands for banks and teachers."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    summary: ClassVar[str] = "For tests."
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar = {"paper": {}, "product": {}, "product-small": {}}

    crop: int = Field(32, ge=32, le=64)
    fail_at: int = Field(-1, ge=-1)
    labelled_batch: int = Field(2, ge=1)
    unlabelled_batch: int = Field(2, ge=0)

    def networks(self, setup: Setup) -> nn.ModuleDict:
        body = nn.Sequential(
            nn.Conv2d(setup.channels, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, setup.classes, 1)
        )
        counter = nn.Module()
        counter.register_buffer("count", torch.zeros(()))
        return nn.ModuleDict({"net": body, "counter": counter})

    def losses(self, networks: nn.ModuleDict, batch, progress: float) -> dict[str, Tensor]:
        logits = networks["net"](batch.image)
        if int(networks["counter"].count) == self.fail_at:
            networks["counter"].count += 1
            logits = logits * float("nan")
        return {"supervised": terms.supervised(logits, batch)}

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        return [networks["net"](image)]

    def rates(self):
        return {"net": Rate(0.02)}

    def after_step(self, networks: nn.ModuleDict, step: int) -> None:
        networks["counter"].count += 1

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        networks["counter"].count.zero_()

    def strength(self) -> Augmentation:
        return Augmentation(turns=True, rotation=20, contrast=0.2, noise=0.1)
