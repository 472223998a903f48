"""MCSCv2: cross teaching with multi-scale, certainty-guided, class-balanced contrast (T ch. 5; methods.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses import certainty_contrast as cc
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.cross_teaching import CrossTeaching
from napari_semiseg.networks import Network, NetworkOutput

_WIDTH = 128  # channels of the projected features
_SCALE_NAMES = {1: "full", 4: "1/4", 8: "1/8"}


class Projectors(nn.Module):
    """1×1 convolution → 256, ReLU, 1×1 → 128 per network; the last layer is shared (methods.md 4).

    A 1×1 convolution is a linear layer per pixel, and only the pixels that the contrast asks for go through it.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.first = nn.ModuleDict({name: nn.Linear(count, 256) for name, count in channels.items()})
        self.shared = nn.Linear(256, _WIDTH)

    def forward(self, name: str, pixels: Tensor) -> Tensor:
        """Project pixels (n, channels) of a network to normalised features in float32, shape (n, 128)."""
        projected = self.shared(functional.relu(self.first[name](pixels))).float()
        return functional.normalize(projected, dim=1, eps=1e-6)


class CertaintyContrast(CrossTeaching):
    """Cross teaching plus contrast of each network's features, guided by the other network's certainty."""

    name: ClassVar[str] = "mcscv2"
    title: ClassVar[str] = "Cross teaching with certainty-guided contrast"
    summary: ClassVar[str] = (
        "Two networks teach each other, and features of the same structure are drawn together where they are certain."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"augmentation": "turns", "labelled_batch": 12, "unlabelled_batch": 12},
        "product": {"scales": (4, 8)},
        "product-small": {
            **CrossTeaching.presets["product-small"],
            "scales": (4,),
            "anchors": 256,
            "negatives": 128,
            "bank": 8000,
        },
    }

    contrast: float = Field(1e-3, ge=0, le=10, description="Weight of the contrast")
    scales: tuple[int, ...] = Field((1, 8), min_length=1, max_length=3, description="Contrast at 1/scale: 1, 4, 8")
    temperature: float = Field(0.1, gt=0, le=10, description="Temperature of the contrast")
    confidence: float = Field(0.9, ge=0, lt=1, description="Anchors are predicted with more than this probability")
    uncertain: float = Field(0.2, ge=0, le=1, description="Part of unlabelled pixels that is uncertain at first")
    anchors: int = Field(1000, ge=1, le=100_000, description="Anchors per class, scale and network")
    negatives: int = Field(500, ge=1, le=100_000, description="Negatives per class, scale and network")
    bank: int = Field(60_000, ge=16, le=1_000_000, description="Negatives remembered per class and scale")

    @field_validator("scales")
    @classmethod
    def _known(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if unknown := sorted(set(scales) - set(_SCALE_NAMES)):
            raise ValueError(f"contrast scales are 1, 4 and 8, not {unknown}")
        return scales

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the networks, their projectors and the memory banks."""
        built = super().networks(setup)
        for scale in self.scales:
            channels = {
                name: cast(Network, built[name]).feature_channels[_SCALE_NAMES[scale]]
                for name in ("cnn", "transformer")
            }
            built[f"projectors{scale}"] = Projectors(channels)
            dtype = torch.float16 if setup.small else torch.float32
            built[f"bank{scale}"] = cc.NegativeBank(setup.classes, _WIDTH, self.bank, dtype)
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the losses of cross teaching and the contrast."""
        outputs = {name: networks[name](batch.image) for name in ("cnn", "transformer")}
        losses = self.mutual_losses(outputs["cnn"], outputs["transformer"], batch, progress)
        if self.contrast > 0:
            losses["contrast"] = self.contrast * self._contrast(networks, outputs, batch, progress)
        return losses

    def _contrast(
        self, networks: nn.ModuleDict, outputs: Mapping[str, NetworkOutput], batch: Batch, progress: float
    ) -> Tensor:
        """Sum L_bcl over scales and both networks; statistics come from the other network."""
        probabilities = {name: output.logits.detach().float().softmax(dim=1) for name, output in outputs.items()}
        total = torch.zeros((), device=batch.image.device)
        for scale in self.scales:
            key = _SCALE_NAMES[scale]
            size = outputs["cnn"].features[key].shape[-2:]
            truth = _shrink(batch.label, size)
            inside = _shrink(batch.inside, size).reshape(-1)
            seen = {name: _pixels(p, truth, inside, size) for name, p in probabilities.items()}
            open_entropies = torch.cat([pixels.entropy[~pixels.said] for pixels in seen.values()])
            threshold = cc.entropy_threshold(open_entropies, cc.uncertain_share(progress, self.uncertain))
            for name, other in (("cnn", "transformer"), ("transformer", "cnn")):
                embed = _embedding(networks[f"projectors{scale}"], name, outputs[name].features[key], inside)
                total = total + cc.contrast(
                    embed,
                    seen[other],
                    threshold,
                    cast(cc.NegativeBank, networks[f"bank{scale}"]),
                    confidence=self.confidence,
                    r_high=cc.default_r_high(probabilities[name].shape[1]),
                    anchors=self.anchors,
                    negatives=self.negatives,
                    temperature=self.temperature,
                )
        return total

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; projectors learn at the CNN's."""
        return {**super().rates(), **{f"projectors{scale}": Rate(self.cnn_rate) for scale in self.scales}}

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush the banks."""
        for scale in self.scales:
            cast(cc.NegativeBank, networks[f"bank{scale}"]).clear()


def _shrink(values: Tensor, size: torch.Size) -> Tensor:
    """Resample (B, H, W) by the nearest pixel."""
    return functional.interpolate(values[:, None].float(), size=size, mode="nearest")[:, 0].to(values.dtype)


def _embedding(projectors: nn.Module, name: str, features: Tensor, inside: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what projects the features (B, channels, h, w) of given ones among the pixels ``inside`` the image."""
    flat = features.permute(0, 2, 3, 1).flatten(0, 2)
    places = torch.nonzero(inside)[:, 0]
    return lambda chosen: projectors(name, flat[places[chosen]])


def _pixels(probabilities: Tensor, truth: Tensor, inside: Tensor, size: torch.Size) -> cc.Pixels:
    shrunk = functional.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)
    flat = shrunk.permute(0, 2, 3, 1).reshape(-1, shrunk.shape[1])
    return cc.Pixels.of(flat[inside], truth.reshape(-1)[inside])
