"""FBA-Net: mutual consistency, and contrast of foreground and background representations (F; methods.md 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.foreground_contrast import kinds_contrast
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.mc_net import MutualConsistency
from napari_semiseg.methods.volume import SMALL

_FEATURES = 128  # of a representation
# Size of the maps that representations are made of.
_POOLED_2D = (16, 16)
_POOLED_3D = (10, 14, 14)
_LEAST_SHARE = 1e-4  # a class whose map is emptier than this is left out

Form = Literal["pooled", "released"]


class ContrastModule(nn.Module):
    """From the logits of one decoder to one representation per sample of foreground and background, or of each class.

    A convolution with stride 2, norm and a sigmoid make the map M; of two classes foreground is M and background 1 − M,
    of more each class has a map of its own. ``"pooled"`` averages maps to a fixed size and subtracts ½ before the
    linear layers. ``"released"`` divides the whole map by its size instead, so that the layers see almost nothing but
    their bias, and fixes the size of the patches.

    Parameters
    ----------
    classes : int
    axes : int
        2 or 3.
    form : str
    patch : sequence of int
        Size of the samples; matters to the released form only.
    """

    def __init__(self, classes: int, axes: int, form: Form, patch: Sequence[int]) -> None:
        super().__init__()
        self.form = form
        self.binary = classes == 2
        maps = 1 if self.binary else classes
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if axes == 3 else (nn.Conv2d, nn.BatchNorm2d)
        self.reduce = convolution(classes, maps, 3, stride=2, padding=1)
        self.norm = norm(maps)
        self.pool = nn.AdaptiveAvgPool3d(_POOLED_3D) if axes == 3 else nn.AdaptiveAvgPool2d(_POOLED_2D)
        pooled: tuple[int, ...] = _POOLED_3D if axes == 3 else _POOLED_2D
        size = pooled if form == "pooled" else [-(-side // 2) for side in patch]
        self.project = nn.ModuleList(nn.Linear(math.prod(size), _FEATURES) for _ in range(2 if self.binary else maps))

    def forward(self, logits: Tensor) -> list[Tensor]:
        """Return the representations of each kind that occurs, shape (B, 128), from logits (B, C, …)."""
        maps = torch.sigmoid(self.norm(self.reduce(logits)))
        if self.binary:
            maps = torch.cat([maps, 1 - maps], dim=1)
        present = maps.detach().flatten(2).mean(dim=(0, 2)) >= _LEAST_SHARE
        if self.form == "released":
            maps = maps / math.prod(maps.shape[2:])
        else:
            maps = self.pool(maps) - 0.5
        return [
            functional.relu(project(maps[:, kind].flatten(1)))
            for kind, project in enumerate(self.project)
            if bool(present[kind])
        ]


class ForegroundContrast(MutualConsistency):
    """Mutual consistency of decoders whose predictions also tell foreground from background across the batch."""

    name: ClassVar[str] = "fba_net"
    title: ClassVar[str] = "Foreground and background contrast"
    summary: ClassVar[str] = (
        "Decoders of one network agree with each other, and learn what foreground has in common across volumes, in 3D."
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**MutualConsistency.presets["paper"], "schedule": "constant", "predict_with": "first"},
        "product": {},
        # The contrast needs some patches to compare; these have as many voxels in all.
        "product-small": {**SMALL, "depth": 16, "labelled_batch": 2, "unlabelled_batch": 2},
    }

    contrast: float = Field(1.0, ge=0, le=10, description="Weight of the contrast")
    contrast_loss: Literal["fba", "info_nce"] = Field(
        "fba", description="fba: similarities weighted by rank; info_nce: one softmax over positives and negatives"
    )
    contrast_form: Form = Field(
        "pooled",
        description="pooled: maps of a fixed size; released: as in the authors' code, which hardly sees the maps",
    )
    alpha: float = Field(0.25, ge=0, le=10, description="How fast pairs that are less similar lose weight")
    temperature: float = Field(0.1, gt=0, le=10, description="Temperature of info_nce")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the encoder with its decoders, and a contrast module for each."""
        built = super().networks(setup)
        patch = self.patch(setup)
        built["contrast"] = nn.ModuleList(
            ContrastModule(setup.classes, self.spatial_axes, self.contrast_form, patch) for _ in range(self.decoders)
        )
        return built

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_dice of every decoder, w_c(t)·L_consist and L_contra (F-eq 8)."""
        output = networks["network"](batch.image)
        losses = self.mutual_losses(output, batch, progress)
        if self.contrast > 0 and batch.unsaid.any():
            modules = cast(nn.ModuleList, networks["contrast"])
            # Contrast is in full precision whatever the networks compute in.
            with torch.autocast(batch.image.device.type, enabled=False):
                terms = [
                    kinds_contrast(
                        module(decoder.logits.float()),
                        binary=decoder.logits.shape[1] == 2,
                        loss=self.contrast_loss,
                        alpha=self.alpha,
                        temperature=self.temperature,
                        released=self.contrast_form == "released",
                    )
                    for module, decoder in zip(modules, output.of_all_decoders, strict=True)
                ]
            losses["contrast"] = self.contrast * torch.stack(terms).sum()
        return losses

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates; the contrast modules learn at the network's."""
        rates = dict(super().rates())
        return {**rates, "contrast": rates["network"]}
