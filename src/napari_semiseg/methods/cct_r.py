"""CCT-R: cross teaching that learns from spatial registration (T ch. 6; methods.md 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.cross_teaching import CrossTeaching
from napari_semiseg.methods.registered import Registered


class RegisteredTeaching(Registered, CrossTeaching):
    """Cross teaching plus labels and positives that registration finds in other volumes and slices."""

    name: ClassVar[str] = "cct_r"
    title: ClassVar[str] = "Cross teaching with registration"
    summary: ClassVar[str] = (
        "Volumes, or neighbouring slices, are registered first; labels carried over teach two networks that also teach "
        "each other."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "augmentation": "turns",
            "transformer": "swin_unet",
            "labelled_batch": 4,
            "unlabelled_batch": 4,
            "registered_labels_fade": False,
            "registered_from": "volumes",
            "direct_weight": 0.0,
            "registration_candidates": 1000,
        },
        "product": {},
        "product-small": {
            **CrossTeaching.presets["product-small"],
            "registered_scale": 4,
            "registered_anchors": 256,
            "registered_negatives": 128,
            "bank_slices": 64,
            "registration_candidates": 3,
            "predict_with": "mean",
        },
    }

    registered_labels: float = Field(
        1.0, ge=0, le=10, description="Weight of labels carried over by registration (RSL)"
    )
    registered_contrast: float = Field(
        1e-3, ge=0, le=10, description="Weight of the contrast of pixels with registered positives (SCL and REPS)"
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build both networks, and the contrast's projectors and bank."""
        built = super().networks(setup)
        built.update(self.contrast_parts(built))
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the losses of cross teaching and those of registration."""
        outputs = {name: networks[name](batch.image) for name in ("cnn", "transformer")}
        guides = {"cnn": outputs["transformer"].logits, "transformer": outputs["cnn"].logits}
        return {
            **self.mutual_losses(outputs["cnn"], outputs["transformer"], batch, progress),
            **self.registered_losses(networks, outputs, guides, batch, progress),
        }

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of both networks, which disagree, and their mean, which predicts."""
        logits = super().predictors(networks, image)
        return [*logits, (logits[0] + logits[1]) / 2]

    def shares(self) -> Sequence[float]:
        """Return whose prediction counts; by default that of the mean logits (T§6.3.1)."""
        return {"mean": (0.0, 0.0, 1.0), "cnn": (1.0, 0.0, 0.0), "transformer": (0.0, 1.0, 0.0)}[self.predict_with]

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the CNN's."""
        return {**super().rates(), **self.contrast_rates(self.cnn_rate)}
