"""CPS: two U-Nets of different beginnings teach each other (T§4.4; methods.md 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.supervised import cross_entropy
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.contrast import CertaintyGuided, contrast_of
from napari_semiseg.methods.registered import Registered
from napari_semiseg.methods.teacher import PAPER, SMALL

_PAIR = ("first", "second")


class CrossPseudoSupervision(Registered):
    """Two U-Net16; each one's hard prediction is the other's pseudo-label on unlabelled pixels."""

    name: ClassVar[str] = "cps"
    title: ClassVar[str] = "Cross pseudo supervision (two U-Nets)"
    summary: ClassVar[str] = (
        "Two U-Nets of different beginnings learn from the labelled slices and from each other on the rest."
    )
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER, "predict_with": "first"},
        "product": {},
        "product-small": SMALL,
    }

    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the mutual pseudo-supervision")
    predict_with: Literal["mean", "first", "second"] = Field("mean", description="Whose prediction is shown")
    contrast: float = Field(
        0.0, ge=0, le=10, description="Weight of contrast of features, guided by the other's certainty; 0.001 is usual"
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build both U-Nets, and the contrast's projectors and banks where it has a weight."""
        built = nn.ModuleDict({name: nets.build("unet16", setup.channels, setup.classes) for name in _PAIR})
        if self.contrast > 0:
            built["contrast"] = contrast_of(built, setup)
        built.update(self.contrast_parts({name: built[name] for name in _PAIR}))
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup of both, w(t)·CE(p_k, ŷ_other), the contrast, and the terms of registration that are on."""
        outputs = {name: networks[name](batch.image) for name in _PAIR}
        first, second = (outputs[name].logits for name in _PAIR)
        losses = {
            "first supervised": terms.supervised(first, batch),
            "second supervised": terms.supervised(second, batch),
        }
        weight = terms.consistency_weight(self.consistency, progress)
        if weight > 0 and batch.unsaid.any():
            by_second, by_first = terms.mutual(first, second, batch, cross_entropy)
            losses |= {"first from second": weight * by_second, "second from first": weight * by_first}
        guides = {"first": second, "second": first}
        if self.contrast > 0:
            losses["contrast"] = self.contrast * networks["contrast"](outputs, guides, batch, progress)
        return losses | self.registered_losses(networks, outputs, guides, batch, progress)

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of both."""
        return [networks[name](image).logits for name in _PAIR]

    def shares(self) -> Sequence[float]:
        """Return whose prediction counts."""
        return {"mean": (0.5, 0.5), "first": (1.0, 0.0), "second": (0.0, 1.0)}[self.predict_with]

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the same."""
        names = (*_PAIR, "contrast") if self.contrast > 0 else _PAIR
        return {**dict.fromkeys(names, Rate(self.learning_rate)), **self.contrast_rates(self.learning_rate)}

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush the banks."""
        super().after_warm_start(networks)
        if self.contrast > 0:
            cast(CertaintyGuided, networks["contrast"]).clear()
