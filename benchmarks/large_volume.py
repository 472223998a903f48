"""A CT of 300 × 512 × 512 in the window: opening, training, predicting, and the memory of both processes.

    tools/with-display .venv/bin/python benchmarks/large_volume.py --out large_volume.json

The volume is an enlarged abdominal phantom with five labelled slices. Memory is the peak of the process that shows the
window and of the one that trains and predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_semiseg.data.phantoms import abdomen
from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import is_predicted, open_window, settle, wait
from napari_semiseg.io import Geometry
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.sample import spread

SHAPE, SPACING = (300, 512, 512), (1.0, 0.8, 0.8)


def enlarged() -> tuple[np.ndarray, np.ndarray]:
    """Return the enlarged phantom and its labels."""
    phantom = abdomen()
    factors = [n / m for n, m in zip(SHAPE, phantom.image.shape, strict=True)]
    return ndimage.zoom(phantom.image, factors, order=0), ndimage.zoom(phantom.labels, factors, order=0)


def create(path: Path) -> Session:
    """Create a session with the enlarged phantom and five labelled slices."""
    image, labels = enlarged()
    session = Session.create(path, classes=abdomen().class_names)
    record = session.add_array(image, Geometry.from_spacing(SHAPE, SPACING), "enlarged abdomen")
    annotation = session.annotation(record.id)
    for plane in spread(labels, 5):
        annotation.set_plane(plane, np.where(labels[plane] == 0, 255, labels[plane]).astype(np.uint8))
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()
    return session


def children() -> list[int]:
    """Return the processes that this one has started: the worker."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def peak_mb(pid: int) -> int:
    """Return the largest resident memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "abdomen.semiseg"
        create(path)
        began = time.perf_counter()
        viewer, panel = open_window(Session.open(path))
        settle(0)
        result["open_with_napari_s"] = round(time.perf_counter() - began, 1)
        training = panel.desk.training
        settle(12)  # the worker warms up
        began = time.perf_counter()
        panel.desk.runs.start(Plan(minutes=options.seconds / 60))
        wait(lambda: training.first_step_after is not None, "the first step")
        result["first_step_s"] = round(time.perf_counter() - began, 1)
        wait(lambda: panel.desk.review.has_prediction, "the first prediction of the shown slice")
        result["first_shown_slice_s"] = round(time.perf_counter() - began, 1)
        wait(lambda: not training.phase.active, "the training to end")
        wait(lambda: is_predicted(panel), "the prediction to appear")
        result["train_and_predict_s"] = round(time.perf_counter() - began, 1)
        result["viewer_peak_MB"], result["worker_peak_MB"] = peak_mb(os.getpid()), max(map(peak_mb, children()))
        viewer.close()
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
