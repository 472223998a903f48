"""A session with a phantom of which a few slices are labelled: for the demonstration and for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from napari_semiseg.data.phantoms import Phantom, cardiac
from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.session import Session
from napari_semiseg.session.storage import storing


def create_sample(path: Path, *, seed: int = 0, labelled: int = 5) -> tuple[Session, Phantom]:
    """Create a session with a cardiac phantom; an earlier one at the same place is replaced.

    Parameters
    ----------
    path : Path
        Session folder.
    seed : int
        The patient.
    labelled : int
        Complete slices, equally spaced over the heart.

    Returns
    -------
    Session, Phantom

    Raises
    ------
    InputError
        If something else than a session is at the path.
    """
    if path.exists():
        if not (path / "session.json").is_file():
            raise InputError(f"{path} exists and is no session; choose another folder for the demonstration.")
        with storing(path):
            shutil.rmtree(path)
    phantom = cardiac(seed=seed)
    session = Session.create(path, classes=phantom.class_names)
    geometry = Geometry.from_spacing(phantom.image.shape, phantom.spacing)
    record = session.add_array(phantom.image, geometry, phantom.name)
    annotation = session.annotation(record.id)
    for plane in spread(phantom.labels, labelled):
        truth = phantom.labels[plane]
        annotation.set_plane(plane, np.where(truth == 0, 255, truth).astype(np.uint8))
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()
    return session, phantom


def spread(labels: np.ndarray, count: int) -> list[int]:
    """Return ``count`` planes equally spaced from the first to the last one that shows a structure."""
    shown = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    return sorted({round(float(plane)) for plane in np.linspace(shown[0], shown[-1], count)})
