"""Contrast of pixel features as a part that any method can take: projectors, certainty-guided contrast and its banks.

A method adds the certainty-guided contrast by one module in its ``ModuleDict``::

    built["contrast"] = contrast_of({"student": built["student"]}, setup)
    ...
    guides = {"student": teacher_logits}
    losses["contrast"] = weight * networks["contrast"]({"student": output}, guides, batch, progress)

with a `Rate` for ``"contrast"``, and flushes its banks by ``networks["contrast"].clear()`` after a warm start. What is
learned and remembered lies in the module, so saving and resuming it needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_semiseg.data.sampling import Batch
from napari_semiseg.losses import certainty_contrast as cc
from napari_semiseg.methods import terms
from napari_semiseg.methods.base import Setup
from napari_semiseg.networks import Network, NetworkOutput

SCALES = {1: "full", 4: "1/4", 8: "1/8"}
"""Where contrast can look: the networks' features by divisor of the resolution."""

SMALL: Mapping[str, Any] = {"scales": (4,), "anchors": 256, "negatives": 128, "bank": 8000}
"""Options of `CertaintyGuided` for machines without a GPU (methods.md 12-G)."""

_WIDTH = 128  # channels of the projected features


def known_scales(scales: tuple[int, ...]) -> tuple[int, ...]:
    """Return scales as they are; for pydantic validators.

    Raises
    ------
    ValueError
        If one is not a key of `SCALES`, or is given twice.
    """
    if unknown := sorted(set(scales) - set(SCALES)):
        raise ValueError(f"contrast scales are 1, 4 and 8, not {unknown}")
    if len(set(scales)) < len(scales):
        raise ValueError(f"contrast scales are given twice: {scales}")
    return scales


def channels_of(networks: Mapping[str, nn.Module] | nn.ModuleDict) -> dict[str, dict[str, int]]:
    """Return the feature channels of networks by name and scale, as `Projectors` wants them."""
    return {name: cast(Network, network).feature_channels for name, network in networks.items()}


class Projectors(nn.Module):
    """1×1 convolution → 256, ReLU, 1×1 → 128 per network and scale; networks share the last layer (methods.md 4).

    A 1×1 convolution is a linear layer per pixel, and only the pixels that the contrast asks for go through it.

    Parameters
    ----------
    channels : mapping of str to mapping of str to int
        Feature channels by network and scale, see `channels_of`.
    scales : iterable of int
        Keys of `SCALES`.
    """

    def __init__(self, channels: Mapping[str, Mapping[str, int]], scales: Iterable[int]) -> None:
        super().__init__()
        self.first = nn.ModuleDict()
        self.shared = nn.ModuleDict()
        for scale in scales:
            self.first[str(scale)] = nn.ModuleDict(
                {name: nn.Linear(count[SCALES[scale]], 256) for name, count in channels.items()}
            )
            self.shared[str(scale)] = nn.Linear(256, _WIDTH)

    def forward(self, scale: int, name: str, features: Tensor, places: Tensor) -> Tensor:
        """Project some pixels of a network's feature map.

        Parameters
        ----------
        scale : int
        name : str
        features : Tensor, shape (B, channels, h, w)
        places : Tensor of int64, shape (n,)
            Indices of the pixels in the map flattened to B·h·w.

        Returns
        -------
        Tensor of float32, shape (n, 128)
            Unit vectors.
        """
        first = cast(nn.ModuleDict, self.first[str(scale)])[name]
        pixels = features.permute(0, 2, 3, 1).flatten(0, 2)[places]
        projected = self.shared[str(scale)](functional.relu(first(pixels))).float()
        return functional.normalize(projected, dim=1, eps=1e-6)


def shrink(values: Tensor, size: Sequence[int]) -> Tensor:
    """Resample integers or bools (B, H, W) to (B, h, w) by the nearest pixel."""
    return functional.interpolate(values[:, None].float(), size=tuple(size), mode="nearest")[:, 0].to(values.dtype)


