"""BCLL: supervised learning with boundary contrast (B; methods.md 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.boundary_contrast import boundary_contrast
from napari_semiseg.losses.supervised import cross_entropy
from napari_semiseg.methods.base import Method, Rate, Setup

_FEATURES = 32  # D_f of the feature heads


class BoundaryContrast(Method):
    """U-Net with one feature head per class; features of edge and interior pixels are told apart."""

    name: ClassVar[str] = "bcll"
    title: ClassVar[str] = "Boundary contrast"
    summary: ClassVar[str] = "A U-Net whose features are trained to differ across the boundary of each structure."
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "augmentation": "turns",
            "labelled_batch": 8,
            "outside_pairs": True,
            "balanced": False,
            # Which makes AdamW the printed Adam.
            "weight_decay": 0.0,
        },
        "product": {"labelled_batch": 8},
        "product-small": {"labelled_batch": 4, "crop": 160, "longest_side": 224, "samples": 256, "learning_rate": 2e-3},
    }

    unlabelled_batch: int = Field(0, ge=0, le=0, description="This method uses no unlabelled crops")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Highest learning rate; falls along a half cosine")
    contrast: float = Field(1.0, ge=0, le=10, description="Weight of the boundary contrast")
    similarity: Literal["ggd_vmf", "t_vmf", "cosine"] = Field("ggd_vmf", description="Similarity of features")
    kappa: float = Field(0.5, ge=0.05, le=20, description="Sharpness of the similarity")
    radius: int = Field(3, ge=1, le=15, description="Half width of the boundary in pixels")
    samples: int = Field(512, ge=16, le=4096, description="Pixels drawn per region")
    balanced: bool = Field(True, description="Draw half the pixels inside the structure")
    outside_pairs: bool = Field(False, description="Also push apart pairs outside the structure, as printed")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the U-Net and one feature head per class."""
        unet = nets.build("unet16", setup.channels, setup.classes)
        heads = nn.ModuleList(nn.Linear(unet.feature_channels["full"], _FEATURES) for _ in range(setup.classes))
        return nn.ModuleDict({"unet": unet, "heads": heads})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the cross entropy and L_BCL."""
        output = networks["unet"](batch.image)
        losses = {"supervised": cross_entropy(output.logits, batch.coarse, batch.weights, merged=batch.merged)}
        if self.contrast > 0:
            heads = [cast(nn.Linear, head) for head in cast(nn.ModuleList, networks["heads"])]
            height, width = batch.label.shape[1:]
            with torch.autocast(batch.image.device.type, enabled=False):
                losses["boundary contrast"] = self.contrast * boundary_contrast(
                    output.features["full"][..., :height, :width],
                    [head.weight for head in heads],
                    [head.bias for head in heads],
                    batch.label,
                    radius=self.radius,
                    samples=self.samples,
                    kind=self.similarity,
                    kappa=self.kappa,
                    balanced=self.balanced,
                    outside=self.outside_pairs,
                )
        return losses

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the U-Net's logits."""
        return [networks["unet"](image).logits]

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates."""
        rate = Rate(self.learning_rate, schedule="cosine")
        return {"unet": rate, "heads": rate}
