"""What methods that look at patches of volumes have in common (methods.md 12-E)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from napari_semiseg.methods.base import Method, Setup
from napari_semiseg.networks.strides import Stride, strides_for_spacing, totals

_LEVELS = 4  # times that the networks of volumes halve
_FEWEST = 8  # planes of a patch, where the volumes have as many: thick planes still show what is above and below


PAPER = {
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "schedule": "step",
    "weight_decay": 1e-4,
    "augmentation": "turns",
    "norm": "batch",
    "dropout": 0.5,
    # 18 of 112 pixels; across planes, too, where the print moves by 4 of 80.
    "overlap": 0.84,
}
SMALL = {"crop": 64, "depth": 32, "width": 8, "longest_side": 160, "labelled_batch": 1, "unlabelled_batch": 1}
"""What two cores manage (methods.md 12-G)."""


class VolumeMethod(Method):
    """Base of the methods that learn from patches of volumes; `crop` is the side of a patch in its planes."""

    works_on: ClassVar[tuple[int, ...]] = (3,)

    crop: int = Field(112, ge=32, le=512, multiple_of=16, description="Side of the training patches in pixels")
    depth: int = Field(
        80,
        ge=8,
        le=512,
        description="Extent of the patches across the planes, in pixels of a plane: half as many planes where they are "
        "twice as far apart as pixels",
    )
    overlap: float = Field(
        0.25, ge=0, le=0.9, description="Part of a window that the next one sees again when a volume is predicted"
    )
    width: int = Field(16, ge=2, le=64, description="Channels of the first level of the networks")
    norm: Literal["batch", "instance"] = Field(
        "instance", description="Norm of the networks; the statistics of a batch of two patches mislead"
    )
    dropout: float = Field(
        0.1,
        ge=0,
        le=0.9,
        description="Part of the channels left out at the bottleneck and before the output of networks of volumes",
    )

    @model_validator(mode="after")
    def _no_further_channels(self) -> VolumeMethod:
        if self.spatial_axes == 3 and self.context:
            raise ValueError("Neighbouring planes as channels are for methods that look at planes")
        return self

    def strides(self, setup: Setup) -> tuple[Stride, ...]:
        """Return what is between the levels of the networks: thick planes are halved less often."""
        return strides_for_spacing(setup.spacing, _LEVELS)

    def patch(self, setup: Setup) -> tuple[int, ...]:
        """Return planes, rows and columns of a patch; the networks halve its planes without a rest."""
        if self.spatial_axes == 2:
            return super().patch(setup)
        wanted = max(_FEWEST, math.ceil(self.depth * setup.spacing[1] / setup.spacing[0]))
        if setup.planes is not None:
            wanted = min(wanted, setup.planes)
        multiple = totals(self.strides(setup))[-1][0]
        return math.ceil(wanted / multiple) * multiple, self.crop, self.crop

    def network_options(self, setup: Setup) -> dict[str, Any]:
        """Return the options of the networks of volumes."""
        return {"width": self.width, "strides": self.strides(setup), "norm": self.norm, "dropout": self.dropout}
