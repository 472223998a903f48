"""Dual stream: confident disagreement is penalised, unsure voxels are drawn to class prototypes (D; methods.md 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.prototypes import (
    attraction,
    disagreement_loss,
    prototypes,
    reliable,
    repulsion,
    some_of_each,
)
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.losses.supervised import cross_entropy, dice_loss, entropy
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Setup
from napari_semiseg.methods.two_streams import STREAMS, TwoStreams
from napari_semiseg.networks.output import NetworkOutput

_KEPT = 0.9  # of remembered prototypes at every step


class PrototypeMemory(nn.Module):
    """Prototypes of earlier steps, one set for each network, for classes of which a batch shows nothing reliable."""

    centres: Tensor
    known: Tensor

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(len(STREAMS), classes, channels))
        self.register_buffer("known", torch.zeros(len(STREAMS), classes, dtype=torch.bool))

    def completed(self, network: int, centres: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch's prototypes with remembered ones where it has none, and remember them."""
        all_known = known | self.known[network]
        whole = torch.where(known[:, None], centres, self.centres[network])
        if self.training:
            mixed = _KEPT * self.centres[network] + (1 - _KEPT) * centres.detach()
            fresh = torch.where(self.known[network][:, None], mixed, centres.detach())
            self.centres[network] = torch.where(known[:, None], fresh, self.centres[network])
            self.known[network] = all_known
        return whole, all_known

    def forget(self) -> None:
        """Go back to the beginning."""
        self.centres.zero_()
        self.known.zero_()


class DualStream(TwoStreams):
    """A V-Net and a residual network; the better one's certain voxels teach, its uncertain ones follow prototypes."""

    name: ClassVar[str] = "dual_stream"
    title: ClassVar[str] = "Dual stream with prototypes"
    summary: ClassVar[str] = (
        "Two different networks of volumes; the better one teaches where it is certain, and uncertain voxels are drawn "
        "to what is typical of their class, in 3D."
    )

    unsupervised: float = Field(1.0, ge=0, le=10, description="Weight of what the networks teach each other")
    unsupervised_ramp: bool = Field(True, description="That weight grows over the run instead of being constant")
    contrast: float = Field(0.1, ge=0, le=10, description="Final weight of the contrast with class prototypes")
    unreliable: float = Field(0.2, ge=0, lt=1, description="Part of unlabelled voxels that is too uncertain to teach")
    confidence: float = Field(0.6, ge=0, lt=1, description="Probability above which disagreement is penalised")
    final_confidence: float = Field(0.6, ge=0, lt=1, description="The same at the end of the run")

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        **{name: dict(values) for name, values in TwoStreams.presets.items()},
        "paper": {**TwoStreams.presets["paper"], "unsupervised_ramp": False},
    }

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build both networks, what remembers the better one, and remembered prototypes."""
        built = super().networks(setup)
        built["prototypes"] = PrototypeMemory(setup.classes, self.width)
        return built

    def mutual_losses(
        self, networks: nn.ModuleDict, outputs: Sequence[NetworkOutput], winner: int, batch: Batch, progress: float
    ) -> dict[str, Tensor]:
        """Return λ_u·L_u of the loser, λ_u·L_reg of both, and λ_c·L_c of the loser (D-eq 2 to 7)."""
        mask = batch.unsaid
        if not mask.any():
            return {}
        logits = [output.logits for output in outputs]
        teacher = terms.possible(logits[winner], batch)
        pseudo = teacher.argmax(dim=1)
        sure = reliable(entropy(teacher), mask, self.unreliable)
        losses: dict[str, Tensor] = {}
        weight = self.unsupervised * (ramp_up(progress) if self.unsupervised_ramp else 1.0)
        if weight > 0:
            taught, label = logits[1 - winner], torch.where(sure, pseudo, 255)
            losses["loser from winner"] = weight * (cross_entropy(taught, label) + dice_loss(taught, label))
            confidence = self.confidence + (self.final_confidence - self.confidence) * progress
            losses["disagreement"] = weight * disagreement_loss(logits, mask, confidence)
        if self.contrast > 0:
            memory = cast(PrototypeMemory, networks["prototypes"])
            features = outputs[1 - winner].features["full"].movedim(1, -1)
            pull = _prototype_loss(features, pseudo, sure, mask & ~sure, memory, 1 - winner)
            losses["prototypes"] = prototype_weight(self.contrast, progress) * pull
        return losses

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Let the networks compete anew and forget prototypes."""
        super().after_warm_start(networks)
        cast(PrototypeMemory, networks["prototypes"]).forget()


def prototype_weight(final: float, progress: float) -> float:
    """λ_c = λ·exp(−4(1−t/T)²); the print lacks the minus sign, with which it grows instead of falling from 5.46."""
    return final * math.exp(-4.0 * (1.0 - progress) ** 2)


def _prototype_loss(
    features: Tensor, pseudo: Tensor, sure: Tensor, unsure: Tensor, memory: PrototypeMemory, network: int
) -> Tensor:
    """L_c of one network: unsure voxels are drawn to prototypes of their class, prototypes are driven apart.

    Parameters
    ----------
    features : Tensor, shape (B, …, channels)
    pseudo : Tensor of int64, shape (B, …)
    sure, unsure : Tensor of bool, shape (B, …)
    memory : PrototypeMemory
    network : int
        Index of the network that the features come from.
    """
    classes = memory.known.shape[1]
    centres, known = memory.completed(network, *prototypes(features[sure], pseudo[sure], classes))
    if int(known.sum()) < 2:
        return 0.0 * features.float().sum()
    chosen = some_of_each(pseudo[unsure], classes)
    return attraction(features[unsure][chosen], pseudo[unsure][chosen], centres, known) + repulsion(centres, known)
