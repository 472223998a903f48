"""A simulated annotator on real volumes: which method segments best from how many slices.

    python benchmarks/annotate.py --data ../shared/data --slices 3,5,9 --seconds 120 --out benchmarks/results/few_slices

What `semiseg benchmark` does, on data sets of a folder with a manifest.json. Rows that --out holds already are not
measured again, so an interrupted benchmark goes on with the same command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_semiseg.benchmark.cases import Case, read_case
from napari_semiseg.benchmark.design import Design
from napari_semiseg.benchmark.folder import measure
from napari_semiseg.benchmark.peers import DEFAULT_PEERS
from napari_semiseg.errors import InputError

SETS = {
    "left atrium": "la_mri/",
    "ACDC": "acdc_cine_mri/",
    "CHAOS T2": "abdomen_mri_chaos_t2/",
    "MS-CMR": "cardiac_bssfp_mscmr/",
    "brain T1": "brain_t1_malf/",
    "hippocampus": "hippocampus_mri/",
}
_MOST_CLASSES = 9  # the brain volumes come with their tissues, and with 138 structures


def cases(data: Path, title: str, volumes: int, skip: int) -> Iterator[Case]:
    """Yield volumes of a data set; of two frames of a patient the first."""
    entries = [
        entry
        for entry in json.loads((data / "manifest.json").read_text())["entries"]
        if entry["path"].startswith(SETS[title]) and len(entry["labels"]) <= _MOST_CLASSES + 1
    ]
    patients = {entry["case"].split("_frame")[0]: entry for entry in reversed(entries)}
    for entry in list(reversed(patients.values()))[skip : skip + volumes]:
        yield replace(read_case(data / entry["path"], data / entry["label_path"]), name=entry["case"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--sets", nargs="+", default=["left atrium", "ACDC", "CHAOS T2"], choices=list(SETS))
    parser.add_argument("--volumes", type=int, default=4, help="volumes of each set")
    parser.add_argument("--skip", type=int, default=0, help="so many volumes of each set are passed over")
    parser.add_argument("--peers", type=_texts, default=DEFAULT_PEERS)
    parser.add_argument("--slices", type=_numbers, default=(3, 5, 9))
    parser.add_argument("--policy", default="equidistant")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--added", type=int, default=1)
    parser.add_argument("--seconds", type=_numbers, default=())
    parser.add_argument("--steps", type=_numbers, default=())
    parser.add_argument("--seeds", type=_numbers, default=(0,))
    parser.add_argument("--annotated", type=int, help="volumes annotated together; the others are judged too")
    parser.add_argument("--jitter-mm", type=float, default=0.0)
    parser.add_argument("--missed-mm2", type=float, default=0.0)
    parser.add_argument("--scribbles", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="begin anew in every round")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", dest="settings", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"))
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = vars(parser.parse_args())
    data, titles, volumes, skip, out = (options.pop(key) for key in ("data", "sets", "volumes", "skip", "out"))
    options["settings"] = {name: json.loads(value) for name, value in options["settings"]}
    try:
        design = Design(**options)
        sets = {title: list(cases(data, title, volumes, skip)) for title in titles}
        for row in measure(sets, design, out):
            print(
                row.set,
                row.case,
                row.count,
                row.budget,
                row.seed,
                row.peer,
                row.mean(),
                row.seconds,
                sep="\t",
                flush=True,
            )
    except (InputError, ValidationError) as error:
        parser.error(str(error))


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    values: tuple[Any, ...] = tuple(json.loads(f"[{text}]"))
    return values


if __name__ == "__main__":
    main()
