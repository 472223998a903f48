"""Masks of images and of a session's volumes by a model, each read only when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg import io
from napari_semiseg.errors import InputError
from napari_semiseg.io import Volume
from napari_semiseg.io.sniff import image_stem
from napari_semiseg.session.export import file_stems

if TYPE_CHECKING:
    from napari_semiseg.engine.model import Model
    from napari_semiseg.session.session import Session


@dataclass(frozen=True)
class Subject:
    """What is segmented.

    Attributes
    ----------
    name : str
    source : Path
        Image file or DICOM folder.
    read : callable
        Returns the image, what is annotated on it (class indices, 255 not said; None for nothing), which helps models
        that a random walk teaches, and the class indices that nobody looked for.
    """

    name: str
    source: Path
    read: Callable[[], tuple[Volume, np.ndarray | None, frozenset[int]]]

    @classmethod
    def of_file(cls, path: Path, **options: Any) -> Subject:
        """Return an image file; options as in `napari_semiseg.io.read_volume`."""
        return cls(image_stem(path), path, lambda: (io.read_volume(path, **options), None, frozenset()))

    @classmethod
    def of_session(cls, session: Session, volume: str, model: Model) -> Subject:
        """Return a volume of a session."""
        record = session.volumes[volume]

        def read() -> tuple[Volume, np.ndarray | None, frozenset[int]]:
            with session.visiting(volume):
                known = session.training_volume(volume, class_ids=model.class_ids)
            image = Volume(data=known.image, geometry=record.geometry, name=record.name)
            return image, known.labels, known.unsought

        return cls(record.name, record.source, read)


def segment(
    model: Model,
    subjects: Sequence[Subject],
    wanted: Mapping[str, Path],
    colours: Mapping[int, tuple[int, int, int]] | None = None,
    failed: Callable[[str, InputError], object] | None = None,
) -> list[Path]:
    """Write masks and maps of images.

    Parameters
    ----------
    model : Model
    subjects : sequence of Subject
    wanted : mapping of str to Path
        ``labels``, ``entropy``, ``disagreement`` and ``probabilities``: a file for one image, else a folder.
    colours : mapping of int to (red, green, blue), optional
        By class id.
    failed : callable, optional
        Gets name and error of each image that cannot be segmented; the others have their turn.

    Returns
    -------
    list of Path
        The masks written.

    Raises
    ------
    InputError
        If a result would be written over an image or another one; and, without ``failed``, if an image cannot be
        segmented, after the others were written.
    """
    stems = list(file_stems({str(i): subject.name for i, subject in enumerate(subjects)}).values())
    targets = {kind: _targets(path, stems) for kind, path in wanted.items()}
    _refuse_overwriting([subject.source for subject in subjects], targets)
    written: list[Path] = []
    errors: list[InputError] = []
    for index, subject in enumerate(subjects):
        try:
            _write(model, subject, {kind: paths[index] for kind, paths in targets.items()}, colours)
        except InputError as error:
            errors.append(error)
            if failed is not None:
                failed(subject.name, error)
        else:
            written.append(targets["labels"][index])
    if errors and failed is None:
        raise errors[0]
    return written


def _write(
    model: Model, subject: Subject, targets: Mapping[str, Path], colours: Mapping[int, tuple[int, int, int]] | None
) -> None:
    from napari_semiseg.engine.maps import join
    from napari_semiseg.engine.predict import predict_volume

    volume, labels, unsought = subject.read()
    blocks = predict_volume(model, volume.data, volume.geometry.spacing, labels=labels, unsought=unsought)
    maps = join([block for _, block in blocks])
    io.write_mask(targets["labels"], maps.labels, volume.geometry, dict(model.class_names), colours)
    for kind in targets.keys() - {"labels"}:
        values = getattr(maps, kind).astype(np.float32) / 255
        write = io.write_maps if kind == "probabilities" else io.write_map
        write(targets[kind], values, volume.geometry)


def _targets(path: Path, stems: Sequence[str]) -> list[Path]:
    """Return one file per volume: the path itself for one volume, else files in a folder of that name."""
    is_folder = path.is_dir() or not path.suffixes
    if len(stems) == 1 and not is_folder:
        return [path]
    if not is_folder:
        raise InputError(f"{path} is one file name for {len(stems)} volumes; give a folder.")
    path.mkdir(parents=True, exist_ok=True)
    return [path / f"{stem}.nii.gz" for stem in stems]


def _refuse_overwriting(images: Sequence[Path | None], targets: Mapping[str, Sequence[Path]]) -> None:
    """Refuse to write a result over an image or over another result."""
    taken = {image.resolve(): f"the image {image}" for image in images if image is not None}
    for kind, paths in targets.items():
        for path in paths:
            if path.resolve() in taken:
                raise InputError(f"The {kind} would be written over {taken[path.resolve()]}; choose another place.")
            taken[path.resolve()] = f"the {kind} {path}"
