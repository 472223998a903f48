"""Step time of every method as a ratio to the bare forward and backward of its own networks.

    python benchmarks/step_time.py --out step_time.json

A step is all that the loop does: drawing and augmenting the batch, losses, backward, optimiser, memories. Bare is one
forward, cross entropy and backward of the same networks on a batch of the same size. Both alternate in one process, and
the ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from napari_semiseg import methods
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.data.sampling import MEMORY_ORDER, Batch
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingGrid, to_working
from napari_semiseg.engine.device import choose_device, choose_precision, is_small
from napari_semiseg.engine.model import setup_of
from napari_semiseg.engine.optimisation import Optimisation
from napari_semiseg.engine.streams import sampler_of
from napari_semiseg.networks import Network
from napari_semiseg.steps import completed


def measure(name: str, steps: int, device: torch.device, precision: str) -> dict[str, float | str]:
    """Return median seconds of the method's step and of the bare networks, and their ratio."""
    torch.manual_seed(0)
    method = methods.get(name).preset("product", small=is_small(device))
    dtype = choose_precision(precision, device, spatial_axes=method.spatial_axes)
    phantom = cardiac()
    labels = np.full_like(phantom.labels, 255)
    labels[::3] = phantom.labels[::3]
    volume = TrainingVolume("phantom", phantom.image, phantom.spacing, labels)
    grid = WorkingGrid.of([volume], method.longest_side)
    working = to_working([volume], grid, IntensityRule.of([volume]))
    targets = completed(method.targets(working, [volume], lambda: False))
    maps = targets.maps
    working = [replace(v, extras={key: each[i] for key, each in maps.items()}) for i, v in enumerate(working)]
    setup = setup_of(method, len(phantom.class_names) + 1, grid, small=is_small(device))
    sampler = sampler_of(method, setup, working, correspondences=targets.correspondences)
    networks = method.networks(setup)
    networks.to(device, memory_format=MEMORY_ORDER[method.spatial_axes])
    optimisation = Optimisation(method, networks, dtype, warm=False)
    batch = sampler.batch().to(device)

    def outputs() -> list[torch.Tensor]:
        if method.needs_labels:
            return method.predictors(networks, batch.image)
        # Pre-training predicts nothing; its networks see two views.
        both = torch.cat([batch.image, batch.image])
        return [part(both).logits for part in networks.values() if isinstance(part, Network)]

    def bare_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        if method.needs_labels:
            return functional.cross_entropy(logits, batch.label, ignore_index=255)
        return logits.float().square().mean()

    def full() -> None:
        optimisation.step(sampler.batch().to(device), 0.5)

    def bare() -> None:
        networks.train().zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext():
            loss = sum(bare_loss(logits, batch) for logits in outputs())
        loss.backward()

    times: dict[str, list[float]] = {"full": [], "bare": []}
    for step in range(steps + 3):
        for kind, run in (("full", full), ("bare", bare)):
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if step >= 3:  # the first steps fill caches and memories
                times[kind].append(time.perf_counter() - began)
    step_s, bare_s = (statistics.median(times[kind]) for kind in ("full", "bare"))
    return {
        "method": name,
        "precision": str(dtype).removeprefix("torch."),
        "step_s": round(step_s, 4),
        "bare_s": round(bare_s, 4),
        "ratio": round(step_s / bare_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=methods.names(), choices=methods.names())
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    rows = []
    for name in options.methods:
        rows.append(measure(name, options.steps, device, options.precision))
        print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
