"""Held-out slices, rounds and measurements on the command line."""

from __future__ import annotations

import csv
import json

from in_process import semiseg

from napari_semiseg.session.sample import create_sample

FAST = ["--steps", "2", "--device", "cpu", "--method", "supervised", "--set", "crop=64", "--set", "longest_side=64"]


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_hold_out_train_rounds_restore_measure(tmp_path, capsys):
    place = tmp_path / "cardiac.semiseg"
    session, phantom = create_sample(place)
    planes = session.annotation(next(iter(session.volumes))).annotated_planes()
    session.close()
    (shown,) = lines(semiseg(capsys, "hold-out", place, "--json"))
    assert shown["held_out"] == [planes[2]]
    assert f"{planes[1]} held out" in semiseg(
        capsys, "hold-out", place, "--slices", planes[1], "--learn-from", planes[2]
    )
    assert "expected whole numbers" in semiseg(capsys, "hold-out", place, "--slices", "x", code=2)

    semiseg(capsys, "train", place, *FAST)
    semiseg(capsys, "train", place, *FAST, "--use-all")
    first, second = lines(semiseg(capsys, "rounds", place, "--json"))
    assert first["held_out"]["slices"] == [[shown["volume"], planes[1]]]
    assert second["held_out"] == {}
    text = semiseg(capsys, "rounds", place, "--restore", 1)
    assert "uncalibrated" in text
    assert "calibration error" in text
    assert "another round with more slices" in text
    assert "no round 5" in semiseg(capsys, "rounds", place, "--restore", 5, code=2)
    changes = lines(semiseg(capsys, "rounds", place, "--compare", "1,2", "--json"))
    assert {change["class_id"] for change in changes} == set(phantom.class_names)
    assert "two rounds" in semiseg(capsys, "rounds", place, "--compare", "1", code=2)

    suggested = lines(semiseg(capsys, "suggest", place, "--count", 2, "--json"))
    assert sum(entry["order"] == "equidistant" for entry in suggested) == 2
    measured = lines(semiseg(capsys, "measure", place, "--source", "annotation", "--json"))
    assert [entry["class_id"] for entry in measured] == sorted(phantom.class_names)
    assert all(entry["volume_ml"] > 0 and entry["diameter_mm"] > 0 for entry in measured)
    semiseg(capsys, "measure", place, "--csv", tmp_path / "sizes.csv")
    table = list(csv.DictReader((tmp_path / "sizes.csv").open()))
    assert [line["name"] for line in table] == list(phantom.class_names.values())
    assert float(table[0]["ml"]) > 0
