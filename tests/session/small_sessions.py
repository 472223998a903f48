from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from napari_semiseg.engine.plan import Plan


def truth(planes=6, side=48):
    """A disc that wanders, ids 0 and 2."""
    rows, columns = np.indices((side, side))
    return np.stack([2 * (np.hypot(rows - 24 - p, columns - 24) < 10) for p in range(planes)]).astype(np.uint8)


def write_image(path: Path, seed=0, planes=6, side=48) -> Path:
    """A bright disc on noise, as NIfTI with an odd affine."""
    rng = np.random.default_rng(seed)
    image = 60 * (truth(planes, side) > 0) + rng.normal(40, 8, (planes, side, side))
    affine = np.array([[-0.7, 0, 0, 3], [0, -0.7, 0, 4], [0, 0, 5, -9], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(image.transpose(2, 1, 0).astype(np.int16), affine), path)
    return path


def plan(steps=4, **options) -> Plan:
    """A run of the smallest networks on small crops."""
    settings = {"crop": 32, "longest_side": 64, **options.pop("settings", {})}
    options = {"method": "supervised", "device": "cpu", "precision": "float32", "threads": 1, **options}
    return Plan(steps=steps, settings=settings, **options)


def only(session) -> str:
    """The id of the first volume."""
    return next(iter(session.volumes))


def until(run, kind):
    """Wait for an event of a kind."""
    for event in run.tail():
        if isinstance(event, kind):
            return event
        assert not event.terminal, event
    raise AssertionError("the run ended without it")
