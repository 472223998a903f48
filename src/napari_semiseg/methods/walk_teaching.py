"""A network and a random walk teach: where structures must be, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.guide import shared_out
from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.schedules import ramp_up
from napari_semiseg.losses.supervised import merged_group, soft_cross_entropy, soft_dice_loss
from napari_semiseg.methods import terms
from napari_semiseg.methods.teacher import Taught, says


class WalkTeaching(Taught):
    """U-Net16 that learns on unlabelled slices from a random walk and from its own average (decision 5).

    It is cross teaching in which one teacher is the propagation: the walk knows where structures must be, the network
    what they look like, and they err in different places.
    """

    name: ClassVar[str] = "walk_teaching"
    title: ClassVar[str] = "Taught by a random walk"
    summary: ClassVar[str] = (
        "A U-Net learns from the labelled slices, and on the rest from where a random walk carries them and from an "
        "average of its own past."
    )
    walks: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "product": {},
        "product-small": {"crop": 160, "longest_side": 224, "labelled_batch": 4, "unlabelled_batch": 3},
    }

    consistency: float = Field(1.0, ge=0, le=10, description="Weight of what the walk and the teacher say")
    ema: float = Field(0.95, ge=0, lt=1, description="How slowly the teacher follows")
    quiet: float = Field(0.15, ge=0, le=1, description="Part of the run in which the walk teaches without the teacher")
    beyond: Literal["background", "network"] = Field(
        "background",
        description="What lies beyond the first and the last annotated slice of a volume: background, or what the "
        "network says",
    )

    @property
    def closed(self) -> bool:
        """Whether structures end at the outermost completely annotated slices."""
        return self.beyond == "background"

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup and ½(CE + Dice) against what walk and teacher say on average, where nothing is labelled."""
        logits = networks["student"](batch.image).logits
        losses = {"supervised": terms.supervised(logits, batch)}
        chosen = terms.open_samples(batch)
        if self.consistency > 0 and len(chosen):
            losses["consistency"] = self.consistency * self._taught(
                networks["teacher"], logits[chosen], batch.only(chosen), progress
            )
        return losses

    def _taught(self, teacher: nn.Module, logits: Tensor, batch: Batch, progress: float) -> Tensor:
        own = terms.possible(says(teacher, batch.image), batch).float().softmax(dim=1)
        target, weight = self.target(own, batch, progress)
        return 0.5 * (soft_cross_entropy(logits, target, weight) + soft_dice_loss(logits, target, weight))

    def target(self, own: Tensor, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
        """Return what is taught and how much it weighs.

        Parameters
        ----------
        own : Tensor, shape (B, C, H, W)
            Probabilities of the teacher.
        batch : Batch
        progress : float
            At first only the walk teaches, then both with half of the say. Where the walk says nothing, the teacher's
            weight grows from 0 as in `mean_teacher`.

        Returns
        -------
        target : Tensor, shape (B, C, H, W)
        weight : Tensor, shape (B, H, W)
        """
        carried = torch.zeros_like(own) if batch.carried is None else batch.carried
        walked = carried.sum(dim=1) > 0.5
        if batch.merged is not None:
            carried = shared_out(carried, own, merged_group(batch.merged, own).flatten(1))
        heard = progress >= self.quiet
        both = 0.5 * (carried + own) if heard else carried
        alone = ramp_up(progress) if heard else 0.0
        return (
            torch.where(walked[:, None], both, own),
            torch.where(walked, 1.0, alone) * batch.unsaid,
        )
