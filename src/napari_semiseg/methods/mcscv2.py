"""MCSCv2: cross teaching with multi-scale, certainty-guided, class-balanced contrast (T ch. 5; methods.md 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.certainty_contrast import Sampling
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.contrast import SMALL, CertaintyGuided, channels_of, known_scales
from napari_semiseg.methods.cross_teaching import CrossTeaching


class CertaintyContrast(CrossTeaching):
    """Cross teaching plus contrast of each network's features, guided by the other network's certainty."""

    name: ClassVar[str] = "mcscv2"
    title: ClassVar[str] = "Cross teaching with certainty-guided contrast"
    summary: ClassVar[str] = (
        "Two networks teach each other, and features of the same structure are drawn together where they are certain."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"augmentation": "turns", "transformer": "swin_unet", "labelled_batch": 12, "unlabelled_batch": 12},
        "product": {"scales": (4, 8)},
        "product-small": {**CrossTeaching.presets["product-small"], **SMALL},
    }

    contrast: float = Field(1e-3, ge=0, le=10, description="Weight of the contrast")
    scales: tuple[int, ...] = Field((1, 8), min_length=1, max_length=3, description="Contrast at 1/scale: 1, 4, 8")
    temperature: float = Field(0.1, gt=0, le=10, description="Temperature of the contrast")
    confidence: float = Field(0.9, ge=0, lt=1, description="Anchors are predicted with more than this probability")
    uncertain: float = Field(0.2, ge=0, le=1, description="Part of unlabelled pixels that is uncertain at first")
    anchors: int = Field(1000, ge=1, le=100_000, description="Anchors per class, scale and network")
    negatives: int = Field(500, ge=1, le=100_000, description="Negatives per class, scale and network")
    bank: int = Field(60_000, ge=16, le=1_000_000, description="Negatives remembered per class and scale")
    sampling: Sampling = Field(
        "certain",
        description="certain: confident anchors, all negatives alike; hard: unsure anchors (less than 0.97), and more "
        "negatives from classes that look alike (ReCo)",
    )

    _known_scales = field_validator("scales")(known_scales)

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the networks, and the contrast's projectors and memory banks."""
        built = super().networks(setup)
        built["contrast"] = CertaintyGuided(
            channels_of(built),
            setup.classes,
            scales=self.scales,
            temperature=self.temperature,
            confidence=self.confidence,
            uncertain=self.uncertain,
            anchors=self.anchors,
            negatives=self.negatives,
            bank=self.bank,
            sampling=self.sampling,
            bank_dtype=torch.float16 if setup.small else torch.float32,
        )
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the losses of cross teaching and the contrast."""
        outputs = {name: networks[name](batch.image) for name in ("cnn", "transformer")}
        losses = self.mutual_losses(outputs["cnn"], outputs["transformer"], batch, progress)
        if self.contrast > 0:
            guides = {"cnn": outputs["transformer"].logits, "transformer": outputs["cnn"].logits}
            losses["contrast"] = self.contrast * networks["contrast"](outputs, guides, batch, progress)
        return losses

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the CNN's."""
        return {**super().rates(), "contrast": Rate(self.cnn_rate)}

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush the banks."""
        cast(CertaintyGuided, networks["contrast"]).clear()
