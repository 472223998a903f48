"""Learning from registration as a part of any method of slices (CCT-R: T ch. 6; methods.md 6, 12-F).

A method that inherits from `Registered` gets the fields, the preparation and two terms::

    outputs = {"one": networks["one"](batch.image), …}
    losses |= self.registered_losses(networks, outputs, guides, batch, progress)

where ``guides`` holds, for each network whose features are to learn, the logits of whoever chooses their labels. It
adds ``self.contrast_parts(built)`` to its networks and ``self.contrast_rates(rate)`` to its rates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.losses.supervised import cross_entropy, dice_loss
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate
from napari_semiseg.methods.contrast import channels_of
from napari_semiseg.methods.preparation import Preparation, Progress, Registrations, Targets
from napari_semiseg.methods.registered_contrast import RegisteredContrast
from napari_semiseg.networks import NetworkOutput
from napari_semiseg.registration.cache import Cache
from napari_semiseg.registration.carry import Options, carry
from napari_semiseg.registration.estimate import Stopped
from napari_semiseg.steps import told

_PART = "registered"  # its name among the networks


class Registered(Method):
    """Fields and terms for labels and positives that registration finds; all are off unless a method says otherwise."""

    registered_labels: float = Field(
        0.0, ge=0, le=10, description="Weight of labels carried over by registration (RSL)"
    )
    registered_labels_fade: bool = Field(True, description="That weight falls to a tenth of it during the run")
    registered_from: Literal["volumes", "slices", "both"] = Field(
        "both",
        description="Labels come from other volumes, from the nearest labelled slices of the same volume, or from the "
        "slices and, where none is near, from other volumes; with one volume always from slices",
    )
    registered_contrast: float = Field(
        0.0, ge=0, le=10, description="Weight of the contrast of pixels with registered positives (SCL and REPS)"
    )
    registered_positives: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of registered positives beside the mean of the class; 0: the mean alone (SCL)",
    )
    registered_scale: Literal[1, 4, 8] = Field(1, description="That contrast at 1/scale")
    registered_anchors: int = Field(1000, ge=1, le=100_000, description="Anchors of that contrast per class")
    registered_negatives: int = Field(500, ge=1, le=100_000, description="Negatives of that contrast per class")
    registered_confidence: float = Field(
        0.5, ge=0, lt=1, description="Anchors of that contrast are predicted with more than this probability"
    )
    registered_temperature: float = Field(0.1, gt=0, le=10, description="Temperature of that contrast")
    bank_share: float = Field(0.2, gt=0, le=1, description="Part of all slices whose feature maps are remembered")
    bank_slices: int = Field(256, ge=1, le=10_000, description="At most so many slices are remembered")
    bank_stride: Literal[1, 2, 4, 8] = Field(4, description="Remembered maps are so much smaller than the crops")
    deformable: bool = Field(False, description="Register by B-splines after the affine registration; far slower")
    registration_spacing: float = Field(
        2.0, gt=0, le=2, description="Coarsest voxel size in mm of the images that are registered"
    )
    best_registration: bool = Field(
        True,
        description="Labels come from the volume whose registration is best (BRS); off: from the first labelled one",
    )
    direct_weight: float = Field(
        0.5,
        ge=0,
        le=10,
        description="Weight of the likeness of registered images in choosing the best, beside the cycle",
    )
    registration_candidates: int = Field(
        8,
        ge=1,
        le=1000,
        description="Labelled volumes that are registered with each other one, those most like it first",
    )
    registration_nearest: int = Field(
        3, ge=0, le=100, description="Further volumes that each one is registered with, for positives"
    )

    @property
    def uses_registration(self) -> bool:
        """Whether anything is registered before the run."""
        return self.registered_labels > 0 or self.seeks_positives

    @property
    def seeks_positives(self) -> bool:
        """Whether registered positives take part in the contrast."""
        return self.registered_contrast > 0 and self.registered_positives > 0

    def contrast_parts(self, networks: nn.ModuleDict | Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Return the contrast's projectors and bank for the networks whose features are to learn, if it is on."""
        if self.registered_contrast == 0:
            return {}
        part = RegisteredContrast(
            channels_of(networks),
            scale=self.registered_scale,
            share=self.registered_positives,
            anchors=self.registered_anchors,
            negatives=self.registered_negatives,
            confidence=self.registered_confidence,
            temperature=self.registered_temperature,
            bank_share=self.bank_share,
            bank_slices=self.bank_slices,
            bank_stride=self.bank_stride,
        )
        return {_PART: part}

    def contrast_rates(self, rate: float) -> dict[str, Rate]:
        """Return the learning rate of the projectors, if the contrast is on."""
        return {_PART: Rate(rate)} if self.registered_contrast > 0 else {}

    def registered_losses(
        self,
        networks: nn.ModuleDict,
        outputs: Mapping[str, NetworkOutput],
        guides: Mapping[str, Tensor],
        batch: Batch,
        progress: float,
    ) -> dict[str, Tensor]:
        """Return w_rs·L_rs of every network and w_cl·L_cl, those that are on.

        Parameters
        ----------
        networks : ModuleDict
        outputs : mapping of str to NetworkOutput
        guides : mapping of str to Tensor, shape (B, C, H, W)
            Logits from which anchors and labels of each network's features come, without gradient and among what the
            annotator did not rule out.
        batch : Batch
        progress : float
            t/T.
        """
        losses = {}
        weight = self.registered_labels * (max(0.1, 1.0 - progress) if self.registered_labels_fade else 1.0)
        if weight > 0 and "registered" in batch.extras:
            parts = [registration_supervision(output.logits, batch) for output in outputs.values()]
            losses["registered labels"] = weight * torch.stack(parts).sum()
        if self.registered_contrast > 0:
            ruled = {name: terms.possible(logits, batch) for name, logits in guides.items()}
            losses["registered contrast"] = self.registered_contrast * networks[_PART](outputs, ruled, batch)
        return losses

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush the bank."""
        super().after_warm_start(networks)
        if _PART in networks:
            cast(RegisteredContrast, networks[_PART]).bank.clear()

    def strength(self) -> Augmentation:
        """Return how strongly samples are varied: not elastically where the bank must know where a crop lies."""
        strength = super().strength()
        return replace(strength, elastic=0.0) if self.seeks_positives else strength

    def targets(
        self, volumes: Sequence[WorkingVolume], sources: Sequence[TrainingVolume], stopped: Callable[[], bool]
    ) -> Generator[Preparation, None, Targets]:
        """Register volumes and slices, carry labels over, and find out where the same anatomy is elsewhere.

        The map ``"registered"`` holds class indices, 255 where nothing was carried over; ``"trust"`` their weight.
        """
        found = yield from super().targets(volumes, sources, stopped)
        if not self.uses_registration:
            return found
        cache = Cache()
        cache.trim()
        steps = carry(volumes, sources, self._options(), stopped, cache)
        try:
            carried = yield from told(steps, lambda step: Progress(*step))
        except Stopped:
            yield Progress("registering", 1.0)  # the engine sees the stop here and does not come back
            return found
        yield Registrations(tuple(carried.pairs))
        return Targets(
            {**found.maps, "registered": carried.labels, "trust": carried.trust},
            carried.correspondences if self.seeks_positives else None,
        )

    def _options(self) -> Options:
        return Options(
            source=self.registered_from,
            deformable=self.deformable,
            spacing=self.registration_spacing,
            best=self.best_registration,
            direct_weight=self.direct_weight,
            candidates=self.registration_candidates,
            nearest=self.registration_nearest if self.seeks_positives else 0,
        )


def registration_supervision(logits: Tensor, batch: Batch) -> Tensor:
    """L_rs = CE(p, r) + Dice(p, r) where nothing is labelled and something was carried over (T-eq 6.7).

    Where not every class was looked for, what was carried over counts only if the annotator did not rule it out.

    Parameters
    ----------
    logits : Tensor, shape (B, C, H, W)
    batch : Batch
        ``extras``: ``"registered"``, class indices, 255 where nothing was carried over, and ``"trust"``, a weight.

    Returns
    -------
    Tensor
        Scalar, 0 and attached to the graph where nothing was carried over.
    """
    label = terms.permitted(torch.where(batch.unsaid, batch.extras["registered"], UNSAID), batch)
    trusted = batch.extras["trust"]
    # Both losses are means over what is trusted; their weight is how far it is, or distant slices would teach as much.
    mean_trust = ((label != UNSAID) * trusted).sum() / (label != UNSAID).sum().clamp(min=1)
    return mean_trust * (cross_entropy(logits, label, trusted) + dice_loss(logits, label, trusted))
