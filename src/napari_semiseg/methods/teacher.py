"""Methods whose student follows a teacher that is the moving average of the student (methods.md 1.4, 2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.schedules import ema_decay
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.networks import Network

_NOISE, _LARGEST_NOISE = 0.1, 0.2


def teacher_of(student: nn.Module) -> nn.Module:
    """Return a copy without gradients, which `follow` keeps near the student."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """θ' ← decay·θ' + (1−decay)·θ for the weights that the teacher has; buffers are copied.

    Running statistics are an average over steps already, and those of other weights than the teacher's would be wrong
    anyway, so the teacher takes the latest.
    """
    ahead = student.state_dict()
    weights = {name for name, _ in teacher.named_parameters()}
    for name, value in teacher.state_dict().items():
        if name in weights:
            value.lerp_(ahead[name].to(value.dtype), 1.0 - decay)
        else:
            value.copy_(ahead[name])


def noisy(image: Tensor) -> Tensor:
    """Add clamp(0.1·N(0, 1), ±0.2) to images (B, channels, H, W)."""
    return image + (_NOISE * torch.randn_like(image)).clamp(-_LARGEST_NOISE, _LARGEST_NOISE)


def says(teacher: nn.Module, image: Tensor, *, dropout: bool = False) -> Tensor:
    """Return a teacher's logits, without gradient, by its running statistics; ``dropout`` leaves dropout on."""
    teacher.eval()
    if dropout:
        for module in teacher.modules():
            if isinstance(module, nn.Dropout):
                module.train()
    with torch.no_grad():
        return cast(Network, teacher)(image).logits


PAPER: Mapping[str, Any] = {
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "augmentation": "turns",
    "labelled_batch": 12,
    "unlabelled_batch": 12,
    "crop": 256,
}
"""Settings of SSL4MIS that its methods with one or two U-Nets have in common (methods.md 2)."""

SMALL: Mapping[str, Any] = {"crop": 128, "longest_side": 224, "labelled_batch": 3, "unlabelled_batch": 3}
"""What two cores manage (methods.md 12-G)."""


class Taught(Method):
    """Base of these methods: a U-Net, its teacher, and the schedule of the consistency between them."""

    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER, "product": {}, "product-small": SMALL}

    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the consistency with the teacher")
    ema: float = Field(0.99, ge=0, lt=1, description="How slowly the teacher follows")
    predict_with: Literal["student", "teacher"] = Field("student", description="Whose prediction is shown")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build student and teacher."""
        student = nets.build("unet16", setup.channels, setup.classes)
        return nn.ModuleDict({"student": student, "teacher": teacher_of(student)})

    def weight(self, batch: Batch, progress: float) -> float:
        """Return the weight of the consistency, 0 where nothing is left to say."""
        return terms.consistency_weight(self.consistency, progress) if bool(batch.unsaid.any()) else 0.0

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of the student or of the teacher."""
        return [networks[self.predict_with](image).logits]

    def rates(self) -> Mapping[str, Rate]:
        """Return the student's learning rate."""
        return {"student": Rate(self.learning_rate)}

    def after_step(self, networks: nn.ModuleDict, step: int) -> None:
        """Let the teacher follow."""
        follow(networks["teacher"], networks["student"], ema_decay(step, self.ema))

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Begin as the student."""
        follow(networks["teacher"], networks["student"], 0.0)
