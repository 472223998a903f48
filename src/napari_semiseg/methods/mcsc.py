"""MCSC: cross teaching with multi-scale, patch-wise, class-balanced contrast (T ch. 4; methods.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.patch_contrast import TILES, patch_contrast, tile_groups
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.contrast import SCALES, Projectors, channels_of, known_scales, shrink
from napari_semiseg.methods.cross_teaching import CrossTeaching
from napari_semiseg.networks import NetworkOutput


class PatchContrast(CrossTeaching):
    """Cross teaching plus supervised contrast between pixels of both networks, patch by patch."""

    name: ClassVar[str] = "mcsc"
    title: ClassVar[str] = "Cross teaching with patch-wise contrast"
    summary: ClassVar[str] = (
        "Two networks teach each other, and features of the same structure are drawn together across patches."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "augmentation": "turns",
            "transformer": "swin_unet",
            "labelled_batch": 2,
            "unlabelled_batch": 2,
            "predict_with": "cnn",
        },
        "product": {"scales": (4, 8)},
        "product-small": {**CrossTeaching.presets["product-small"], "scales": (4,), "tile_scale": 0.5},
    }

    contrast: float = Field(1e-3, ge=0, le=10, description="Weight of the contrast")
    scales: tuple[int, ...] = Field((1, 8), min_length=1, max_length=3, description="Contrast at 1/scale: 1, 4, 8")
    temperature: float = Field(0.1, gt=0, le=10, description="Temperature of the contrast")
    tile_scale: float = Field(
        1.0,
        ge=0.1,
        le=4,
        description="Side of the patches, as a part of the paper's 19, 28 and 14 pixels at scales 1, 4 and 8",
    )
    balanced: bool = Field(True, description="Every class weighs the same among the negatives; off: SCL")
    background_anchors: bool = Field(True, description="Draw background pixels together too; off: GLCL")
    labelled_first: float = Field(
        0.075, ge=0, le=1, description="Part of the run in which only labelled pixels are compared"
    )

    _known_scales = field_validator("scales")(known_scales)

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the networks and their projectors."""
        built = super().networks(setup)
        built["projectors"] = Projectors(channels_of(built), self.scales)
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the losses of cross teaching and the contrast."""
        outputs = {name: networks[name](batch.image) for name in ("cnn", "transformer")}
        losses = self.mutual_losses(outputs["cnn"], outputs["transformer"], batch, progress)
        if self.contrast > 0:
            # Once, for both networks: the released code adds it to the loss of each, which doubles its weight.
            losses["contrast"] = self.contrast * self._contrast(networks["projectors"], outputs, batch, progress)
        return losses

    def _contrast(
        self, projectors: nn.Module, outputs: Mapping[str, NetworkOutput], batch: Batch, progress: float
    ) -> Tensor:
        """Sum L_cl over scales: pixels of both networks with exchanged pseudo-labels, in groups of patches."""
        others = (outputs["transformer"].logits, outputs["cnn"].logits)
        labels = torch.cat([self._labels(logits, batch, progress) for logits in others])
        total = torch.zeros((), device=batch.image.device)
        for scale in self.scales:
            maps = {name: output.features[SCALES[scale]] for name, output in outputs.items()}
            height, width = maps["cnn"].shape[-2:]
            tile = max(1, round(TILES[scale] * self.tile_scale))
            small = shrink(labels, (height, width)).reshape(2, -1)
            groups = tile_groups(len(labels), height, width, tile, labels.device).reshape(2, -1)
            said = small != 255
            features = [
                projectors(scale, name, features, torch.nonzero(places)[:, 0])
                for (name, features), places in zip(maps.items(), said, strict=True)
            ]
            total = total + patch_contrast(
                torch.cat(features),
                small[said],
                groups[said],
                temperature=self.temperature,
                balanced=self.balanced,
                background_anchors=self.background_anchors,
            )
        return total

    def _labels(self, other: Tensor, batch: Batch, progress: float) -> Tensor:
        """Return the labels of a network's pixels, shape (B, H, W): ground truth, else the other's prediction."""
        if progress < self.labelled_first:
            return batch.label
        return torch.where(batch.unsaid, terms.pseudo_label(other, batch), batch.label)

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the CNN's."""
        return {**super().rates(), "projectors": Rate(self.cnn_rate)}
