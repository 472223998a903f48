"""Every method on the same few labelled slices, seeds side by side, judged on volumes that no run has seen.

    python benchmarks/methods.py --data ../shared/data --steps 200 --out benchmarks/results/methods.json

Of a data set some volumes have a few labelled slices, equally spaced from the first to the last slice of their
structures, or are labelled throughout; some are unlabelled; and those by which a run is judged are neither. All
volumes of a patient are on the same side. Every run takes the same number of steps, in a process of its own, so that
peaks of memory do not mix; what is finished is kept, and the next call goes on with the rest, seed by seed. `lrc`,
which predicts nothing, is followed by as many steps of `supervised`.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import plots
import tables
from napari_semiseg import api, io, methods
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.engine.control import LocalControl
from napari_semiseg.engine.events import Failed, StepDone
from napari_semiseg.errors import InputError
from napari_semiseg.session import Session
from napari_semiseg.session.sample import spread

SETS = {"left atrium": "la_mri", "ACDC": "acdc_cine_mri", "abdomen (CHAOS T2)": "abdomen_mri_chaos_t2"}

# What one core manages in half a minute; the rest is the preset's.
SMALL = {
    2: {"crop": 64, "longest_side": 96, "labelled_batch": 2, "unlabelled_batch": 2, "superpixel_planes": 48},
    3: {"crop": 48, "depth": 8, "longest_side": 96, "labelled_batch": 1, "unlabelled_batch": 1},
}
SCORES = ("dice", "jaccard", "hd95_mm", "asd_mm")

Entry = dict[str, Any]
Run = tuple[str, str, str, int]  # data set, method, preset, seed


@dataclass(frozen=True)
class Division:
    """What becomes of the volumes of a data set; entries of its manifest."""

    labelled: list[Entry]
    unlabelled: list[Entry]
    unseen: list[Entry]

    @classmethod
    def of(cls, data: Path, title: str, options: argparse.Namespace) -> Division:
        """Take the first patients' first volumes as labelled and the last patients as unseen."""
        entries = [e for e in _manifest(data) if e["path"].startswith(SETS[title] + "/")]
        patients = list(dict.fromkeys(_patient(e) for e in entries))
        known, unseen = patients[: -options.unseen], patients[-options.unseen :]
        if len(known) < options.labelled:
            raise SystemExit(f"{title} has {len(patients)} patients: too few for {options.labelled} labelled ones.")
        first = [next(e for e in entries if _patient(e) == patient) for patient in known[: options.labelled]]
        others = [e for e in entries if _patient(e) in known and e not in first]
        return cls(first, others[: options.unlabelled], [e for e in entries if _patient(e) in unseen])

    def to_json(self) -> dict[str, list[str]]:
        """Return the names of the volumes."""
        return {part: [e["case"] for e in entries] for part, entries in vars(self).items()}


def _manifest(data: Path) -> list[Entry]:
    entries: list[Entry] = json.loads((data / "manifest.json").read_text())["entries"]
    return entries


