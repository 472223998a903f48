"""The main job on a built-in sample volume, without a screen."""

from __future__ import annotations

from pathlib import Path

import typer

from napari_semiseg import api
from napari_semiseg.cli.progress import follow
from napari_semiseg.session.sample import create_sample


def run_demo(out: Path, minutes: float) -> None:
    """Train on five labelled slices of the cardiac phantom, write its mask and print the Dice of the others.

    Parameters
    ----------
    out : Path
        Folder; receives ``cardiac.semiseg``, ``mask.nii.gz`` and ``reference.nii.gz``.
    minutes : float
        Budget of the training.
    """
    from napari_semiseg import io
    from napari_semiseg.engine.control import LocalControl
    from napari_semiseg.engine.evaluate import evaluate
    from napari_semiseg.session.export import mask_of

    session, phantom = create_sample(out / "cardiac.semiseg")
    control = LocalControl()
    # Every slice is learned from: the reference, not held-out slices, tells how good the result is.
    code = follow(api.train(session, minutes=minutes, hold_out=False, control=control), control, as_json=False)
    if code:
        raise typer.Exit(code)
    (volume,) = session.volumes
    geometry = session.volumes[volume].geometry
    mask = mask_of(session, volume)
    written = io.write_mask(out / "mask.nii.gz", mask, geometry, dict(phantom.class_names))
    io.write_mask(out / "reference.nii.gz", phantom.labels, geometry, dict(phantom.class_names))
    labelled = session.annotation(volume).annotated_planes()
    scores = evaluate(mask, phantom.labels, phantom.spacing, skip_planes=labelled)
    for class_id, name in phantom.class_names.items():
        dice = scores[class_id].dice if class_id in scores else None
        told = "undefined" if dice is None else f"{dice:.3f}"
        print(f"{name}: Dice {told} on the {len(mask) - len(labelled)} slices that were not labelled")
    print(f"The mask is {written}")