class CertaintyGuided(nn.Module):
    """Certainty-guided, class-balanced contrast with negative banks (MCSCv2: T ch. 5; methods.md 5) of any networks.

    Each network has a guide: logits, without gradient, from which labels, anchors and negatives of its features are
    chosen. In the print this is the other of two networks; it may as well be an EMA teacher or the network itself.

    Parameters
    ----------
    channels : mapping of str to mapping of str to int
        Feature channels of the networks by scale, see `channels_of`.
    classes : int
        C, background included.
    scales : sequence of int
        Keys of `SCALES`.
    temperature, confidence, anchors, negatives
        See `napari_semiseg.losses.certainty_contrast.contrast`.
    uncertain : float
        β₀.
    bank : int
        Negatives remembered per class and scale.
    sampling : str
        ``"certain"`` or ``"hard"``, see `napari_semiseg.losses.certainty_contrast.contrast`.
    bank_dtype : torch.dtype
        Of the remembered features.
    """

    def __init__(
        self,
        channels: Mapping[str, Mapping[str, int]],
        classes: int,
        *,
        scales: Sequence[int] = (1, 8),
        temperature: float = 0.1,
        confidence: float = 0.9,
        uncertain: float = 0.2,
        anchors: int = 1000,
        negatives: int = 500,
        bank: int = 60_000,
        sampling: cc.Sampling = "certain",
        bank_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.projectors = Projectors(channels, scales)
        self.banks = nn.ModuleDict({str(scale): cc.NegativeBank(classes, _WIDTH, bank, bank_dtype) for scale in scales})
        self.uncertain = uncertain
        self.options: dict[str, Any] = {
            "confidence": confidence,
            "r_high": cc.default_r_high(classes),
            "anchors": anchors,
            "negatives": negatives,
            "temperature": temperature,
            "sampling": sampling,
        }

    def forward(
        self, outputs: Mapping[str, NetworkOutput], guides: Mapping[str, Tensor], batch: Batch, progress: float
    ) -> Tensor:
        """Sum L_bcl over scales and networks; the banks are updated.

        Parameters
        ----------
        outputs : mapping of str to NetworkOutput
            Of the networks whose features are to learn.
        guides : mapping of str to Tensor, shape (B, C, H, W)
            Logits that guide each of them; no gradient reaches them.
        batch : Batch
            What the annotator said overrides the guides, pixel by pixel.
        progress : float
            t/T.

        Returns
        -------
        Tensor
            Scalar ≥ 0.
        """
        guides = {name: terms.possible(logits, batch) for name, logits in guides.items()}
        probabilities = {name: logits.float().softmax(dim=1) for name, logits in guides.items()}
        total = torch.zeros((), device=batch.image.device)
        for key, bank in self.banks.items():
            scale = int(key)
            size = next(iter(outputs.values())).features[SCALES[scale]].shape[-2:]
            truth = shrink(batch.label, size).flatten()
            places = torch.nonzero(shrink(batch.inside, size).flatten())[:, 0]
            seen = {name: pixels_of(p, size, truth, places) for name, p in probabilities.items()}
            open_entropies = torch.cat([pixels.entropy[~pixels.said] for pixels in seen.values()])
            threshold = cc.entropy_threshold(open_entropies, cc.uncertain_share(progress, self.uncertain))
            for name, output in outputs.items():
                features = output.features[SCALES[scale]]

                def embed(chosen: Tensor, name: str = name, features: Tensor = features) -> Tensor:
                    return self.projectors(scale, name, features, places[chosen])  # noqa: B023

                total = total + cc.contrast(embed, seen[name], threshold, cast(cc.NegativeBank, bank), **self.options)
        return total

    def clear(self) -> None:
        """Forget all negatives, for instance after a warm start."""
        for bank in self.banks.values():
            cast(cc.NegativeBank, bank).clear()


def contrast_of(networks: Mapping[str, nn.Module] | nn.ModuleDict, setup: Setup) -> CertaintyGuided:
    """Return the certainty-guided contrast of networks with the paper's options, smaller where no GPU helps."""
    options: dict[str, Any] = {**SMALL, "bank_dtype": torch.float16} if setup.small else {}
    return CertaintyGuided(channels_of(networks), setup.classes, **options)


def pixels_of(
    probabilities: Tensor, size: Sequence[int], truth: Tensor, places: Tensor | slice = slice(None)
) -> cc.Pixels:
    """Describe the pixels of a map of another size.

    Parameters
    ----------
    probabilities : Tensor, shape (B, C, H, W)
    size : sequence of 2 ints
        h, w.
    truth : Tensor of int64, shape (B·h·w,)
        255 where nothing is said.
    places : Tensor of int64, shape (n,), optional
        Which of these pixels; all by default.
    """
    shrunk = functional.interpolate(probabilities, size=tuple(size), mode="bilinear", align_corners=False)
    flat = shrunk.permute(0, 2, 3, 1).flatten(0, 2)
    return cc.Pixels.of(flat[places], truth[places])
