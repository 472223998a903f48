"""CTS: a CNN and a Transformer teach each other (T§4, eq. 4.1; methods.md 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.networks import NetworkOutput


class CrossTeaching(Method):
    """U-Net16 and a Transformer; each one's hard prediction is the other's pseudo-label on unlabelled pixels."""

    name: ClassVar[str] = "cross_teaching"
    title: ClassVar[str] = "Cross teaching (CNN and Transformer)"
    summary: ClassVar[str] = (
        "Two different networks learn from the labelled slices and from each other's predictions on the rest."
    )
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "augmentation": "turns",
            "transformer": "swin_unet",
            "labelled_batch": 8,
            "unlabelled_batch": 8,
            "predict_with": "cnn",
        },
        "product": {},
        "product-small": {
            "crop": 128,
            "longest_side": 224,
            "labelled_batch": 3,
            "unlabelled_batch": 3,
            "transformer_width": 24,
            "cnn_rate": 2e-3,
            "transformer_rate": 1e-3,
            # In a few hundred steps the Transformer, which starts from nothing, does not catch up with the CNN.
            "predict_with": "cnn",
        },
    }

    cnn_rate: float = Field(5e-4, gt=0, le=1, description="Highest learning rate of the CNN")
    transformer_rate: float = Field(1e-4, gt=0, le=1, description="Highest learning rate of the Transformer")
    transformer: Literal["cs_unet", "swin_unet"] = Field(
        "cs_unet", description="The Transformer: CS-Unet learns from few images, Swin-Unet is the papers'"
    )
    transformer_width: int = Field(
        96, ge=12, le=192, multiple_of=12, description="Channels of the Transformer's first stage"
    )
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the mutual pseudo-supervision")
    predict_with: Literal["mean", "cnn", "transformer"] = Field("mean", description="Whose prediction is shown")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build both networks."""
        return nn.ModuleDict(
            {
                "cnn": nets.build("unet16", setup.channels, setup.classes),
                "transformer": nets.build(
                    self.transformer, setup.channels, setup.classes, embed_dim=self.transformer_width
                ),
            }
        )

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the supervised losses of both networks and their teaching each other."""
        return self.mutual_losses(networks["cnn"](batch.image), networks["transformer"](batch.image), batch, progress)

    def mutual_losses(
        self, cnn: NetworkOutput, transformer: NetworkOutput, batch: Batch, progress: float
    ) -> dict[str, Tensor]:
        """Return L_sup of both networks and w(t)·Dice(p_k, ŷ_other) (T-eq 4.1)."""
        losses = {
            "CNN supervised": terms.supervised(cnn.logits, batch),
            "Transformer supervised": terms.supervised(transformer.logits, batch),
        }
        weight = terms.consistency_weight(self.consistency, progress)
        if weight > 0 and batch.unsaid.any():
            taught, teaching = terms.mutual(cnn.logits, transformer.logits, batch)
            losses["CNN from Transformer"] = weight * taught
            losses["Transformer from CNN"] = weight * teaching
        return losses

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of the CNN and of the Transformer."""
        return [networks["cnn"](image).logits, networks["transformer"](image).logits]

    def shares(self) -> Sequence[float]:
        """Return whose prediction counts."""
        return {"mean": (0.5, 0.5), "cnn": (1.0, 0.0), "transformer": (0.0, 1.0)}[self.predict_with]

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; the Transformer's warms up over the first 5 %."""
        return {"cnn": Rate(self.cnn_rate), "transformer": Rate(self.transformer_rate, warm_up=0.05)}
