"""ICT: interpolation consistency (T§4.4; methods.md 2)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses.local_region_contrast import neighbouring
from napari_semiseg.methods import terms
from napari_semiseg.methods.teacher import Taught, says

_SHAPE = 0.2  # of the Beta distribution: one of the two images mostly prevails


class InterpolationConsistency(Taught):
    """U-Net16 whose prediction of a mixture of two images is the mixture of its teacher's predictions."""

    name: ClassVar[str] = "ict"
    title: ClassVar[str] = "Interpolation consistency"
    summary: ClassVar[str] = (
        "A U-Net learns that a mixture of two unlabelled slices is segmented as the mixture of their segmentations."
    )

    def losses(self, networks: nn.ModuleDict, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return L_sup and w(t)·L_con; labelled crops and mixtures go through the student together."""
        labelled, others = torch.arange(len(batch.image), device=batch.image.device).tensor_split([batch.labelled])
        first = batch.only(labelled)
        weight = self.weight(batch, progress) if len(others) else 0.0
        if weight == 0:
            return {"supervised": terms.supervised(networks["student"](first.image).logits, first)}
        rest = batch.only(others)
        partner, share = partners(rest), mixing_share(len(others), batch.image.device)
        mixture = mixed(rest.image, partner, share)
        logits = networks["student"](torch.cat([first.image, mixture])).logits
        said_by_teacher = terms.possible(says(networks["teacher"], rest.image), rest).float().softmax(dim=1)
        consistency = terms.mean_square(
            logits[len(labelled) :].float().softmax(dim=1),
            mixed(said_by_teacher, partner, share),
            rest.unsaid & rest.unsaid[partner],
        )
        return {"supervised": terms.supervised(logits[: len(labelled)], first), "consistency": weight * consistency}


def mixing_share(count: int, device: torch.device) -> Tensor:
    """Draw λ~Beta(0.2, 0.2) for every pair, shape (count,)."""
    shape = torch.full((count,), _SHAPE)
    return torch.distributions.Beta(shape, shape).sample().to(device)


def mixed(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """(1−λ)·u₀ + λ·u₁ for values (n, channels, H, W), the index of each partner (n,) and λ (n,)."""
    weight = share[:, None, None, None].to(values.dtype)
    return (1 - weight) * values + weight * values[partner]


def partners(batch: Batch) -> Tensor:
    """Draw another sample for each, int64, shape (B,); none of neighbouring slices, which are near copies (12-B).

    Where there is no other, a neighbour; where there is one sample only, itself.
    """
    places = (batch.volume, batch.plane)
    near = neighbouring(places, places)
    itself = torch.eye(len(near), dtype=torch.bool, device=near.device)
    # Preference by rank: strangers, then neighbours, itself last.
    rank = torch.where(itself, 2, torch.where(near, 1, 0))
    allowed = rank == rank.min(dim=1, keepdim=True).values
    return torch.multinomial(allowed.float(), 1)[:, 0]
