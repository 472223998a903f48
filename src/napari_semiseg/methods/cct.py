"""CCT: decoders that see disturbed features agree with the one that does not (T§4.4; methods.md 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.methods.teacher import PAPER, SMALL
from napari_semiseg.networks.unet import UNetDecoders

_NOISE, _DROPPED, _LOWEST_SHARE, _HIGHEST_SHARE = 0.3, 0.3, 0.7, 0.9


def feature_noise(features: Tensor) -> Tensor:
    """z·(1+n), n~U(−0.3, 0.3) of shape (channels, h, w) for all samples of (B, channels, h, w)."""
    noise = torch.empty_like(features[:1]).uniform_(-_NOISE, _NOISE)
    return features * (1 + noise)


def dropout(features: Tensor) -> Tensor:
    """Drop 0.3 of all values."""
    return functional.dropout(features, _DROPPED)


def feature_dropout(features: Tensor) -> Tensor:
    """Keep positions of (B, channels, h, w) whose mean over channels is below θ of the sample's largest, θ~U(0.7, 0.9).

    Where that largest mean is negative, all positions are kept.
    """
    attention = features.detach().mean(dim=1, keepdim=True)
    share = _LOWEST_SHARE + (_HIGHEST_SHARE - _LOWEST_SHARE) * torch.rand((), device=features.device)
    return features * (attention < share * attention.amax(dim=(2, 3), keepdim=True))


Disturbance = Callable[[Tensor], Tensor]
DISTURBANCES: tuple[Disturbance, ...] = (feature_noise, dropout, feature_dropout)


class CrossConsistency(Method):
    """U-Net16 with three more decoders, each of which sees the encoder's features disturbed in its own way."""

    name: ClassVar[str] = "cct"
    title: ClassVar[str] = "Cross consistency of decoders"
    summary: ClassVar[str] = (
        "A U-Net with further decoders, which see disturbed features and learn to agree with the main one on the rest."
    )
    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER, "main_follows": True},
        "product": {},
        "product-small": SMALL,
    }

    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    consistency: float = Field(0.1, ge=0, le=10, description="Final weight of the agreement with the main decoder")
    main_follows: bool = Field(
        False, description="The main decoder is drawn towards the others too, as in the released code"
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the encoder, the main decoder and one for every disturbance."""
        ways = ("bilinear",) * (1 + len(DISTURBANCES))
        return nn.ModuleDict({"unet": nets.build("unet_decoders", setup.channels, setup.classes, upsampling=ways)})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup, the mean of all decoders', and w(t)·L_con = w(t)·⅓ Σ_a MSE(p_main, p_a)."""
        main, others = decoded(cast(UNetDecoders, networks["unet"]), batch.image)
        supervised = [terms.supervised(logits, batch) for logits in (main, *others)]
        losses = {"supervised": torch.stack(supervised).mean()}
        weight = terms.consistency_weight(self.consistency, progress)
        if weight > 0 and batch.unsaid.any():
            target = (main if self.main_follows else terms.possible(main, batch)).float().softmax(dim=1)
            differences = [terms.mean_square(logits.float().softmax(dim=1), target, batch.unsaid) for logits in others]
            losses["consistency"] = weight * torch.stack(differences).mean()
        return losses

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the main decoder's logits."""
        unet = cast(UNetDecoders, networks["unet"])
        return [unet.decode(unet.encode(image), *image.shape[-2:]).logits]

    def rates(self) -> Mapping[str, Rate]:
        """Return the network's learning rate."""
        return {"unet": Rate(self.learning_rate)}


def decoded(unet: UNetDecoders, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the logits of the main decoder, and of the others, which see the maps of all levels disturbed."""
    height, width = image.shape[-2:]
    levels = unet.encode(image)
    others = [
        unet.decode([disturb(level) for level in levels], height, width, branch).logits
        for disturb, branch in zip(DISTURBANCES, unet.branches, strict=True)
    ]
    return unet.decode(levels, height, width).logits, others
