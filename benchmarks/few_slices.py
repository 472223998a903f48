"""Dice on the unlabelled slices of single volumes from a few labelled ones, beside classical peers.

    python benchmarks/few_slices.py --data ../shared/data --slices 5 --minutes 2 --out few_slices.json

Every volume stands alone: k slices equally spaced from the first to the last slice of its structures are revealed,
every peer gets the same ones and learns from all of them, as in a final training, and every score is that of the slices
that were not revealed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.engine.evaluate import evaluate
from napari_semiseg.engine.events import Failed, Finished, Started
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.regions import propagation
from napari_semiseg.session.sample import spread

CASES = {
    "left atrium": ("la_mri", 4),
    "ACDC": ("acdc_cine_mri", 3),
    "abdomen (CHAOS T2)": ("abdomen_mri_chaos_t2", 2),
}

Peer = Callable[[TrainingVolume, int, argparse.Namespace], np.ndarray]


def by_network(method: str) -> Peer:
    def run(volume: TrainingVolume, classes: int, options: argparse.Namespace) -> np.ndarray:
        keeper = MemoryKeeper()
        plan = Plan(method=method, minutes=options.minutes, seed=options.seed)
        for event in train([volume], range(classes), plan, keeper=keeper):
            if isinstance(event, Started | Finished):
                print("     ", event.to_json()[:240], flush=True)
            if isinstance(event, Failed):
                raise RuntimeError(event.error)
        return keeper.predictions[volume.id].labels

    return run


def by_random_walker(volume: TrainingVolume, classes: int, options: argparse.Namespace) -> np.ndarray:
    return propagation.random_walker(volume.image, volume.labels, volume.spacing)[0]


def by_interpolation(volume: TrainingVolume, classes: int, options: argparse.Namespace) -> np.ndarray:
    return propagation.interpolate_signed_distance(volume.labels, volume.spacing)


PEERS: dict[str, Peer] = {
    "auto": by_network("auto"),
    "supervised": by_network("supervised"),
    "cross_teaching": by_network("cross_teaching"),
    "mcscv2": by_network("mcscv2"),
    "bcll": by_network("bcll"),
    "random walker": by_random_walker,
    "signed-distance interpolation": by_interpolation,
}


def load(data: Path, entry: dict[str, str], count: int) -> tuple[TrainingVolume, np.ndarray, list[int]]:
    volume = io.read_volume(data / entry["path"])
    reference = io.read_mask(data / entry["label_path"], volume.geometry)
    planes = spread(reference, count)
    labels = np.full_like(reference, UNSAID)
    labels[planes] = reference[planes]
    return TrainingVolume(entry["case"], volume.data, volume.geometry.spacing, labels), reference, planes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--sets", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--volumes", type=int, help="volumes per set (default: 4, 3 and 2)")
    parser.add_argument("--peers", nargs="+", default=["auto", "supervised", *list(PEERS)[5:]], choices=list(PEERS))
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="results; rows that it holds already are not repeated")
    parser.add_argument("--rows", type=int, help="end after so many new rows; the next call goes on")
    options = parser.parse_args()

    record = json.loads(options.out.read_text()) if options.out.exists() else {"rows": []}
    settings = {key: getattr(options, key) for key in ("minutes", "slices", "seed")}
    if record["rows"] and any(record[key] != value for key, value in settings.items()):
        parser.error(f"{options.out} was made with other settings; choose another --out")
    record |= {**settings, "processor": platform.processor() or platform.machine()}
    done = {(row["set"], row["case"], row["peer"]) for row in record["rows"]}
    left = [
        (title, entry, peer)
        for title in options.sets
        for entry in entries(options.data, title)[: options.volumes or CASES[title][1]]
        for peer in options.peers
        if (title, entry["case"], peer) not in done
    ]
    for title, entry, peer in left[: options.rows]:
        record["rows"].append(measure(title, entry, peer, options))
        record["summary"] = summarise(record["rows"])
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record.get("summary"), indent=2))


def entries(data: Path, title: str) -> list[dict[str, str]]:
    """Return the volumes of a data set; ACDC lists two frames per patient, of which one is taken."""
    folder = CASES[title][0]
    found = [
        e for e in json.loads((data / "manifest.json").read_text())["entries"] if e["path"].startswith(folder + "/")
    ]
    return found[::2] if folder == "acdc_cine_mri" else found


def measure(title: str, entry: dict[str, str], peer: str, options: argparse.Namespace) -> dict[str, Any]:
    """Segment one volume by one peer."""
    volume, reference, planes = load(options.data, entry, options.slices)
    classes = int(reference[reference != UNSAID].max()) + 1
    began = time.perf_counter()
    predicted = PEERS[peer](volume, classes, options)
    seconds = time.perf_counter() - began
    scores = evaluate(predicted, reference, volume.spacing, skip_planes=planes)
    dice = {i: score.dice for i, score in scores.items() if i < classes}
    mean = float(np.mean([d for d in dice.values() if d is not None]))
    print(f"{title:20} {entry['case']:24} {peer:30} {mean:.3f}  {seconds:.0f} s", flush=True)
    return {
        "set": title,
        "case": entry["case"],
        "slices": planes,
        "peer": peer,
        "dice": dice,
        "mean_dice": mean,
        "hd95_mm": {i: score.hd95_mm for i, score in scores.items()},
        "seconds": round(seconds, 1),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean over the volumes of each data set, by peer."""
    summary: dict[str, dict[str, float]] = {}
    for row in rows:
        alike = [r["mean_dice"] for r in rows if (r["set"], r["peer"]) == (row["set"], row["peer"])]
        summary.setdefault(row["set"], {})[row["peer"]] = round(float(np.mean(alike)), 4)
    return summary


if __name__ == "__main__":
    main()
