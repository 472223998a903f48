"""LRC: pre-training without labels by superpixels and whole slices (L; methods.md 10)."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg import networks as nets
from napari_semiseg.data import warping
from napari_semiseg.data.augmentation import Augmentation
from napari_semiseg.data.sampling import Batch
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.errors import InputError
from napari_semiseg.losses import local_region_contrast as lrc
from napari_semiseg.losses.schedules import ema_decay
from napari_semiseg.methods.base import Method, Rate, Setup
from napari_semiseg.methods.preparation import Preparation, Progress, Targets
from napari_semiseg.methods.teacher import follow, teacher_of
from napari_semiseg.networks.lrc_pair import FEATURES, LRCPair, pair_options
from napari_semiseg.networks.unet import UShaped
from napari_semiseg.regions.superpixels import felzenszwalb_plane

_EMBEDDING = 128  # length of z
_AIR_SHARE = 0.05  # of the intensity range: regions darker than this on average are air
_LEAST_REGION = 50  # pixels; or a thousandth of the plane
_ROTATION, _SCALE = 10.0, 0.1  # of the second view, in degrees and relative


class RegionPreTraining(Method):
    """A U-Net that tells the superpixels of a slice apart, and whose encoder tells slices apart."""

    name: ClassVar[str] = "lrc"
    title: ClassVar[str] = "Pre-training without labels"
    summary: ClassVar[str] = (
        "A U-Net learns to tell superpixels and slices apart, without any label; later rounds of other methods start "
        "from it. It predicts nothing itself."
    )
    uses_unlabelled: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "unlabelled_batch": 16,
            "weight_decay": 1e-4,
            "momentum": 0.999,
            "affine": False,
            "include_self": True,
            "contrast_change": 0.0,
            "network": "lrc_pair",
        },
        "product": {"unlabelled_batch": 12},
        "product-small": {
            "crop": 128,
            "longest_side": 224,
            "unlabelled_batch": 6,
            "queue": 1024,
            "learning_rate": 2e-3,
        },
    }

    labelled_batch: int = Field(0, ge=0, le=0, description="This method uses no labelled crops")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Highest learning rate")
    network: Literal["unet16", "resnet_unet", "lrc_pair"] = Field(
        "unet16",
        description="The network: the U-Net of most methods, one with the encoder of a ResNet-18, or as printed a "
        "ResNet for slices beside a U-Net for superpixels, from which supervised with network=lrc_pair starts",
    )
    region_contrast: float = Field(1.0, ge=0, le=10, description="Weight of the contrast of superpixels")
    image_contrast: float = Field(1.0, ge=0, le=10, description="Weight of the contrast of slices")
    region_temperature: float = Field(0.1, ge=0.01, le=1, description="Temperature of the contrast of superpixels")
    image_temperature: float = Field(0.07, ge=0.01, le=1, description="Temperature of the contrast of slices")
    samples: int = Field(50, ge=1, le=1000, description="Pixels drawn per superpixel")
    include_self: bool = Field(False, description="Count a superpixel as its own negative, as printed")
    queue: int = Field(4096, ge=16, le=65536, description="Slices remembered as negatives")
    momentum: float = Field(0.99, ge=0, lt=1, description="How slowly the encoder of the keys follows")
    elastic: float = Field(8.0, ge=0, le=50, description="Largest displacement of the second view in pixels")
    affine: bool = Field(True, description="Turn and scale the second view a little, besides the elastic deformation")
    contrast_change: float = Field(
        0.2, ge=0, le=1, description="Largest relative change of contrast of the second view"
    )
    superpixel_scale: float = Field(100.0, gt=0, le=10000, description="Larger values give larger superpixels")
    superpixel_smoothing: float = Field(
        0.8, ge=0, le=10, description="Smoothing before superpixels are found, in pixels"
    )
    superpixel_planes: int = Field(
        192, ge=1, le=100000, description="Slices of which superpixels are found, evenly over all volumes"
    )

    def networks(self, setup: Setup) -> nn.ModuleDict:
        """Build the U-Net with 64 feature channels, the projector, the key encoder that follows both, and the queue."""
        options = pair_options(self.network, small=setup.small)
        unet = nets.build(self.network, setup.channels, FEATURES, **options)
        whole, _ = _branches(unet)
        width = whole.bottleneck_channels
        projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _EMBEDDING))
        keys = cast(nn.ModuleDict, teacher_of(nn.ModuleDict({"unet": whole, "projector": projector})))
        followed = cast(UShaped, keys["unet"])
        del followed.decoder, followed.head  # only its encoder is asked
        queue = lrc.KeyQueue(_EMBEDDING, self.queue)
        return nn.ModuleDict({"unet": unet, "projector": projector, "follower": keys, "queue": queue})

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the contrast of superpixels L_l and of slices L_g between the batch and a deformed view of it."""
        image, regions = self._second_view(batch)
        first = batch.extras["regions"]
        whole, regional = _branches(networks["unet"])
        count, height, width = first.shape
        levels = regional.encode(torch.cat([batch.image, image]))
        losses = {}
        if self.region_contrast > 0:
            features = regional.decode(levels, height, width).logits
            losses["superpixels"] = self.region_contrast * lrc.local_loss(
                (features[:count], features[count:]),
                (first, regions),
                samples=self.samples,
                temperature=self.region_temperature,
                include_self=self.include_self,
            )
        if self.image_contrast > 0:
            coarsest = levels[-1][:count] if whole is regional else whole.encode(batch.image)[-1]
            query = _embed(networks["projector"], coarsest)
            losses["slices"] = self.image_contrast * self._slice_contrast(networks, query, image, batch)
        return losses

    def _second_view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Warp image and region map by one field and change the image's contrast."""
        count, height, width = batch.label.shape
        device = batch.image.device
        grid = warping.draw_warp(
            count,
            (height, width),
            largest=self.elastic,
            rotation=_ROTATION if self.affine else 0.0,
            scale=_SCALE if self.affine else 0.0,
            device=device,
        )
        gain = torch.exp((2 * torch.rand(count, device=device) - 1) * math.log1p(self.contrast_change))
        image = warping.warp_image(batch.image, grid) * gain[:, None, None, None]
        return image, warping.warp_numbers(batch.extras["regions"], grid)

    def _slice_contrast(self, networks: nn.ModuleDict, query: Tensor, image: Tensor, batch: Batch) -> Tensor:
        """Return L_g against the queue, or against the batch while the queue is empty; then the keys join the queue."""
        keys, queue = cast(nn.ModuleDict, networks["follower"]), cast(lrc.KeyQueue, networks["queue"])
        # Running statistics, for those of the batch would tell which key belongs to which query.
        keys.eval()
        with torch.no_grad():
            key = _embed(keys["projector"], cast(UShaped, keys["unet"]).encode(image)[-1])
        places = (batch.volume, batch.plane)
        negatives, *others = queue.content() if int(queue.filled) else (key, *places)
        excluded = lrc.neighbouring(places, (others[0], others[1]))
        loss = lrc.image_contrast(query, key, negatives, excluded, self.image_temperature)
        queue.push(key, *places)
        return loss

    def predictors(self, networks: nn.ModuleDict, image: Tensor) -> list[Tensor]:
        """Refuse: nothing here knows any class.

        Raises
        ------
        InputError
        """
        raise InputError(
            "Pre-trained networks know no classes and cannot segment; train a round of another method, which starts "
            "from them."
        )

    def rates(self) -> Mapping[str, Rate]:
        """Return the learning rates."""
        rate = Rate(self.learning_rate, schedule="cosine")
        return {"unet": rate} | ({"projector": rate} if self.image_contrast > 0 else {})

    def after_step(self, networks: nn.ModuleDict, step: int) -> None:
        """Let the encoder of the keys follow."""
        keys = cast(nn.ModuleDict, networks["follower"])
        whole, _ = _branches(networks["unet"])
        follow(keys["unet"], whole, ema_decay(step, self.momentum))
        follow(keys["projector"], networks["projector"], ema_decay(step, self.momentum))

    def after_warm_start(self, networks: nn.ModuleDict) -> None:
        """Flush the queue and put the encoder of the keys where the other one is."""
        cast(lrc.KeyQueue, networks["queue"]).clear()
        self.after_step(networks, 0)

    def strength(self) -> Augmentation:
        """Return how strongly first views are varied; the second view adds an elastic deformation."""
        if self.augmentation == "turns":
            return super().strength()
        return Augmentation(turns=False, rotation=15.0, scale=0.2, contrast=self.contrast_change, noise=0.1)

    def targets(
        self, volumes: Sequence[WorkingVolume], sources: Sequence[TrainingVolume], stopped: Callable[[], bool]
    ) -> Generator[Preparation, None, Targets]:
        """Find the superpixels (Felzenszwalb) of evenly spread slices; the others have none.

        The map ``"regions"`` holds int16 numbers of regions, 255 for air and for slices without superpixels.
        """
        places = [(v, p) for v, volume in enumerate(volumes) for p in range(len(volume.image))]
        count = min(self.superpixel_planes, len(places))
        maps = [torch.full(volume.image.shape, lrc.NO_REGION, dtype=torch.int16) for volume in volumes]
        floors = [_air(volume.image) for volume in volumes]
        chosen = sorted({round(i) for i in np.linspace(0, len(places) - 1, count)})
        for done, index in enumerate(chosen):
            yield Progress("finding superpixels", done / len(chosen))
            v, p = places[index]
            maps[v][p] = torch.from_numpy(self._superpixels(volumes[v].image[p].numpy(), floors[v]))
        return Targets({"regions": maps})

    def _superpixels(self, plane: np.ndarray, air: float) -> np.ndarray:
        """Return the region numbers of a plane, int16; regions darker than ``air`` on average are 255."""
        found = felzenszwalb_plane(
            plane,
            scale=self.superpixel_scale,
            sigma=self.superpixel_smoothing,
            min_size=max(_LEAST_REGION, plane.size // 1000),
        )
        means = np.bincount(found.ravel(), weights=plane.ravel()) / np.bincount(found.ravel())
        numbers = np.arange(len(means))
        numbers += numbers >= lrc.NO_REGION
        numbers[means < air] = lrc.NO_REGION
        return numbers.astype(np.int16)[found]


def _branches(network: nn.Module) -> tuple[UShaped, UShaped]:
    """Return the network whose encoder tells slices apart, and the one that tells superpixels apart."""
    if isinstance(network, LRCPair):
        return network.whole, network.regions
    return cast(UShaped, network), cast(UShaped, network)


def _air(image: Tensor) -> float:
    """Return the intensity below which a region is air."""
    low, high = float(image.min()), float(image.max())
    return low + _AIR_SHARE * (high - low)


def _embed(projector: nn.Module, features: Tensor) -> Tensor:
    """Return one unit vector per slice (B, 128) for the coarsest maps (B, channels, h, w)."""
    return functional.normalize(projector(features.mean(dim=(2, 3))).float(), dim=1, eps=1e-6)
