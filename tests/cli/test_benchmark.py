"""The benchmark on the command line, in process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from in_process import semiseg

from napari_semiseg import cli, io
from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.io import Geometry
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.sample import create_sample

FAST = ["--steps", "1", "--device", "cpu", "--set", "crop=64", "--set", "longest_side=64"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two patients with their complete masks."""
    folder = tmp_path_factory.mktemp("finished")
    for seed in range(2):
        phantom = cardiac(seed=seed, planes=8)
        geometry = Geometry.from_spacing(phantom.image.shape, phantom.spacing)
        io.write_map(folder / f"heart{seed}.nii.gz", phantom.image.astype(np.float32), geometry)
        io.write_mask(folder / f"mask{seed}.nii.gz", phantom.labels, geometry, dict(phantom.class_names))
    return folder


def given(folder, count=2):
    pairs = [("--volume", folder / f"heart{i}.nii.gz", "--labels", folder / f"mask{i}.nii.gz") for i in range(count)]
    return [part for pair in pairs for part in pair]


def test_own_cases_are_measured_told_and_kept(finished, tmp_path, capsys):
    run = ["benchmark", *given(finished), "--out", tmp_path / "b", "--slices", "2", "--peers", "auto,walker", *FAST]
    table = semiseg(capsys, *run)
    assert "auto" in table
    assert "walker" in table
    assert str(tmp_path / "b" / "report.md") in table
    rows = json.loads((tmp_path / "b" / "results.json").read_text())["rows"]
    assert [(row["case"], row["peer"]) for row in rows] == [
        (case, peer) for case in ("heart0", "heart1") for peer in ("auto", "walker")
    ]
    assert all(set(row["scores"]) == {"1", "2", "3"} for row in rows if row["peer"] == "walker")
    assert "slices" in rows[0]["note"]
    assert not any(row["failed"] for row in rows)
    assert len(list((tmp_path / "b").glob("*.svg"))) == 2
    more = [json.loads(line) for line in semiseg(capsys, *run, "--slices", "2,3", "--json").splitlines()]
    assert [(row["count"], row["peer"]) for row in more] == [(3, "auto"), (3, "walker")] * 2


def test_a_session_whose_slices_are_complete_is_a_finished_case(tmp_path, capsys):
    session, _ = create_sample(tmp_path / "cardiac.semiseg", labelled=6)
    (volume,) = session.volumes
    annotation = session.annotation(volume)
    left_out = annotation.annotated_planes()[1]
    annotation.set_state(left_out, SliceState.SCRIBBLED)
    annotation.flush()
    session.close()
    out = semiseg(
        capsys, "benchmark", session.path, "--out", tmp_path / "b", "--peers", "distance", "--slices", "3", "--json"
    )
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert left_out not in row["slices"]
    assert row["case"] == Session.open(session.path).volumes[volume].name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Give either images with their masks or a session"),
        (["--slices", "x"], "--slices was given 'x'; expected numbers"),
        (["--slices", "2.5"], "The option slices.0 cannot be 2.5"),
        (["--slices", "0"], "at least one slice"),
        (["--peers", ""], "The option peers cannot be"),
        (["--policy", "best"], "The option policy cannot be 'best'"),
        (["--steps", "2", "--seconds", "3"], "seconds or in steps, not both"),
        (["--seconds", "0"], "larger than 0"),
        (["--jitter", "-1"], "The option jitter_mm cannot be -1"),
    ],
)
def test_bad_input_is_said_in_a_sentence(tmp_path, capsys, arguments, sentence):
    said = semiseg(capsys, "benchmark", "--out", tmp_path / "b", *arguments, code=2)
    assert sentence in said
    assert not (tmp_path / "b").exists()


def test_bad_files_are_said_in_a_sentence(finished, tmp_path, capsys):
    heart, other = finished / "heart0.nii.gz", finished / "mask1.nii.gz"
    out = ["--out", tmp_path / "b"]
    assert "without a mask" in semiseg(capsys, "benchmark", "--volume", heart, *out, code=2)
    assert "There is no file or folder 'no.nii'" in semiseg(
        capsys, "benchmark", "--volume", heart, "--labels", "no.nii", *out, code=2
    )
    empty = tmp_path / "empty.nii.gz"
    geometry = io.read_geometry(other)
    io.write_mask(empty, np.zeros(geometry.shape, np.uint8), geometry, {})
    said = semiseg(capsys, "benchmark", "--volume", heart, "--labels", empty, *out, code=2)
    assert "shows no structure" in said
    session, _ = create_sample(tmp_path / "s.semiseg")
    session.close()
    said = semiseg(capsys, "benchmark", session.path, *given(finished, 1), *out, code=2)
    assert "either images" in said


def test_a_peer_that_fails_is_told_with_the_reason(finished, tmp_path, capsys):
    run = [
        "benchmark",
        *given(finished, 1),
        "--out",
        tmp_path / "b",
        "--slices",
        "2",
        "--peers",
        "unet",
        "--steps",
        "1",
    ]
    with pytest.raises(SystemExit):
        cli.main([str(part) for part in [*run, "--steps", "1", "--set", "crop=5"]])
    said = capsys.readouterr()
    assert "unet failed: The setting 'crop' of supervised cannot be 5" in said.err
    assert "cannot be 5" in (tmp_path / "b" / "report.md").read_text()
