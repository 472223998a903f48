"""Feature maps of slices that were seen lately, to look up registered positives in (CCT-R, REPS; methods.md 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class MapBank(nn.Module):
    """First-in-first-out memory of projected maps by (volume, slice), with the affine map of each one's crop.

    A slice that comes again replaces its map and keeps its place in the queue.

    Parameters
    ----------
    width : int
        Channels D.
    dtype : torch.dtype
        Of the stored maps.

    Notes
    -----
    How many slices there are is known with the data only, so the bank has no places until `reserve`; a bank that is
    loaded takes the size of what was saved.
    """

    maps: Tensor
    places: Tensor
    affines: Tensor
    ages: Tensor
    clock: Tensor

    def __init__(self, width: int, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.width, self.dtype = width, dtype
        self._allocate(0, (0, 0), torch.device("cpu"))

    @property
    def capacity(self) -> int:
        """Number of slices that have a place."""
        return len(self.places)

    def reserve(self, capacity: int, size: Sequence[int]) -> None:
        """Make room for ``capacity`` maps of ``size`` (h, w); forgets everything if that changes anything."""
        if (self.capacity, *self.maps.shape[2:]) != (capacity, *size):
            self._allocate(capacity, size, self.maps.device)

    @torch.no_grad()
    def push(self, maps: Tensor, volume: Tensor, plane: Tensor, affine: Tensor) -> None:
        """Remember maps (B, D, h, w) of slices, and the affine map (B, 2, 3) from crop to plane of each (`Batch`)."""
        for index in range(len(maps) if self.capacity else 0):
            key = torch.stack([volume[index], plane[index]])
            known = torch.nonzero((self.places == key).all(dim=1))[:, 0]
            if len(known):
                place = int(known[0])
            else:
                place = int(self.ages.argmin())
                self.clock += 1
                self.ages[place] = self.clock
            self.maps[place] = maps[index].detach().to(self.dtype)
            self.places[place], self.affines[place] = key, affine[index]

    def look_up(self, volume: int, planes: Tensor, pixels: Tensor, crop: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the features of points of a volume.

        Parameters
        ----------
        volume : int
        planes : Tensor of int64, shape (n,)
            −1 where there is none.
        pixels : Tensor, shape (n, 2)
            Row and column on the working grid.
        crop : tuple of 2 ints
            Size of the crops, of which the maps are a smaller copy.

        Returns
        -------
        features : Tensor of float32, shape (n, D)
        found : Tensor of bool, shape (n,)
            Whether the slice is in the bank and the point within its crop.
        """
        features = torch.zeros(len(planes), self.width, device=planes.device)
        found = torch.zeros(len(planes), dtype=torch.bool, device=planes.device)
        for place in torch.nonzero(self.places[:, 0] == volume)[:, 0].tolist():
            here = torch.nonzero(planes == self.places[place, 1])[:, 0]
            if len(here) == 0:
                continue
            matrix, offset = self.affines[place, :, :2], self.affines[place, :, 2]
            # From the plane back into the crop: its centre is the origin, its outer edges are at ±1.
            inside_crop = torch.linalg.solve(matrix, (pixels[here] - offset).T).T
            grid = 2 * inside_crop / pixels.new_tensor(crop)
            within = (grid.abs() <= 1).all(dim=1)
            sampled = functional.grid_sample(
                self.maps[place][None].float(),
                grid.flip(-1)[None, None],
                mode="bilinear",
                padding_mode="border",
                align_corners=False,
            )[0, :, 0].T
            features[here[within]] = sampled[within]
            found[here[within]] = True
        return features, found

    def clear(self) -> None:
        """Forget everything."""
        self.places.fill_(-1)
        self.ages.zero_()
        self.clock.zero_()

    def _allocate(self, capacity: int, size: Sequence[int], device: torch.device) -> None:
        self.register_buffer("maps", torch.zeros(capacity, self.width, *size, dtype=self.dtype, device=device))
        self.register_buffer("places", torch.full((capacity, 2), -1, dtype=torch.int64, device=device))
        self.register_buffer("affines", torch.zeros(capacity, 2, 3, device=device))
        self.register_buffer("ages", torch.zeros(capacity, dtype=torch.int64, device=device))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64, device=device))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}maps")
        if isinstance(saved, Tensor) and saved.dim() == 4 and saved.shape[1] == self.width:
            self.reserve(len(saved), saved.shape[2:])
        super()._load_from_state_dict(state_dict, prefix, *args)
