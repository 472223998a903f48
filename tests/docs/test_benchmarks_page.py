"""What the benchmarks left is what docs/benchmarks.md shows, and how it is divided and ranked."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import pytest

from napari_semiseg.methods import names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(monkeypatch):
    """Import a benchmark as it is imported when another one runs as a script."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_every_table_of_the_page_is_made_from_the_results(load) -> None:
    tables = load("tables")
    page = tables.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- end -->") == len(tables.TABLES)
    assert tables.filled(page) == page, "run: python benchmarks/tables.py"
    pictures = load("plots").dice_plots(json.loads((tables.RESULTS / "methods.json").read_text(encoding="utf-8")))
    for name, picture in pictures.items():
        assert (tables.PICTURES / name).read_text(encoding="utf-8") == picture, "run: python benchmarks/tables.py"
        assert f"(images/{name})" in page


def run(method, seed, dice, *, title="left atrium", **others):
    scores = {"dice": dice, "jaccard": dice / 2, "hd95_mm": 4.0, "asd_mm": 1.0, "missed": 1, "peak_MB": 500 + seed}
    return {"set": title, "method": method, "preset": "product", "seed": seed, **scores, **others}


RECORD = {
    "runs": [
        run("uamt", 0, 0.5),
        run("lrc", 0, 0.9),
        run("uamt", 1, 0.7, hd95_mm=None),
        run("lrc", 1, 0.8),
        {"set": "left atrium", "method": "mcf", "preset": "product", "seed": 0, "failed": "Training diverged."},
        run("uamt", 0, 0.2, title="ACDC"),
    ]
}


def test_methods_are_ranked_by_their_mean_with_the_spread_over_the_seeds(load) -> None:
    lines = [line.split(" | ") for line in load("tables").methods(RECORD).splitlines()]
    assert lines[0][0] == "| left atrium"
    assert lines[2][:4] == ["| `lrc`, then `supervised`", "2", "85.0 ± 7.1", "42.5 ± 3.5"]
    # One of two seeds has a distance; two structures were not found; the larger memory.
    assert lines[3][:7] == ["| `uamt`", "2", "60.0 ± 14.1", "30.0 ± 7.1", "4.0", "1.0 ± 0.0", "2"]
    assert lines[3][8] == "501"
    assert lines[3][9] == "86.0"
    assert lines[5][0] == "![Dice of every seed: left atrium](images/methods-left-atrium.svg)"
    assert lines[7][0] == "| ACDC"
    assert len(lines) == 12


def test_the_plot_of_a_data_set_has_a_dot_per_seed_and_the_best_first(load) -> None:
    pictures = load("plots").dice_plots(RECORD)
    assert list(pictures) == ["methods-left-atrium.svg", "methods-acdc.svg"]
    first = pictures["methods-left-atrium.svg"]
    assert first.count("<circle") == 4
    assert first.index(">lrc<") < first.index(">uamt<")
    # From .5 to 1 on 520 px, right of 190: .9 is at 190 + 520·.8.
    assert 'cx="606.0"' in first


def test_no_patient_is_on_both_sides(load, tmp_path) -> None:
    entries = [
        {"case": f"{patient}{frame}", "patient": patient, "path": f"acdc_cine_mri/{patient}{frame}.nii.gz"}
        for patient in "abcde"
        for frame in (1, 2)
    ]
    entries.append({"case": "other", "path": "la_mri/other.nii.gz"})
    (tmp_path / "manifest.json").write_text(json.dumps({"entries": entries}))
    options = argparse.Namespace(labelled=2, unlabelled=3, unseen=2)
    division = load("methods").Division.of(tmp_path, "ACDC", options)
    assert division.to_json() == {
        "labelled": ["a1", "b1"],
        "unlabelled": ["a2", "b2", "c1"],
        "unseen": ["d1", "d2", "e1", "e2"],
    }
    with pytest.raises(SystemExit, match="5 patients: too few for 4"):
        load("methods").Division.of(tmp_path, "ACDC", argparse.Namespace(labelled=4, unlabelled=3, unseen=2))


def test_a_seed_of_everything_comes_before_the_next_and_nothing_comes_twice(load) -> None:
    options = argparse.Namespace(
        presets=["product"], seeds=[0, 1], sets=["left atrium", "ACDC"], methods=["uamt", "lrc"]
    )
    left = list(load("methods").left(RECORD, options))
    assert left == [("ACDC", "lrc", "product", 0), ("ACDC", "uamt", "product", 1), ("ACDC", "lrc", "product", 1)]


@pytest.mark.parametrize("method", names())
def test_small_sizes_fit_every_method(load, method) -> None:
    from napari_semiseg import methods

    for preset in ("product", "paper"):
        settings = load("methods").small_settings(method, preset)
        small = methods.get(method).preset(preset, small=True, **settings)
        assert small.crop <= 64
