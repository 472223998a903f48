"""The images of a session: referenced, verified by content, never copied."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from napari_semiseg import io
from napari_semiseg.errors import InputError
from napari_semiseg.io import Volume
from napari_semiseg.session import voxels
from napari_semiseg.session.schema import VolumeRecord


def record_of(
    volume_id: str, volume: Volume, source: Path, *, name: str | None = None, replaced: bool = False
) -> VolumeRecord:
    """Describe an image that was read from ``source``, so that it can be found and verified again."""
    return VolumeRecord(
        id=volume_id,
        name=volume.name if name is None else name,
        source=source,
        frame=volume.frame,
        series=volume.series,
        axis=volume.geometry.axes[0],
        hash=io.content_hash(source, volume.series),
        geometry=volume.geometry,
        notes=volume.notes,
        replace_nonfinite=replaced,
    )


def read_image(record: VolumeRecord, *, verify: bool = True) -> Volume:
    """Read the image of a record, or recall it decoded (`session.voxels`) where its file was not touched since.

    Parameters
    ----------
    record : VolumeRecord
    verify : bool
        Compare the content with the one that was annotated.

    Raises
    ------
    InputError
        If the file was moved or is not the one that was annotated.
    """
    if not os.path.exists(record.source):  # a path that cannot even be looked up is as good as gone
        raise InputError(f"The image {record.source} of {record.name} is gone; bring it back to that place.")
    known = voxels.recall(record)
    if known is not None:
        return Volume(
            data=known,
            geometry=record.geometry,
            name=record.name,
            source=record.source,
            frame=record.frame,
            series=record.series,
            notes=record.notes,
        )
    if verify and io.content_hash(record.source, record.series) != record.hash:
        raise InputError(
            f"The image {record.source} is not the one that was annotated (its content changed); bring the "
            "original back or start a new session."
        )
    volume = io.read_volume(
        record.source,
        axis=record.axis,
        frame=record.frame,
        series=record.series,
        replace_nonfinite=record.replace_nonfinite,
    )
    if volume.geometry.shape != record.geometry.shape:
        raise InputError(
            f"{record.source} has the shape {volume.geometry.shape} instead of {record.geometry.shape}; "
            "bring the original back."
        )
    return replace(volume, geometry=record.geometry, name=record.name, notes=record.notes)
