"""Contrast of superpixels between two views, and of whole images against a queue (LRC: L; methods.md 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NO_REGION = 255
"""Number of pixels that belong to no region: air, and what lies beyond the image."""


def shared_regions(first: Tensor, second: Tensor, least: int = 25) -> Tensor:
    """Return the numbers of the regions that have at least ``least`` pixels in both views.

    The printed K_q = K_p need not hold: a region can be warped out of one view.

    Parameters
    ----------
    first, second : Tensor of int64, shape (H, W)
        Region numbers from 0; `NO_REGION` is none.
    least : int
        Pixels.

    Returns
    -------
    Tensor of int64, shape (K,)
        In ascending order.
    """
    numbers = [_frequent(view, least) for view in (first, second)]
    return numbers[0][torch.isin(numbers[0], numbers[1])]


def _frequent(view: Tensor, least: int) -> Tensor:
    numbers, counts = torch.unique(view, return_counts=True)
    return numbers[(counts >= least) & (numbers != NO_REGION)]


def region_features(features: Tensor, regions: Tensor, numbers: Tensor, samples: int | None = 50) -> Tensor:
    """Mean feature of each region, of length 1.

    Parameters
    ----------
    features : Tensor, shape (D, H, W)
    regions : Tensor of int64, shape (H, W)
    numbers : Tensor of int64, shape (K,)
        Regions that are asked for, in ascending order; each has a pixel.
    samples : int or None
        Pixels drawn per region, with replacement (N); None takes all.

    Returns
    -------
    Tensor, shape (K, D)
    """
    flat, index = features.flatten(1), regions.flatten()
    if samples is None:
        places = torch.nonzero(torch.isin(index, numbers))[:, 0]
        rank = torch.searchsorted(numbers, index[places])
        sums = features.new_zeros(len(numbers), len(features)).index_add(0, rank, flat[:, places].T)
    else:
        sums = flat[:, _drawn(index, numbers, samples)].sum(dim=2).T
    # Brought to length 1, a sum is what the mean is.
    return functional.normalize(sums, dim=1, eps=1e-6)


def _drawn(index: Tensor, numbers: Tensor, samples: int) -> Tensor:
    """Draw pixel indices with replacement, shape (K, samples)."""
    ordered, order = torch.sort(index)
    first = torch.searchsorted(ordered, numbers)
    counts = torch.searchsorted(ordered, numbers, right=True) - first
    chosen = torch.rand(len(numbers), samples, device=index.device) * counts[:, None]
    # Rounding can take a draw up to the count itself.
    return order[first[:, None] + chosen.long().clamp(max=counts[:, None] - 1)]


def region_contrast(query: Tensor, positive: Tensor, temperature: float = 0.1, *, include_self: bool = False) -> Tensor:
    """L_l = −(1/K) Σ_k log[e^{q_k·p_k/τ} / (Σ_{j≠k} e^{q_k·q_j/τ} + Σ_j e^{q_k·p_j/τ})] (L).

    Parameters
    ----------
    query, positive : Tensor, shape (K, D)
        Unit vectors of the same regions in two views.
    temperature : float
        τ.
    include_self : bool
        Keep j = k in the first sum, as printed. Its e^{1/τ} bounds the loss below by ln 2.

    Returns
    -------
    Tensor
        Scalar; 0 and attached to the graph for fewer than two regions.
    """
    if len(query) < 2:
        return 0.0 * (query.sum() + positive.sum())
    itself = torch.eye(len(query), dtype=torch.bool, device=query.device)
    among = query @ query.T / temperature
    if not include_self:
        among = among.masked_fill(itself, -torch.inf)
    across = query @ positive.T / temperature
    others = torch.cat([among, across.masked_fill(itself, -torch.inf)], dim=1)
    return _log_loss(across.diagonal(), others).mean()


def _log_loss(match: Tensor, others: Tensor) -> Tensor:
    """−log[e^m / (e^m + Σ e^o)] of matches (n,) and others (n, m), precise also where it is tiny."""
    return functional.softplus(others.logsumexp(dim=1) - match)


def local_loss(
    features: tuple[Tensor, Tensor],
    regions: tuple[Tensor, Tensor],
    *,
    samples: int | None = 50,
    temperature: float = 0.1,
    include_self: bool = False,
    least: int = 25,
) -> Tensor:
    """Mean of L_l over the images of a batch that have at least two regions.

    Parameters
    ----------
    features : two Tensors, shape (B, D, H, W)
        Of both views.
    regions : two Tensors of int64, shape (B, H, W)
        Region numbers from 0; `NO_REGION` is none.
    samples, temperature, include_self, least
        See `region_features`, `region_contrast`, `shared_regions`.

    Returns
    -------
    Tensor
        Scalar; 0 and attached to the graph where no image has two regions.
    """
    losses = []
    with torch.autocast(features[0].device.type, enabled=False):
        for image in range(len(features[0])):
            numbers = shared_regions(regions[0][image], regions[1][image], least)
            if len(numbers) < 2:
                continue
            query, positive = (
                region_features(f[image].float(), r[image], numbers, samples)
                for f, r in zip(features, regions, strict=True)
            )
            losses.append(region_contrast(query, positive, temperature, include_self=include_self))
        if not losses:
            return 0.0 * (features[0].float().sum() + features[1].float().sum())
        return torch.stack(losses).mean()


class KeyQueue(nn.Module):
    """First-in-first-out memory of image embeddings and of the slices that they come from (MoCo).

    Parameters
    ----------
    width : int
        Length of an embedding.
    capacity : int
        Number of keys that are kept.
    """

    keys: Tensor
    volume: Tensor
    plane: Tensor
    filled: Tensor
    cursor: Tensor

    def __init__(self, width: int, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("keys", torch.zeros(capacity, width))
        self.register_buffer("volume", torch.full((capacity,), -1, dtype=torch.int64))
        self.register_buffer("plane", torch.full((capacity,), -1, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def clear(self) -> None:
        """Forget everything."""
        self.filled.zero_()
        self.cursor.zero_()

    @torch.no_grad()
    def push(self, keys: Tensor, volume: Tensor, plane: Tensor) -> None:
        """Add keys (n, width) of slices; the oldest ones make room."""
        keys, volume, plane = (values[-self.capacity :] for values in (keys, volume, plane))
        places = (self.cursor + torch.arange(len(keys), device=self.keys.device)) % self.capacity
        self.keys[places], self.volume[places], self.plane[places] = keys.detach().to(self.keys.dtype), volume, plane
        self.cursor.copy_((self.cursor + len(keys)) % self.capacity)
        self.filled.copy_((self.filled + len(keys)).clamp(max=self.capacity))

    def content(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys (n, width), volumes (n,) and planes (n,), in no particular order."""
        count = int(self.filled)
        return self.keys[:count].clone(), self.volume[:count], self.plane[:count]


