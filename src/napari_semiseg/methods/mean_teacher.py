"""MT: a student is consistent with the average of its own past (T§4.4; methods.md 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.contrast import CertaintyGuided, contrast_of
from napari_semiseg.methods.teacher import Taught, noisy, says


class MeanTeacher(Taught):
    """U-Net16 whose teacher sees the same images with noise."""

    name: ClassVar[str] = "mean_teacher"
    title: ClassVar[str] = "Mean teacher"
    summary: ClassVar[str] = (
        "A U-Net learns from the labelled slices, and on the rest from a steadier average of its own past."
    )

    quiet: float = Field(0.033, ge=0, le=1, description="Part of the run before the teacher is listened to")
    contrast: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Weight of contrast of features, guided by the teacher's certainty; 0.001 is usual",
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build student and teacher, and the contrast's projectors and banks where it has a weight."""
        built = super().networks(setup)
        if self.contrast > 0:
            built["contrast"] = contrast_of({"student": built["student"]}, setup)
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup, w(t)·L_con and the contrast."""
        output = networks["student"](batch.image)
        losses = {"supervised": terms.supervised(output.logits, batch)}
        weight = self.weight(batch, progress) if progress >= self.quiet else 0.0
        if weight > 0:
            chosen = terms.open_samples(batch)
            losses["consistency"] = weight * teacher_consistency(
                networks["teacher"], output.logits[chosen], batch.only(chosen)
            )
        if self.contrast > 0:
            guides = {"student": says(networks["teacher"], batch.image)}
            losses["contrast"] = self.contrast * networks["contrast"]({"student": output}, guides, batch, progress)
        return losses

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the student's."""
        rate = Rate(self.learning_rate)
        return {"student": rate} | ({"contrast": rate} if self.contrast > 0 else {})

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Begin as the student, and flush the banks."""
        super().after_warm_start(networks)
        if self.contrast > 0:
            cast(CertaintyGuided, networks["contrast"]).clear()


def teacher_consistency(teacher: nn.Module, logits: Tensor, batch: Batch) -> Tensor:
    """L_con: mean (p_s(x) − sg p_t(x+n))² where nothing is said.

    Parameters
    ----------
    teacher : Module
    logits : Tensor, shape (B, C, H, W)
        The student's.
    batch : Batch
    """
    target = terms.possible(says(teacher, noisy(batch.image)), batch).float().softmax(dim=1)
    return terms.mean_square(logits.float().softmax(dim=1), target, batch.unsaid)
