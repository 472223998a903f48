"""A method of volumes as small as one can be."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.volume import VolumeMethod


class Toy3D(VolumeMethod):
    """Convolutions of 3³ with dropout; the prediction counts the windows it is asked for."""

    name: ClassVar[str] = "toy3d"
    title: ClassVar[str] = "Toy in 3D"
    summary: ClassVar[str] = "For tests."
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar = {"paper": {}, "product": {}, "product-small": {}}
    windows: ClassVar[list[tuple[int, ...]]] = []

    crop: int = Field(32, ge=32, le=64)
    depth: int = Field(8, ge=8, le=64)
    labelled_batch: int = Field(2, ge=1)
    unlabelled_batch: int = Field(2, ge=0)

    def networks(self, setup: Setup) -> nn.ModuleDict:
        body = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Dropout3d(0.2), nn.Conv3d(8, setup.classes, 1)
        )
        return nn.ModuleDict({"net": body})

    def losses(self, networks: nn.ModuleDict, batch, progress: float) -> dict[str, Tensor]:
        return {"supervised": terms.supervised(networks["net"](batch.image), batch)}

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        assert not networks.training
        self.windows.append(tuple(image.shape[2:]))
        return [networks["net"](image)]

    def rates(self):
        return {"net": Rate(0.02)}


def blobs(planes=12, side=48, spacing=(2.0, 1.0, 1.0)):
    """Arrays of a bright ball on noise, its truth, and the spacing."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(torch.arange(planes), torch.arange(side), torch.arange(side), indexing="ij")
    far = sum(((axis - size / 2) / (size / 3)) ** 2 for axis, size in zip(axes, (planes, side, side), strict=True))
    truth = (far < 1).to(torch.uint8)
    image = 2.0 * truth + 0.4 * torch.randn(truth.shape, generator=generator)
    return image.numpy(), truth.numpy(), spacing
