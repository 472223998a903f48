"""Certainty-guided, class-balanced contrast with a negative memory bank (MCSCv2: T ch. 5; methods.md 5).

For the features of one branch all selection statistics come from the other branch, without gradient: probabilities P,
labels y (ground truth where said, else argmax P), entropy H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Sampling = Literal["certain", "hard"]
"""How anchors and negatives are chosen: as in MCSCv2, or as in ReCo (methods.md 11)."""
_HARD_BELOW = 0.97  # ReCo: pixels predicted with less confidence are its anchors
_ALIKE_TEMPERATURE = 0.5  # ReCo: of the softmax over similarities of classes


@dataclass(frozen=True)
class Pixels:
    """Pixels of one scale, flattened, as the other branch sees them.

    Attributes
    ----------
    probabilities : Tensor, shape (n, C)
        P of the other branch.
    label : Tensor of int64, shape (n,)
        Ground truth where said, else argmax P.
    said : Tensor of bool, shape (n,)
        Where the label is ground truth.
    entropy : Tensor, shape (n,)
        H(P).
    """

    probabilities: Tensor
    label: Tensor
    said: Tensor
    entropy: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor) -> Pixels:
        """Describe pixels; ``truth`` (n,) holds class indices, 255 where nothing is said."""
        said = truth != 255
        return cls(
            probabilities,
            torch.where(said, truth, probabilities.argmax(dim=1)),
            said,
            torch.special.entr(probabilities).sum(dim=1),
        )


def uncertain_share(progress: float, initial: float = 0.2) -> float:
    """β_t = β₀(1−t/T): the part of unlabelled pixels that counts as uncertain."""
    return initial * (1.0 - progress)


def entropy_threshold(entropy: Tensor, share: float) -> Tensor:
    """γ_t: the (1−β_t)-quantile of the entropies of unlabelled pixels; uncertain is H > γ_t, strictly."""
    if entropy.numel() == 0:
        return entropy.new_tensor(math.inf)
    # torch.quantile refuses more than 16 million values, kthvalue does not.
    k = min(entropy.numel(), max(1, math.ceil((1.0 - share) * entropy.numel())))
    return entropy.kthvalue(k).values


def ranks(probabilities: Tensor) -> Tensor:
    """O(c): how many classes are more probable than c; shape (n, C), 0 = most probable."""
    return (-probabilities).argsort(dim=1, stable=True).argsort(dim=1, stable=True)


def anchor_mask(pixels: Pixels, threshold: Tensor, confidence: float = 0.9) -> Tensor:
    """Pixels that may be anchors of their class: P(y) > h and, where unlabelled, certain (step 3)."""
    return (_confidence(pixels) > confidence) & trusted_mask(pixels, threshold)


def hard_anchor_mask(pixels: Pixels, threshold: Tensor) -> Tensor:
    """Pixels that may be anchors in ReCo: of a trusted label, but predicted with P(y) < 0.97."""
    return (_confidence(pixels) < _HARD_BELOW) & trusted_mask(pixels, threshold)


def trusted_mask(pixels: Pixels, threshold: Tensor) -> Tensor:
    """Pixels whose label is taken for granted: said, or predicted with certainty, bool, shape (n,)."""
    return pixels.said | (pixels.entropy <= threshold)


def _confidence(pixels: Pixels) -> Tensor:
    return pixels.probabilities.gather(1, pixels.label[:, None])[:, 0]


def negative_mask(pixels: Pixels, threshold: Tensor, r_low: int, r_high: int) -> Tensor:
    """Which pixels are negatives of which class (step 5), bool, shape (n, C).

    Labelled: y ≠ c although c is ranked above r_low; unlabelled and uncertain: c is ranked at r_high or below;
    unlabelled and certain: at r_low or below.
    """
    order = ranks(pixels.probabilities)
    uncertain = (~pixels.said & (pixels.entropy > threshold))[:, None]
    others = functional.one_hot(pixels.label, order.shape[1]) == 0
    unlabelled = torch.where(uncertain, order >= r_high, order >= r_low)
    return torch.where(pixels.said[:, None], others & (order < r_low), unlabelled & others)


def default_r_high(classes: int, r_low: int = 1) -> int:
    """r_h = max(r_l, C−2): 2 for C = 4 and 7 for C = 9, as printed."""
    return max(r_low, classes - 2)


class NegativeBank(nn.Module):
    """First-in-first-out memory of negatives per class: features and the class each came from.

    Parameters
    ----------
    classes, width : int
        Number of classes and of feature channels.
    capacity : int
        Keys per class; one update adds at most a quarter of it.
    dtype : torch.dtype
        Of the stored features.
    """

    keys: Tensor
    ids: Tensor
    filled: Tensor
    cursor: Tensor

    def __init__(self, classes: int, width: int, capacity: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("keys", torch.zeros(classes, capacity, width, dtype=dtype))
        self.register_buffer("ids", torch.zeros(classes, capacity, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("cursor", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def push(self, class_index: int, features: Tensor, ids: Tensor) -> None:
        """Add negatives of a class: features (n, width), and the class index of each."""
        limit = max(1, self.capacity // 4)
        if len(features) > limit:
            chosen = torch.randperm(len(features), device=features.device)[:limit]
            features, ids = features[chosen], ids[chosen]
        start = int(self.cursor[class_index])
        places = (start + torch.arange(len(features), device=self.keys.device)) % self.capacity
        self.keys[class_index, places] = features.detach().to(self.keys.dtype)
        self.ids[class_index, places] = ids
        self.cursor[class_index] = (start + len(features)) % self.capacity
        self.filled[class_index] = min(self.capacity, int(self.filled[class_index]) + len(features))

    def sample(self, class_index: int, count: int) -> tuple[Tensor, Tensor]:
        """Return up to ``count`` random keys (n, width) in float32 and their class indices, all if fewer."""
        filled = int(self.filled[class_index])
        # A copy even if all are taken: the next push must not change what a backward pass will need.
        chosen = torch.randperm(filled, device=self.keys.device)[:count]
        return self.keys[class_index, chosen].float(), self.ids[class_index, chosen]

    def sample_alike(self, class_index: int, centre: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return ``count`` keys drawn with replacement, more of those classes whose mean is like ``centre`` (ReCo).

        A class is drawn with the softmax of the cosine between its mean key and ``centre``, shape (width,), over 0.5;
        its keys are equally likely. Returns the same as `sample`; nothing when the bank is empty.
        """
        filled = int(self.filled[class_index])
        if filled == 0:
            return self.sample(class_index, count)
        keys, ids = self.keys[class_index, :filled].float(), self.ids[class_index, :filled]
        sizes = torch.bincount(ids, minlength=len(self.filled)).float()
        sums = torch.zeros(len(sizes), keys.shape[1], device=keys.device).index_add_(0, ids, keys)
        alike = functional.normalize(sums, dim=1, eps=1e-6) @ centre.to(keys.dtype)
        odds = torch.where(sizes > 0, alike / _ALIKE_TEMPERATURE, -torch.inf).softmax(dim=0) / sizes.clamp(min=1)
        chosen = torch.multinomial(odds[ids], count, replacement=True)
        return keys[chosen], ids[chosen]

    def clear(self) -> None:
        """Forget everything."""
        self.filled.zero_()
        self.cursor.zero_()


