"""MC-Net and MC-Net+: decoders that enlarge in different ways should agree (methods.md 8, 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.volume import PAPER, SMALL, VolumeMethod
from napari_semiseg.networks.output import Network, NetworkOutput


class MutualConsistency(VolumeMethod):
    """One encoder, two or three decoders; each should say what the others say with more certainty."""

    name: ClassVar[str] = "mc_net"
    title: ClassVar[str] = "Mutual consistency of decoders"
    summary: ClassVar[str] = (
        "Decoders of one network that enlarge in different ways learn from the labels and from each other, in 3D."
    )
    uses_unlabelled: ClassVar[bool] = True
    works_on: ClassVar[tuple[int, ...]] = (3, 2)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER, "supervision": "dice", "consistency": 1.0, "ramp": 0.4},
        "product": {},
        "product-small": SMALL,
    }

    labelled_batch: int = Field(2, ge=1, le=256, description="Labelled samples per step")
    unlabelled_batch: int = Field(2, ge=0, le=256, description="Unlabelled samples per step")
    dimensions: Literal["3d", "2d"] = Field("3d", description="Whether it looks at patches of volumes or at planes")
    decoders: int = Field(2, ge=2, le=3, description="Decoders; two in MC-Net, three in MC-Net+")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    schedule: Literal["poly", "step", "constant"] = Field("poly", description="How the learning rate falls")
    supervision: Literal["ce_dice", "dice"] = Field(
        "ce_dice", description="Supervised loss of each decoder: half the sum of cross entropy and Dice, or half Dice"
    )
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the mutual consistency")
    ramp: float = Field(1.0, gt=0, le=1, description="Part of the run over which that weight grows")
    sharpening: float = Field(0.1, gt=0, le=1, description="Temperature that makes the others' predictions certain")
    predict_with: Literal["mean", "first"] = Field("mean", description="Whether all decoders predict or the first one")

    @property
    def spatial_axes(self) -> int:
        """By the setting ``dimensions``."""
        return 3 if self.dimensions == "3d" else 2

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the encoder with its decoders."""
        if self.spatial_axes == 3:
            kind, options = "vnet_decoders", {**self.network_options(setup), "decoders": self.decoders}
        else:
            channels = [self.width * 2**level for level in range(5)]
            upsampling = ("transposed", "bilinear", "nearest")[: self.decoders]
            kind, options = "unet_decoders", {"channels": channels, "upsampling": upsampling, "norm": self.norm}
        return nn.ModuleDict({"network": nets.build(kind, setup.channels, setup.classes, **options)})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the supervised losses of the decoders and their consistency."""
        return self.mutual_losses(networks["network"](batch.image), batch, progress)

    def mutual_losses(self, output: NetworkOutput, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_dice of every decoder and w_c(t)·L_consist (F-eq 8)."""
        logits = [decoder.logits for decoder in output.of_all_decoders]
        losses = {f"decoder {i + 1} supervised": self._supervised(each, batch) for i, each in enumerate(logits)}
        weight = self.consistency * ramp_up(progress / self.ramp)
        if weight > 0 and batch.unsaid.any():
            losses["consistency"] = weight * mutual_consistency(logits, batch, self.sharpening)
        return losses

    def _supervised(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.supervision == "dice":
            return 0.5 * terms.supervised_dice(logits, batch)
        return terms.supervised(logits, batch)

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of every decoder."""
        output = cast(Network, networks["network"])(image)
        return [decoder.logits for decoder in output.of_all_decoders]

    def shares(self) -> Sequence[float]:
        """Return whose prediction counts."""
        if self.predict_with == "first":
            return (1.0, *[0.0] * (self.decoders - 1))
        return (1 / self.decoders,) * self.decoders

    def rates(self) -> Mapping[str, Rate]:
        """Return the network's learning rate."""
        return {"network": Rate(self.learning_rate, schedule=self.schedule)}


def mutual_consistency(logits: Sequence[Tensor], batch: Batch, temperature: float = 0.1) -> Tensor:
    """Σ_{i≠j} MSE(p_i, sg sharpen(p_j)) over the decoders of a network, on whole samples (L_consist, F-eq 8).

    Parameters
    ----------
    logits : sequence of Tensor, shape (B, C, …)
        Of each of at least two decoders.
    batch : Batch
    temperature : float
    """
    probabilities = [each.float().softmax(dim=1) for each in logits]
    targets = [terms.sharpened(each, batch, temperature) for each in logits]
    pairs = permutations(range(len(logits)), 2)
    return torch.stack([terms.mean_square(probabilities[i], targets[j], batch.inside) for i, j in pairs]).sum()
