"""Volumes as the panel knows them, before and after they are part of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_semiseg.io import Geometry, Volume

if TYPE_CHECKING:
    from napari_semiseg.session import Session, SliceState, VolumeRecord


@dataclass(eq=False)
class Entry:
    """One volume.

    Attributes
    ----------
    name : str
    geometry : Geometry
    volume : Volume or None
        Its voxels, while it is shown or while no session keeps it.
    id : str or None
        Its id in the session; None before there is one.
    axis : int or None
        Slice axis that was asked for when it was read.
    replaced : bool
        Voxels without a value were replaced when it was read.
    """

    name: str
    geometry: Geometry
    volume: Volume | None = None
    id: str | None = None
    axis: int | None = None
    replaced: bool = False
    looked_for: tuple[int, ...] | None = None
    """Ids of the classes that are looked for in it, None for all."""
    chosen: bool = True
    """Whether it is trained on and predicted."""
    states: list[SliceState] = field(default_factory=list)
    """States of its slices when it was last at hand."""
    painted: tuple[NDArray[np.uint8], list[SliceState]] | None = None
    """What was painted (layer values) while another volume is shown and no session keeps it yet."""

    @classmethod
    def of_record(cls, record: VolumeRecord, states: list[SliceState]) -> Entry:
        """Return the entry of a volume of a session."""
        return cls(
            name=record.name,
            geometry=record.geometry,
            id=record.id,
            axis=record.axis,
            looked_for=record.looked_for,
            states=states,
        )

    def belong(self, session: Session, volume_id: str) -> None:
        """Take over what the session knows of the volume."""
        self.id = volume_id
        self.geometry = session.volumes[volume_id].geometry
        self.painted = None

    def add_to(self, session: Session, *, stored: bool = False) -> VolumeRecord:
        """Add the volume to a session: by reference when it came from a file, else, or if ``stored``, with its voxels.

        Raises
        ------
        InputError
            If the file cannot be read any more.
        StorageError
        """
        if self.volume is None:
            raise ValueError(f"the voxels of {self.name} are not at hand")
        if self.volume.source is not None and not stored:
            return session.add_volume(
                self.volume.source,
                axis=self.axis,
                frame=self.volume.frame,
                series=self.volume.series,
                replace_nonfinite=self.replaced,
                looked_for=self.looked_for,
            )
        record = session.add_array(self.volume.data, self.geometry, self.name)
        return record if self.looked_for is None else session.look_for(record.id, self.looked_for)
