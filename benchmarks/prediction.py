"""Time and memory of predicting a whole volume with its uncertainty.

    python benchmarks/prediction.py --out prediction.json

A model is trained for a few steps on a small phantom, then applied to an 88 × 140 × 183 volume and to a
300 × 512 × 512 CT, both enlarged phantoms. Memory is the peak of the predicting process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_semiseg.data.phantoms import abdomen, cardiac
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.engine.device import choose_device, choose_precision
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import predict_volume
from napari_semiseg.engine.train import train

CASES = {
    "88 x 140 x 183 MRI, 4 classes": (cardiac, (88, 140, 183), (0.625, 0.625, 0.625)),
    "300 x 512 x 512 CT, 6 classes": (abdomen, (300, 512, 512), (1.0, 0.8, 0.8)),
}


def measure(case: str, method: str) -> dict[str, object]:
    """Predict one case in this process."""
    make, shape, spacing = CASES[case]
    phantom = make()
    labels = np.full_like(phantom.labels, 255)
    labels[::6] = phantom.labels[::6]
    volume = TrainingVolume("phantom", phantom.image, phantom.spacing, labels)
    keeper = MemoryKeeper()
    class_ids = (0, *phantom.class_names)
    for _ in train([volume], class_ids, Plan(method=method, steps=2), keeper=keeper):
        pass
    folder = Path(tempfile.mkdtemp())
    for name, content in keeper.files.items():
        (folder / name).write_bytes(content)
    device = choose_device()
    model = Model.load(folder, device)
    factors = [n / m for n, m in zip(shape, phantom.image.shape, strict=True)]
    image = ndimage.zoom(phantom.image, factors, order=0)
    del phantom, keeper, volume, labels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    planes = sum(len(m.labels) for _, m in predict_volume(model, image, spacing, choose_precision("auto", device)))
    return {
        "case": case,
        "method": method,
        "planes": planes,
        "seconds": round(time.perf_counter() - began, 2),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "before_MB": round(before),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["supervised", "mcscv2"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    rows = []
    for case in CASES:
        for method in options.methods:  # a process each, so that peaks do not mix
            command = [sys.executable, __file__, "--one", case, method]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
