"""Where a run's results go: files of a session, or memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.engine.maps import Maps, join


class PredictionWriter(Protocol):
    """Receives the prediction of a volume block by block; nothing is visible before `close`."""

    def write(self, first: int, maps: Maps) -> None:
        """Store the planes from ``first`` on."""
        ...

    def close(self, *, complete: bool) -> None:
        """Publish the prediction if it is complete, else discard it."""
        ...


class Keeper(Protocol):
    """Stores what a run produces; called in between steps from the run's own thread."""

    def save(self, files: Mapping[str, bytes]) -> None:
        """Store model and training state, each file atomically."""
        ...

    def preview(self, volume: str, plane: int, maps: Maps) -> None:
        """Store the prediction of one plane."""
        ...

    def prediction(self, volume: TrainingVolume, classes: int, disagreement: bool) -> PredictionWriter:
        """Return the writer of a volume's prediction."""
        ...


class MemoryKeeper:
    """Keeps everything in memory: for scripts, benchmarks and tests.

    Attributes
    ----------
    files : dict of str to bytes
        The last model and training state.
    previews : dict of (volume id, plane) to Maps
    predictions : dict of volume id to Maps
        Whole volumes.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.previews: dict[tuple[str, int], Maps] = {}
        self.predictions: dict[str, Maps] = {}

    def save(self, files: Mapping[str, bytes]) -> None:
        """Keep the files."""
        self.files.update(files)

    def preview(self, volume: str, plane: int, maps: Maps) -> None:
        """Keep the plane."""
        self.previews[volume, plane] = maps

    def prediction(self, volume: TrainingVolume, classes: int, disagreement: bool) -> PredictionWriter:
        """Return a writer into memory."""
        return _MemoryWriter(self, volume.id)


class _MemoryWriter:
    def __init__(self, keeper: MemoryKeeper, volume: str) -> None:
        self.keeper, self.volume = keeper, volume
        self.blocks: list[Maps] = []

    def write(self, first: int, maps: Maps) -> None:
        self.blocks.append(maps)

    def close(self, *, complete: bool) -> None:
        if complete:
            self.keeper.predictions[self.volume] = join(self.blocks)