def class_loss(
    anchors: Tensor, positive: Tensor, negatives: Tensor, ids: Tensor, temperature: float, *, balanced: bool = True
) -> Tensor:
    """Mean over anchors of −s_ip + log(e^{s_ip} + Σ_j (1/|n^j|) Σ_{k∈n^j} e^{s_ik}) (step 6), by logsumexp.

    Not in half precision, even under autocast: it does not hold similarities divided by the temperature.

    Parameters
    ----------
    anchors : Tensor, shape (a, D)
    positive : Tensor, shape (D,) or (a, D)
        One for all anchors, or one for each.
    negatives : Tensor, shape (m, D)
    ids : Tensor of int64, shape (m,)
        Class of each negative: the groups j.
    temperature : float
    balanced : bool
        False divides by 1 instead of |n^j|: every negative counts the same.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        to_positive = (anchors * positive).sum(dim=1) / temperature
        to_negatives = anchors @ negatives.T / temperature
        if balanced:
            to_negatives = to_negatives - torch.bincount(ids)[ids].to(anchors.dtype).log()
        # −s_p + log(e^{s_p} + N) = log(1 + N·e^{−s_p}), which keeps the digits of small losses.
        return functional.softplus(to_negatives.logsumexp(dim=1) - to_positive).mean()


def contrast(
    embed: Callable[[Tensor], Tensor],
    pixels: Pixels,
    threshold: Tensor,
    bank: NegativeBank,
    *,
    confidence: float = 0.9,
    r_low: int = 1,
    r_high: int,
    anchors: int = 1000,
    negatives: int = 500,
    temperature: float = 0.1,
    sampling: Sampling = "certain",
) -> Tensor:
    """L_bcl of one branch at one scale (steps 3–6); the bank is updated first.

    Parameters
    ----------
    embed : callable
        Gives the normalised features, float32, shape (m, D), of this branch's pixels of given indices, int64, shape
        (m,). Only anchors need a gradient, so only they are embedded with one: positives and negatives have none.
    pixels : Pixels
        The pixels as the other branch sees them.
    threshold : Tensor
        γ_t.
    bank : NegativeBank
    confidence : float
        h: anchors are predicted with more than this probability.
    r_low, r_high : int
    anchors, negatives : int
        At most N anchors and M negatives per class.
    temperature : float
    sampling : str
        ``"certain"``: confident anchors, their mean as the positive, negatives drawn alike and balanced by class
        (MCSCv2). ``"hard"``: anchors of which the guide is not sure, the mean of all trusted pixels of the class as the
        positive, and more negatives from classes that look like it, unbalanced, since balance would undo the choice
        (ReCo).

    Returns
    -------
    Tensor
        Scalar ≥ 0; 0 and attached to the graph when no class has anchors and negatives.
    """
    hard = sampling == "hard"
    may_anchor = hard_anchor_mask(pixels, threshold) if hard else anchor_mask(pixels, threshold, confidence)
    in_centre = trusted_mask(pixels, threshold) if hard else may_anchor
    may_push = negative_mask(pixels, threshold, r_low, r_high)
    needed = in_centre | may_push.any(dim=1)
    place = needed.cumsum(dim=0) - 1  # of a pixel among the needed ones
    # Detached rather than under no_grad: older autocasts would then keep copies of the weights without a gradient.
    features = embed(torch.nonzero(needed)[:, 0]).detach()
    parts = []
    for c in range(pixels.probabilities.shape[1]):
        pushed = torch.nonzero(may_push[:, c])[:, 0]
        if len(pushed):
            bank.push(c, features[place[pushed]], pixels.label[pushed])
        chosen = torch.nonzero(may_anchor & (pixels.label == c))[:, 0]
        if len(chosen) == 0 or int(bank.filled[c]) == 0:
            continue
        centred = torch.nonzero(in_centre & (pixels.label == c))[:, 0] if hard else chosen
        positive = functional.normalize(features[place[centred]].mean(dim=0), dim=0, eps=1e-6)
        if len(chosen) > anchors:
            chosen = chosen[torch.randperm(len(chosen), device=chosen.device)[:anchors]]
        drawn = bank.sample_alike(c, positive, negatives) if hard else bank.sample(c, negatives)
        parts.append((chosen, positive, *drawn))
    # All classes at once: one gather has a far cheaper backward pass than one per class.
    embedded = embed(torch.cat([chosen for chosen, *_ in parts]) if parts else needed.new_empty(0, dtype=torch.long))
    if not parts:
        return 0.0 * embedded.sum()
    per_class = embedded.split([len(chosen) for chosen, *_ in parts])
    losses = [
        class_loss(mine, positive, keys, ids, temperature, balanced=not hard)
        for mine, (_, positive, keys, ids) in zip(per_class, parts, strict=True)
    ]
    return torch.stack(losses).mean()
