"""UAMT: mean teacher where the teacher is certain (T§4.4; UA-MT; methods.md 2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.registered import Registered
from napari_semiseg.methods.teacher import PAPER, SMALL, Taught, noisy, says


class UncertaintyAwareTeacher(Registered, Taught):
    """U-Net16 that agrees with its teacher where passes with noise and dropout agree with each other."""

    name: ClassVar[str] = "uamt"
    title: ClassVar[str] = "Uncertainty-aware mean teacher"
    summary: ClassVar[str] = (
        "As mean teacher, but the U-Net listens only where its teacher, asked several times, is certain."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER, "binary_constants": True},
        "product": {},
        "product-small": {**SMALL, "passes": 4},
    }

    passes: int = Field(8, ge=2, le=64, multiple_of=2, description="How often the teacher is asked how certain it is")
    binary_constants: bool = Field(
        False,
        description="Take the largest entropy and the divisor of two classes for any number, as the released code",
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build student and teacher, and what the contrast needs where it has a weight."""
        built = super().networks(setup)
        built.update(self.contrast_parts({"student": built["student"]}))
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup, w(t)·L_con, and the terms of registration that are on (T-Tab 6.3)."""
        output = networks["student"](batch.image)
        logits = output.logits
        losses = {"supervised": terms.supervised(logits, batch)}
        weight = self.weight(batch, progress)
        if weight > 0:
            chosen = terms.open_samples(batch)
            losses["consistency"] = weight * self.certain_consistency(
                networks["teacher"], logits[chosen], batch.only(chosen), progress
            )
        guides = {"student": says(networks["teacher"], batch.image)} if self.registered_contrast > 0 else {}
        return losses | self.registered_losses(networks, {"student": output}, guides, batch, progress)

    def certain_consistency(self, teacher: nn.Module, logits: Tensor, batch: Batch, progress: float) -> Tensor:
        """L_con = Σ v‖p_s − sg p_t‖² / (C·Σ v), v = [u < τ(t)] where nothing is said.

        Parameters
        ----------
        teacher : Module
        logits : Tensor, shape (B, C, H, W)
            The student's.
        batch : Batch
        progress : float
        """
        mean = torch.zeros_like(logits, dtype=torch.float32)
        twice = batch.image.repeat(2, 1, 1, 1)
        for _ in range(self.passes // 2):
            both = says(teacher, noisy(twice), dropout=True).float().softmax(dim=1)
            mean += sum(both.chunk(2)) / self.passes
        target = terms.possible(says(teacher, noisy(batch.image), dropout=True), batch).float().softmax(dim=1)
        uncertainty = -(mean * mean.clamp(min=1e-12).log()).sum(dim=1)
        classes = 2 if self.binary_constants else logits.shape[1]
        certain = batch.unsaid & (uncertainty < threshold(progress, math.log(classes)))
        return terms.mean_square(logits.float().softmax(dim=1), target, certain, classes)

    def rates(self) -> Mapping[str, Rate]:
        """Return the student's learning rate, which is that of the contrast's projectors, too."""
        return {**super().rates(), **self.contrast_rates(self.learning_rate)}


def threshold(progress: float, largest: float) -> float:
    """τ(t) = (0.75 + 0.25·exp(−5(1−t/T)²))·u_max."""
    return (0.75 + 0.25 * ramp_up(progress)) * largest
