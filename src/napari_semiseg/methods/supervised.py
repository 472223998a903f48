"""Lower reference: a network on the labelled slices only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from napari_semiseg import networks as nets
from napari_semiseg.data.sampling import Batch
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.networks.lrc_pair import pair_options


class Supervised(Method):
    """A network, U-Net16 by default, trained with ½(CE + Dice) on what is labelled (UNet-LS, methods.md 2)."""

    name: ClassVar[str] = "supervised"
    title: ClassVar[str] = "Supervised U-Net"
    summary: ClassVar[str] = "A U-Net that learns from the labelled slices only."
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "optimiser": "sgd",
            "learning_rate": 0.01,
            "weight_decay": 1e-4,
            "augmentation": "turns",
            "labelled_batch": 24,
            "crop": 256,
            "dice_all_classes": True,
        },
        "product": {"labelled_batch": 8},
        "product-small": {"labelled_batch": 4, "crop": 160, "longest_side": 224},
    }

    unlabelled_batch: int = Field(0, ge=0, le=0, description="This method uses no unlabelled crops")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Highest learning rate")
    network: Literal["unet16", "unet32t", "resnet_unet", "lrc_pair", "cs_unet", "swin_unet"] = Field(
        "unet16",
        description="U-Net of 16 or 32 channels, U-Net with the encoder of a ResNet-18, the pair of networks that lrc "
        "pre-trains as printed, or one of the Transformers (slow without a GPU)",
    )

    dice_all_classes: bool = Field(
        False, description="Dice is the mean over all classes, as printed, and not over those that the batch shows"
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the network."""
        options = pair_options(self.network, small=setup.small)
        return nn.ModuleDict({"unet": nets.build(self.network, setup.channels, setup.classes, **options)})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the supervised loss."""
        logits = networks["unet"](batch.image).logits
        return {"supervised": terms.supervised(logits, batch, all_classes=self.dice_all_classes)}

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the network's logits."""
        return [networks["unet"](image).logits]

    def rates(self) -> Mapping[str, Rate]:
        """Return its learning rate."""
        return {"unet": Rate(self.learning_rate)}
