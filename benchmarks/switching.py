"""Opening volumes of 300 × 512 × 512 in the window: image, annotation and last prediction, until they are drawn.

    tools/with-display .venv/bin/python benchmarks/switching.py --out benchmarks/results/switching.json

A session of three compressed NIfTI files with five annotated slices and a prediction each. "First" is the first time
that this machine sees a volume, "again" any later one (a second after the one before), "neighbour" the next one in the
list, which was prepared.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from large_volume import SHAPE, SPACING
from napari_semiseg.data.phantoms import abdomen
from napari_semiseg.engine.maps import Maps
from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import settle, wait
from napari_semiseg.session import Session, SliceState, voxels
from napari_semiseg.session.predictions import StoringWriter
from napari_semiseg.session.sample import spread


def create(folder: Path, count: int) -> Session:
    """Create a session of enlarged phantoms in files, each with annotated slices and a prediction."""
    session = Session.create(folder / "study.semiseg", classes=abdomen().class_names)
    for seed in range(count):
        phantom = abdomen(seed=seed)
        factors = [n / m for n, m in zip(SHAPE, phantom.image.shape, strict=True)]
        image = ndimage.zoom(phantom.image.astype(np.int16), factors, order=0)
        image += np.random.default_rng(seed).integers(-20, 20, SHAPE, dtype=np.int16)  # noise, which compresses badly
        file = folder / f"patient{seed}.nii.gz"
        nib.save(nib.Nifti1Image(image.transpose(2, 1, 0), np.diag([*SPACING[::-1], 1.0])), file)
        session.add_volume(file)
    round_ = session.new_round(Plan(steps=1))
    for volume in session.volumes:
        labels = ndimage.zoom(phantom.labels, factors, order=0)
        annotation = session.annotation(volume)
        for plane in spread(labels, 5):
            annotation.set_plane(plane, np.where(labels[plane] == 0, 255, labels[plane]).astype(np.uint8))
            annotation.set_state(plane, SliceState.COMPLETE)
        annotation.flush()
        writer = StoringWriter(round_.prediction_path(volume), SHAPE, session.class_ids, False)
        for first in range(0, SHAPE[0], 50):
            block = labels[first : first + 50]
            writer.write(first, Maps(block, block, None, np.stack([block] * len(session.class_ids))))
        writer.close(complete=True)
    session.close()
    return Session.open(session.path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the session is kept for the next call; a temporary one")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import napari

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SEMISEG_CACHE"] = str(Path(temporary) / "cache")
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "study.semiseg"
        session = Session.open(place) if place.exists() else create(folder, options.volumes)
        viewer = napari.Viewer()
        viewer.window.resize(1280, 800)
        _, panel = viewer.window.add_plugin_dock_widget("napari-semiseg", "Semiseg")
        desk = panel.desk
        desk.binder.open(session.path)
        result: dict[str, Any] = {}

        def shown(at: int) -> float:
            """Show a volume and return the seconds until everything of it is drawn."""
            began = time.perf_counter()
            desk.show(desk.entries[at])
            wait(lambda: desk.sheet is not None and desk.sheet.entry is desk.entries[at], "the volume")
            wait(lambda: desk.sheet.overlays.stored is not None, "the prediction")
            viewer.screenshot(flash=False)  # waits until the canvas is drawn
            return time.perf_counter() - began

        def prepared(at: int) -> bool:
            return voxels.recall(session.volumes[desk.entries[at].id]) is not None

        wait(lambda: desk.sheet is not None, "the session")
        last = len(session.volumes) - 1
        result["first_s"] = round(shown(last), 2)
        wait(lambda: prepared(last) and prepared(last - 1), "the neighbours to be prepared")
        settle(2)
        result["neighbour_s"] = round(shown(last - 1), 2)
        settle(2)
        again = []
        for turn in range(6):
            again.append(shown(last - turn % 2))
            settle(1)  # as long as somebody looks at it
        result["again_s"], result["again_largest_s"] = round(float(np.median(again)), 2), round(max(again), 2)
        viewer.close()
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
