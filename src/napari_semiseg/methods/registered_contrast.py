"""Contrast of confident pixels whose positives registration helps to find (CCT-R: T§6.3.1, 6.3.4; methods.md 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses import certainty_contrast as cc
from napari_semiseg.losses.in_batch_contrast import in_batch_contrast
from napari_semiseg.losses.map_bank import MapBank
from napari_semiseg.methods.contrast import SCALES, Projectors, pixels_of, shrink
from napari_semiseg.networks import NetworkOutput

_WIDTH = 128  # channels of the projected features


class RegisteredContrast(nn.Module):
    """Contrast of confident pixels of all networks, whose positives registration helps to find (SCL and REPS).

    Parameters
    ----------
    channels : mapping of str to mapping of str to int
        Feature channels of the networks by scale, see `channels_of`.
    scale : int
        A key of `SCALES`.
    share : float
        w₂ of the registered positives; w₁ = 1−w₂.
    anchors, negatives, temperature
        See `napari_semiseg.losses.in_batch_contrast.in_batch_contrast`.
    confidence : float
        h: anchors are predicted with more than this probability.
    bank_share : float
        K by the number of slices of all volumes.
    bank_slices : int
        Largest K.
    bank_stride : int
        Stride of the remembered maps.
    """

    def __init__(
        self,
        channels: Mapping[str, Mapping[str, int]],
        *,
        scale: int = 1,
        share: float = 0.5,
        anchors: int = 1000,
        negatives: int = 500,
        confidence: float = 0.5,
        temperature: float = 0.1,
        bank_share: float = 0.2,
        bank_slices: int = 256,
        bank_stride: int = 4,
    ) -> None:
        super().__init__()
        self.scale, self.share, self.confidence = scale, share, confidence
        self.bank_share, self.bank_slices, self.bank_stride = bank_share, bank_slices, bank_stride
        self.options: dict[str, Any] = {"anchors": anchors, "negatives": negatives, "temperature": temperature}
        self.projectors = Projectors(channels, (scale,))
        self.bank = MapBank(_WIDTH)

    def forward(self, outputs: Mapping[str, NetworkOutput], guides: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return L_cl (T-eq 6.4) with a_p = normalise(w₁a^l + w₂a^r); the bank is updated first.

        Parameters
        ----------
        outputs, guides
            See `Registered.registered_losses`.
        batch : Batch
        """
        scale = self.scale
        features = {name: output.features[SCALES[scale]] for name, output in outputs.items()}
        size = next(iter(features.values())).shape[-2:]
        if batch.correspondences is not None:
            self._remember(features, batch)
        truth, inside = shrink(batch.label, size).flatten(), shrink(batch.inside, size).flatten()
        seen = [pixels_of(guides[name].detach().float().softmax(dim=1), size, truth) for name in features]
        label = torch.cat([pixels.label for pixels in seen])
        threshold = label.new_tensor(math.inf, dtype=torch.float32)  # certainty has no say here
        may_anchor = [cc.anchor_mask(pixels, threshold, self.confidence) & inside for pixels in seen]
        count = len(truth)

        def embed(chosen: Tensor) -> Tensor:
            embedded = chosen.new_zeros((len(chosen), _WIDTH), dtype=torch.float32)
            for index, (name, maps) in enumerate(features.items()):
                mine = torch.nonzero(chosen // count == index)[:, 0]
                embedded = embedded.index_add(0, mine, self.projectors(scale, name, maps, chosen[mine] % count))
            return embedded

        def positives(chosen: Tensor, mean: Tensor) -> Tensor:
            return self.positives(chosen % count, mean, batch, size)

        return in_batch_contrast(
            embed,
            label,
            torch.cat(may_anchor),
            positives=positives if batch.correspondences is not None else None,
            **self.options,
        )

    @torch.no_grad()
    def positives(self, places: Tensor, mean: Tensor, batch: Batch, size: Sequence[int]) -> Tensor:
        """Return the positive of each anchor, shape (n, D): a^l where no volume has a registered one (T-eq 6.11–6.13).

        Parameters
        ----------
        places : Tensor of int64, shape (n,)
            Indices of the anchors in maps (B, h, w) flattened.
        mean : Tensor, shape (D,)
            a^l.
        batch : Batch
        size : sequence of 2 ints
            h, w.
        """
        assert batch.correspondences is not None
        crop = (batch.image.shape[-2], batch.image.shape[-1])
        height, width = size
        sample, row, column = places // (height * width), places // width % height, places % width
        grid = torch.stack([(row + 0.5) * crop[0] / height, (column + 0.5) * crop[1] / width], dim=1)
        offsets = grid - torch.tensor(crop, device=grid.device) / 2
        registered = torch.zeros(len(places), _WIDTH, device=places.device)
        count = torch.zeros(len(places), 1, device=places.device)
        for index in sample.unique().tolist():
            mine = torch.nonzero(sample == index)[:, 0]
            affine = batch.affine[index]
            pixels = offsets[mine] @ affine[:, :2].T + affine[:, 2]
            reached = batch.correspondences.reach(int(batch.volume[index]), int(batch.plane[index]), pixels)
            for volume, planes, there in reached:
                features, found = self.bank.look_up(volume, planes, there, crop)
                registered[mine] += features
                count[mine] += found[:, None]
        share = self.share
        both = (1 - share) * mean + share * registered / count.clamp(min=1)
        return torch.where(count > 0, functional.normalize(both, dim=1, eps=1e-6), mean)

    @torch.no_grad()
    def _remember(self, features: Mapping[str, Tensor], batch: Batch) -> None:
        """Push the mean of the networks' projected maps, smaller by the stride."""
        assert batch.correspondences is not None
        crop = batch.image.shape[-2:]
        size = [max(1, n // self.bank_stride) for n in crop]
        wanted = math.ceil(self.bank_share * batch.correspondences.planes)
        self.bank.reserve(min(self.bank_slices, max(1, wanted)), size)
        total = torch.zeros(len(batch.image), *size, _WIDTH, device=batch.image.device)
        for name, maps in features.items():
            small = functional.interpolate(maps.float(), size=size, mode="area")
            every = torch.arange(total[..., 0].numel(), device=maps.device)
            total += self.projectors(self.scale, name, small, every).view(total.shape)
        unit = functional.normalize(total, dim=-1, eps=1e-6)
        self.bank.push(unit.permute(0, 3, 1, 2), batch.volume, batch.plane, batch.affine)
