"""MCF: two networks correct each other (methods.md 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.two_streams import STREAMS, TwoStreams
from napari_semiseg.networks.output import NetworkOutput


class MutualCorrection(TwoStreams):
    """A V-Net and a residual network, corrected where they differ on labels; elsewhere the better one teaches."""

    name: ClassVar[str] = "mcf"
    title: ClassVar[str] = "Mutual correction of two networks"
    summary: ClassVar[str] = (
        "Two different networks of volumes; the one that fits the labels better teaches the other one the rest, in 3D."
    )

    correction: float = Field(
        0.5, ge=0, le=10, description="Weight of the correction towards labels where the networks differ"
    )
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of what the better network teaches")
    sharpening: float = Field(0.1, gt=0, le=1, description="Temperature that makes the teacher's predictions certain")

    def mutual_losses(
        self, networks: nn.ModuleDict, outputs: Sequence[NetworkOutput], winner: int, batch: Batch, progress: float
    ) -> dict[str, Tensor]:
        """Return the corrections on labelled voxels, and w(t)·MSE of the loser to the winner elsewhere."""
        logits = [output.logits for output in outputs]
        losses: dict[str, Tensor] = {}
        differ = batch.said & (logits[0].argmax(dim=1) != logits[1].argmax(dim=1))
        if self.correction > 0 and batch.said.any():
            known = torch.where(batch.said, batch.label, 0)
            truth = functional.one_hot(known, logits[0].shape[1]).movedim(-1, 1).float()
            for name, each in zip(STREAMS, logits, strict=True):
                probabilities = each.float().softmax(dim=1)
                losses[f"{name} correction"] = self.correction * terms.mean_square(probabilities, truth, differ)
        weight = terms.consistency_weight(self.consistency, progress)
        if weight > 0 and batch.unsaid.any():
            target = terms.sharpened(logits[winner], batch, self.sharpening)
            taught = logits[1 - winner].float().softmax(dim=1)
            losses["loser from winner"] = weight * terms.mean_square(taught, target, batch.unsaid)
        return losses
