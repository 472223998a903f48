"""Two different networks of volumes of which the better one teaches the other (MCF; D; methods.md 9, 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.losses.supervised import dice_loss
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Rate, Setup
from napari_semiseg.methods.volume import PAPER, SMALL, VolumeMethod
from napari_semiseg.networks.output import NetworkOutput

_KEPT = 0.9  # of the running mean at every step

STREAMS = ("vnet", "resnet")


class Winner(nn.Module):
    """Which of several networks has the lower Dice loss on what is labelled, by its running mean.

    Attributes
    ----------
    losses : Tensor, shape (networks,)
        The means; infinite before the first labelled batch.
    """

    losses: Tensor

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        self.register_buffer("losses", torch.full((count,), torch.inf))

    def update(self, logits: Sequence[Tensor], batch: Batch) -> int:
        """Return the network that leads now; a batch in which nothing is labelled changes nothing.

        Parameters
        ----------
        logits : sequence of Tensor, shape (B, C, …)
            Of each network.
        batch : Batch
        """
        if self.training and (batch.coarse != UNSAID).any():
            now = torch.stack([dice_loss(each.detach(), batch.coarse, merged=batch.merged) for each in logits])
            known = torch.isfinite(self.losses)
            self.losses.copy_(torch.where(known, _KEPT * self.losses + (1 - _KEPT) * now, now))
        return int(self.losses.argmin())

    def forget(self) -> None:
        """Go back to the beginning."""
        self.losses.fill_(torch.inf)


class TwoStreams(VolumeMethod):
    """Base of `mcf` and `dual_stream`: a V-Net and a residual network, each with its supervised loss."""

    uses_unlabelled: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER,
        "product": {},
        "product-small": SMALL,
    }

    context: int = Field(0, ge=0, le=0, description="This method sees volumes, not planes with neighbours")
    labelled_batch: int = Field(2, ge=1, le=256, description="Labelled patches per step")
    unlabelled_batch: int = Field(2, ge=0, le=256, description="Unlabelled patches per step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    schedule: Literal["poly", "step", "constant"] = Field("poly", description="How the learning rate falls")

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build both networks and what remembers the better one."""
        options = self.network_options(setup)
        built: dict[str, nn.Module] = {
            "vnet": nets.build("vnet16", setup.channels, setup.classes, **options),
            "resnet": nets.build("res34_3d", setup.channels, setup.classes, **options),
            "winner": Winner(),
        }
        return nn.ModuleDict(built)

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return CE + Dice of both networks, and what they teach each other where something is not labelled."""
        outputs = [networks[name](batch.image) for name in STREAMS]
        losses = {
            f"{name} supervised": 2.0 * terms.supervised(output.logits, batch)
            for name, output in zip(STREAMS, outputs, strict=True)
        }
        winner = cast(Winner, networks["winner"]).update([output.logits for output in outputs], batch)
        return {**losses, **self.mutual_losses(networks, outputs, winner, batch, progress)}

    def mutual_losses(
        self,
        networks: nn.ModuleDict,
        outputs: Sequence[NetworkOutput],
        winner: int,
        batch: Batch,
        progress: float,
    ) -> dict[str, Tensor]:
        """Return the terms beside the supervised ones.

        Parameters
        ----------
        networks : ModuleDict
        outputs : sequence of NetworkOutput
            Of both networks, in the order of `STREAMS`.
        winner : int
            Index of the better one.
        batch : Batch
        progress : float
        """
        raise NotImplementedError

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of both networks."""
        return [networks[name](image).logits for name in STREAMS]

    def shares(self) -> Sequence[float]:
        """Return equal shares."""
        return 0.5, 0.5

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates."""
        return dict.fromkeys(STREAMS, Rate(self.learning_rate, schedule=self.schedule))

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Let the networks compete anew."""
        cast(Winner, networks["winner"]).forget()
