"""What a method is: fields, networks and named losses.

A method is a recipe in one small file. It does not loop, step, log or save: the engine does, once for all methods.
Everything that changes while training (networks, EMA teachers, banks, queues, prototypes) is a module of the
`torch.nn.ModuleDict` that `Method.networks` returns, so saving and resuming it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.losses.schedules import SCHEDULES, Schedule
from napari_semiseg.methods.preparation import Preparation, Targets


@dataclass(frozen=True)
class Setup:
    """What a method is built for.

    Attributes
    ----------
    classes : int
        Number of classes C, background included.
    channels : int
        Input channels: 2·context+1 neighbouring planes.
    small : bool
        True where no GPU helps: banks and samples are smaller (methods.md 12-G).
    spacing : tuple of 3 floats
        mm on the working grid: plane, row, column. Networks of volumes choose their strides by it.
    planes : int or None
        Planes of the deepest volume, None where it is not known.
    """

    classes: int
    channels: int
    small: bool
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    planes: int | None = None


@dataclass(frozen=True)
class Rate:
    """Learning rate of a group of networks.

    Attributes
    ----------
    base : float
        Highest learning rate.
    warm_up : float
        Part of the run during which the rate grows linearly from 0.
    schedule : str
        How it falls: ``"poly"`` along (1−t/T)^0.9, ``"cosine"`` along a half cosine, ``"step"`` to a tenth at 5/12 and
        10/12 of the run, ``"constant"`` not at all.
    """

    base: float
    warm_up: float = 0.0
    schedule: Schedule = "poly"

    def at(self, progress: float) -> float:
        """Return the rate at a progress of 0…1: linear warm-up, then base times the schedule (methods.md 1.4)."""
        if progress < self.warm_up:
            return self.base * progress / self.warm_up
        return self.base * SCHEDULES[self.schedule](progress)


class Method(BaseModel):
    """Base of all methods; instances are immutable, validated settings.

    Subclasses set the class variables, add fields with bounds (from which the panel's form, the command line's
    ``--set`` and the model's metadata follow) and write `networks`, `losses` and `predictors`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    uses_unlabelled: ClassVar[bool] = False
    walks: ClassVar[bool] = False
    """True where a random walk carries the annotated slices to the others: batches hold what it says, and it has
    half of the say in the prediction (`data.guide`)."""
    needs_labels: ClassVar[bool] = True
    """False for pre-training: every slice counts as unlabelled, and the model predicts nothing."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "product": {}, "product-small": {}}
    works_on: ClassVar[tuple[int, ...]] = (2,)
    """Whether samples are planes (2), patches of volumes (3), or either by a setting, the first by default."""

    crop: int = Field(224, ge=32, le=1024, multiple_of=32, description="Side of the training crops in pixels")
    longest_side: int = Field(
        512, ge=64, le=2048, description="Planes longer than this many pixels are worked on at a coarser spacing"
    )
    context: int = Field(
        0, ge=0, le=3, description="Neighbouring planes on either side that the networks see as further channels"
    )
    labelled_batch: int = Field(4, ge=1, le=256, description="Labelled crops per step")
    unlabelled_batch: int = Field(4, ge=0, le=256, description="Unlabelled crops per step")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="Optimiser; SGD uses momentum 0.9")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Weight decay")
    augmentation: Literal["turns", "medical"] = Field(
        "medical",
        description="turns: quarter-turns, flips, rotations (the papers'); medical: small rotations, sizes, elastic, "
        "contrast and noise",
    )

    @property
    def spatial_axes(self) -> int:
        """2 where samples are crops of planes, 3 where they are patches of volumes (`methods.volume`)."""
        return self.works_on[0]

    def patch(self, setup: Setup) -> tuple[int, ...]:
        """Return the size of a sample: rows and columns, or planes, rows and columns."""
        return self.crop, self.crop

    @property
    def channels(self) -> int:
        """Input channels of the networks: the plane and its neighbours."""
        return 2 * self.context + 1

    @property
    def closed(self) -> bool:
        """Where a random walk teaches: whether structures end at the outermost completely annotated slices."""
        return True

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build everything that is trained or kept: networks, projectors, heads, teachers, banks."""
        raise NotImplementedError

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the named, weighted loss terms of one batch; the engine adds them up.

        Parameters
        ----------
        networks : ModuleDict
            As built by `networks`, in training mode.
        batch : Batch
        progress : float
            t/T, 0 at the first step, towards 1 at the last.
        """
        raise NotImplementedError

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Return the logits of every network that takes part in the prediction, (B, C, H, W) or (B, C, D, H, W).

        The prediction is the mean of their softmax weighted by `shares`, the disagreement that of the first two.
        """
        raise NotImplementedError

    def shares(self) -> Sequence[float]:
        """Return the share of each predictor in the prediction; they sum to 1."""
        return (1.0,)

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rate of each module of `networks` that has parameters."""
        raise NotImplementedError

    def after_step(self, networks: nn.ModuleDict, step: int) -> None:
        """Update what follows the networks, such as an EMA teacher."""

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush what belongs to the run that the weights come from: banks, queues, prototypes (methods.md 12-H)."""

    def targets(
        self, volumes: Sequence[WorkingVolume], sources: Sequence[TrainingVolume], stopped: Callable[[], bool]
    ) -> Generator[Preparation, None, Targets]:
        """Prepare what the losses need beside labels (registered labels, superpixels), once before the first step.

        Parameters
        ----------
        volumes : sequence of WorkingVolume
        sources : sequence of TrainingVolume
            The same volumes as they came: intensities and grid of the files.
        stopped : callable
            True once somebody asked for a stop; whoever works long between two yields looks at it.

        Yields
        ------
        Preparation
            How far it is and what was found. The engine may close the generator at any of them.

        Returns
        -------
        Targets
        """
        yield from ()
        return Targets()

    def strength(self) -> Augmentation:
        """Return how strongly samples are varied."""
        if self.augmentation == "turns":
            return Augmentation(turns=True, rotation=20.0)
        return Augmentation(turns=False, rotation=15.0, scale=0.2, elastic=3.0, contrast=0.2, noise=0.1)

    @classmethod
    def preset(cls, name: str, *, small: bool, **settings: Any) -> Method:
        """Return the method with the fields of a preset, changed by ``settings``.

        Parameters
        ----------
        name : str
            ``"paper"`` (closest workable form of the print) or ``"product"`` (recommended).
        small : bool
            Take the product preset for machines without a GPU.
        """
        key = "product-small" if name == "product" and small else name
        return cls.model_validate({**cls.presets[key], **settings})