def neighbouring(places: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor], distance: int = 3) -> Tensor:
    """Return which slices are near duplicates: the same volume and at most ``distance`` planes apart.

    Parameters
    ----------
    places, others : two Tensors of int64, shapes (n,) and (m,)
        Volume and plane.
    distance : int
        Planes.

    Returns
    -------
    Tensor of bool, shape (n, m)
    """
    same = places[0][:, None] == others[0][None]
    return same & ((places[1][:, None] - others[1][None]).abs() <= distance)


def image_contrast(
    query: Tensor, positive: Tensor, negatives: Tensor, excluded: Tensor, temperature: float = 0.07
) -> Tensor:
    """L_g = −log[e^{q·p/τ} / (e^{q·p/τ} + Σ_neg e^{q·n/τ})], mean over queries (L; MoCo).

    Parameters
    ----------
    query, positive : Tensor, shape (B, D)
        Unit vectors; positives carry no gradient.
    negatives : Tensor, shape (n, D)
    excluded : Tensor of bool, shape (B, n)
        Which negatives do not count for which query.
    temperature : float
        τ_g.

    Returns
    -------
    Tensor
        Scalar; queries without any negative are left out, 0 and attached to the graph where none is left.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, positive, negatives = query.float(), positive.float(), negatives.float()
        usable = (~excluded).any(dim=1)
        if not bool(usable.any()):
            return 0.0 * query.sum()
        match = (query * positive).sum(dim=1) / temperature
        others = (query @ negatives.T / temperature).masked_fill(excluded, -torch.inf)
        return _log_loss(match[usable], others[usable]).mean()