def _patient(entry: Entry) -> str:
    return str(entry.get("patient", entry["case"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--sets", nargs="+", default=list(SETS)[:2], choices=list(SETS))
    parser.add_argument("--methods", nargs="+", default=methods.names(), choices=methods.names())
    parser.add_argument("--presets", nargs="+", default=["product"], choices=["product", "paper"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labelled", type=int, default=2, help="volumes with labels")
    parser.add_argument("--slices", type=int, default=5, help="labelled slices of each; 0: all")
    parser.add_argument("--unlabelled", type=int, default=4, help="at most so many volumes without labels")
    parser.add_argument("--unseen", type=int, default=2, help="patients to judge by")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", default="small", choices=["small", "preset"], help="of crops and batches")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="results; runs that it holds already are not repeated")
    parser.add_argument("--runs", type=int, help="end after so many new runs; the next call goes on")
    options = parser.parse_args()
    record = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    settings = {key: getattr(options, key) for key in ("steps", "size", "labelled", "slices", "unlabelled", "unseen")}
    if record["runs"] and any(record[key] != value for key, value in settings.items()):
        parser.error(f"{options.out} was made with other settings; choose another --out")
    record |= {**settings, "processor": platform.processor() or platform.machine(), "threads": options.threads}
    record.setdefault("volumes", {}).update(
        {title: Division.of(options.data, title, options).to_json() for title in options.sets}
    )
    with one_process_per_run() as processes:
        for run in list(left(record, options))[: options.runs]:
            record["runs"].append(in_its_own_process(processes, run, options))
            options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(tables.methods(record))
    for path in plots.write_dice_plots(record, options.out.parent):
        print(path)


def left(record: dict[str, Any], options: argparse.Namespace) -> Iterator[Run]:
    """Return what has not been run; a seed of everything before the next seed, so that whole seeds are left."""
    done = {(r["set"], r["method"], r["preset"], r["seed"]) for r in record["runs"]}
    for preset in options.presets:
        for seed in options.seeds:
            for title in options.sets:
                for method in options.methods:
                    if (run := (title, method, preset, seed)) not in done:
                        yield run


def one_process_per_run() -> Executor:
    """Return what starts a process for every run, from one that has loaded what all of them need."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "napari_semiseg.engine.train", "napari_semiseg.session.segmenting"]
    )
    return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)


def in_its_own_process(processes: Executor, run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a run; the record says what it failed with, if it did."""
    title, method, preset, seed = run
    found: dict[str, Any] = {"set": title, "method": method, "preset": preset, "seed": seed}
    try:
        found |= processes.submit(measure, run, options).result()
    except InputError as error:
        found["failed"] = str(error)
    print(*run, {key: found[key] for key in ("dice", "seconds", "peak_MB", "failed") if key in found}, flush=True)
    return found


def measure(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge by the public functions, in this process."""
    title, method, preset, seed = run
    division = Division.of(options.data, title, options)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        session = created(Path(folder), options.data, division, options.slices)
        step_s = trained(session, method, preset, seed, options)
        kind = methods.get(method)
        if not kind.needs_labels:
            network = {"network": kind.preset(preset, small=True).model_dump()["network"]}
            trained(session, "supervised", preset, seed, options, network)
        scores = judged(session, options.data, division.unseen, Path(folder), options.device)
    means = {key: _mean([s[key] for each in scores.values() for s in each.values()]) for key in SCORES}
    return {
        **means,
        "missed": sum(s["hd95_mm"] is None for each in scores.values() for s in each.values()),
        "step_s": round(step_s, 4),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": round(time.perf_counter() - began, 1),
        "scores": scores,
    }


def created(folder: Path, data: Path, division: Division, slices: int) -> Session:
    """Make a session of the labelled and the unlabelled volumes."""
    names = {int(i): name for i, name in division.labelled[0]["labels"].items() if i != "0"}
    sources = []
    for entry in division.labelled:
        geometry = io.read_geometry(data / entry["path"])
        reference = io.read_mask(data / entry["label_path"], geometry)
        planes = spread(reference, slices) if slices else range(len(reference))
        labels = np.full_like(reference, UNSAID)
        labels[planes] = reference[planes]
        path = io.write_mask(folder / f"{entry['case']}.nii.gz", labels, geometry, names)
        sources.append(api.Source(data / entry["path"], labels=path))
    sources += [api.Source(data / entry["path"]) for entry in division.unlabelled]
    return api.new(folder / "session.semiseg", sources, classes=names)


def trained(
    session: Session,
    method: str,
    preset: str,
    seed: int,
    options: argparse.Namespace,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> float:
    """Train a round and return the median seconds from one step to the next."""
    control, ends = LocalControl(), list[float]()
    for event in api.train(
        session,
        method=method,
        preset=preset,
        seed=seed,
        steps=options.steps + 1,
        settings={**(small_settings(method, preset) if options.size == "small" else {}), **further},
        device=options.device,
        threads=options.threads,
        hold_out=False,
        control=control,
    ):
        if isinstance(event, Failed):
            raise InputError(event.error)
        if isinstance(event, StepDone):
            ends.append(time.perf_counter())
            if event.step == options.steps:
                control.stop()  # a run that is stopped does not go on to predict its own volumes
    return float(statistics.median(np.diff(ends)))


def small_settings(method: str, preset: str) -> dict[str, int]:
    """Return those of the small sizes that the method lets choose."""
    kind = methods.get(method)
    fields = kind.model_json_schema()["properties"]
    wanted = SMALL[kind.preset(preset, small=True).spatial_axes]
    return {key: value for key, value in wanted.items() if key in fields and fields[key].get("maximum") != 0}


def judged(
    session: Session, data: Path, unseen: Sequence[Entry], folder: Path, device: str
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Predict the unseen volumes; return the scores of every structure of each."""
    masks = [folder / "predicted" / Path(e["path"]).name for e in unseen]
    model = session.latest_round()
    assert model is not None
    for entry, mask in zip(unseen, masks, strict=True):
        mask.parent.mkdir(exist_ok=True)
        api.predict(model.path, [data / entry["path"]], out=mask, device=device)
    return {
        entry["case"]: {
            entry["labels"][str(i)]: {key: getattr(score, key) for key in SCORES}
            for i, score in api.evaluate(mask, data / entry["label_path"]).items()
        }
        for entry, mask in zip(unseen, masks, strict=True)
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    main()
