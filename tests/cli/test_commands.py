"""The main job on the command line, in real processes; what other tests run in one is made ready without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import in_process
import nibabel as nib
import numpy as np
import pytest

from napari_semiseg import methods
from napari_semiseg.session.lock import SessionLock

AFFINE = np.array([[-0.9, 0.1, 0, 5], [0.1, 0.9, 0, -7], [0, 0, 4, 30], [0, 0, 0, 1.0]])
FAST = ["--set", "crop=64", "--set", "longest_side=96", "--device", "cpu"]


def semiseg(*arguments, code=0, **options):
    done = subprocess.run(
        [sys.executable, "-m", "napari_semiseg.cli", *map(str, arguments)], capture_output=True, text=True, **options
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    return done


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def heart(tmp_path):
    """An oblique volume with two structures, its reference, and a mask of three labelled slices."""
    rng = np.random.default_rng(0)
    i, j = np.indices((72, 64))
    reference = np.zeros((72, 64, 10), np.uint8)
    for k in range(10):
        distance = np.hypot(i - 30 - k, j - 30)
        reference[..., k][distance < 18] = 2
        reference[..., k][distance < 9] = 5
    image = (100 * (reference > 0) + 80 * (reference == 5) + rng.normal(50, 12, reference.shape)).astype(np.int16)
    partial = np.full_like(reference, 255)
    partial[..., [1, 5, 8]] = reference[..., [1, 5, 8]]
    for name, data in {"heart": image, "reference": reference, "partial": partial}.items():
        nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / f"{name}.nii.gz")
    return tmp_path


def new(heart):
    return ("new", heart / "s.semiseg", "--volume", heart / "heart.nii.gz", "--labels", heart / "partial.nii.gz",
            "--classes", "2=wall,5=cavity")  # fmt: skip


@pytest.fixture
def session(heart, capsys):
    in_process.semiseg(capsys, *new(heart))
    return heart / "s.semiseg"


def test_the_main_job(heart):
    semiseg(*new(heart))
    session = heart / "s.semiseg"
    events = lines(semiseg("train", session, "--steps", 60, "--method", "supervised", "--json", *FAST))
    assert events[0]["event"] == "Started"
    assert events[-1]["event"] == "Finished"
    suggestions = lines(semiseg("suggest", session, "--count", 2, "--json"))
    assert {s["plane"] for s in suggestions}.isdisjoint({1, 5, 8})
    semiseg("predict", session, "--out", heart / "out.nii.gz", "--entropy", heart / "entropy.nii.gz",
            "--probabilities", heart / "p.nii.gz")  # fmt: skip
    written = nib.load(heart / "out.nii.gz")
    assert np.array_equal(written.affine, nib.load(heart / "heart.nii.gz").affine)
    assert written.get_data_dtype() == np.uint8
    entropy = nib.load(heart / "entropy.nii.gz").get_fdata()
    assert 0 <= entropy.min() <= entropy.max() <= 1
    assert nib.load(heart / "p.nii.gz").shape == (72, 64, 10, 3)
    scores = lines(
        semiseg("evaluate", heart / "out.nii.gz", heart / "reference.nii.gz", "--labels-used",
                heart / "partial.nii.gz", "--json")
    )  # fmt: skip
    assert {s["class"] for s in scores} == {2, 5}
    assert all(s["dice"] > 0.8 for s in scores)
    semiseg("export", session, "--out", heart / "masks", "--model")
    merged = np.asarray(nib.load(heart / "masks" / "heart.nii.gz").dataobj)
    reference = np.asarray(nib.load(heart / "reference.nii.gz").dataobj)
    assert np.array_equal(merged[..., [1, 5, 8]], reference[..., [1, 5, 8]])
    semiseg("predict", heart / "masks" / "model.safetensors", heart / "heart.nii.gz", "--out", heart / "again.nii.gz")
    assert np.array_equal(np.asarray(nib.load(heart / "again.nii.gz").dataobj), np.asarray(written.dataobj))


def test_a_second_round_continues_from_the_first(session):
    run = ["train", session, "--steps", 15, "--method", "supervised", "--json", *FAST]
    first, second = (lines(semiseg(*run)) for _ in range(2))
    begin, end = (
        np.mean([e["losses"]["supervised"] for e in events if e["event"] == "StepDone"][part])
        for events, part in ((first, slice(0, 3)), (second, slice(0, 3)))
    )
    assert end < 0.9 * begin
    assert json.loads((session / "rounds" / "0002" / "config.json").read_text())["continues"] == 1


@pytest.mark.parametrize(
    "name", ["fba_net", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mc_net", "mcf", "dual_stream"))]
)
def test_methods_of_volumes_train_and_predict(heart, session, capsys, name):
    small = [part for value in ("crop=32", "depth=8", "width=2", "longest_side=64") for part in ("--set", value)]
    run = "train", session, "--method", name, "--steps", 2, "--device", "cpu", *small, "--json"
    events = [json.loads(line) for line in in_process.semiseg(capsys, *run).splitlines()]
    assert events[0]["method"] == name
    assert [e["event"] for e in events].count("StepDone") == 2
    assert events[-1]["event"] == "Finished"
    maps = "--out", heart / "out.nii.gz", "--disagreement", heart / "d.nii.gz"
    in_process.semiseg(capsys, "predict", session, *maps)
    written = nib.load(heart / "out.nii.gz")
    assert np.array_equal(written.affine, nib.load(heart / "heart.nii.gz").affine)
    assert set(np.unique(written.dataobj)) <= {0, 2, 5}
    assert 0 < nib.load(heart / "d.nii.gz").get_fdata().max() <= 1


def test_pre_training_without_labels_and_a_round_that_starts_from_it(heart):
    semiseg("new", heart / "bare.semiseg", "--volume", heart / "heart.nii.gz")
    pre = ["train", heart / "bare.semiseg", "--method", "lrc", "--steps", 3, *FAST, "--json"]
    assert lines(semiseg(*pre))[-1]["event"] == "Finished"
    refused = semiseg("predict", heart / "bare.semiseg", "--out", heart / "x.nii.gz", code=2)
    assert "no trained round yet" in refused.stderr
    model = heart / "bare.semiseg" / "rounds" / "0001"
    refused = semiseg("predict", model, heart / "heart.nii.gz", "--out", heart / "x.nii.gz", code=2)
    assert "cannot segment" in refused.stderr
    semiseg("new", heart / "s.semiseg", "--volume", heart / "heart.nii.gz", "--labels", heart / "partial.nii.gz")
    run = ["train", heart / "s.semiseg", "--method", "supervised", "--steps", 3, *FAST, "--json"]
    started = lines(semiseg(*run, "--pretrained", model))[0]
    assert "unet starts pre-trained" in started["reason"]
    refused = semiseg(*run, "--pretrained", "nowhere", code=2)
    assert "nowhere does not exist" in refused.stderr


def test_same_seed_same_events(heart):
    curves = []
    for name in ("a", "b"):
        semiseg(
            "new", heart / f"{name}.semiseg", "--volume", heart / "heart.nii.gz", "--labels", heart / "partial.nii.gz"
        )
        events = lines(
            semiseg("train", heart / f"{name}.semiseg", "--steps", 4, "--seed", 7, "--threads", 1, "--json", *FAST)
        )
        curves.append([e["losses"] for e in events if e["event"] == "StepDone"])
    assert curves[0] == curves[1]


def test_interrupting_keeps_the_round(session):
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_semiseg.cli", "train", str(session), "--minutes", "5", "--method", "supervised",
         "--json", *FAST],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    steps = 0
    for line in process.stdout:
        steps += json.loads(line)["event"] == "StepDone"
        if steps == 3:
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            break
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert time.monotonic() - began < 20
    last = json.loads(rest.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("Finished", "stopped")
    assert (session / "rounds" / "0001" / "model.safetensors").exists()


def test_several_volumes_with_their_own_labels(heart):
    image = heart / "heart.nii.gz"
    semiseg("new", heart / "m.semiseg", "--volume", image, "--labels", heart / "partial.nii.gz",
            "--volume", image, "--complete-slices", "0,9", "--volume", image)  # fmt: skip
    from napari_semiseg import Session

    session = Session.open(heart / "m.semiseg")
    annotated = [session.annotation(v).annotated_planes() for v in session.volumes]
    assert annotated == [[1, 5, 8], [0, 9], []]


def test_slices_are_counted_along_the_chosen_axis(heart):
    semiseg("new", heart / "x.semiseg", "--volume", heart / "heart.nii.gz", "--axis", 0)
    from napari_semiseg import Session

    record = next(iter(Session.open(heart / "x.semiseg").volumes.values()))
    assert record.geometry.shape[0] == 72


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "{}/n.semiseg", "--volume", "{}/nothing.nii"], "does not exist|no file|not exist"),
        (["new", "{}/s.semiseg", "--volume", "{}/heart.nii.gz"], "exists already"),
        (["new", "{}/n.semiseg", "--volume", "{}/heart.nii.gz", "--complete-slices", "99"], "slice 99"),
        (["new", "{}/n.semiseg", "--volume", "{}/heart.nii.gz", "--complete-slices", "a"], "such as 3,17"),
        (["new", "{}/n.semiseg", "--volume", "{}/heart.nii.gz", "--classes", "300=x"], "1 to 254"),
        (
            ["new", "{}/n.semiseg", "--labels", "{}/partial.nii.gz", "--volume", "{}/heart.nii.gz"],
            "before any --volume",
        ),
        (["train", "{}/none.semiseg"], "not a session folder"),
        (["train", "{}/s.semiseg", "--method", "magic"], "choose one of auto"),
        (["train", "{}/s.semiseg", "--minutes", "1", "--steps", "2"], "not both"),
        (["train", "{}/s.semiseg", "--set", "crop"], "field=value"),
        (["train", "{}/s.semiseg", "--device", "cuda:7"], "cuda:7"),
        (["train", "{}/s.semiseg", "--minutes", "-1"], "minutes"),
        (["predict", "{}/s.semiseg", "--out", "{}/o.nii.gz"], "no trained round"),
        (["predict", "{}/heart.nii.gz", "--out", "{}/o.nii.gz"], "model"),
        (["suggest", "{}/s.semiseg"], "train it first"),
        (["export", "{}/s.semiseg", "--out", "{}/m", "--format", "bmp"], "nii.gz"),
        (["evaluate", "{}/heart.nii.gz", "{}/reference.nii.gz"], ""),
        (["info", "{}/mk"], ""),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(heart, session, arguments, sentence):
    import re

    done = semiseg(*[a.format(heart) for a in arguments], code=2)
    assert re.search(sentence, done.stderr), done.stderr
    assert done.stderr.startswith("semiseg: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (heart / "n.semiseg").exists()


def test_an_internal_error_names_a_report(heart, tmp_path):
    program = (
        "import sys; from napari_semiseg import api, cli\n"
        "def broken(*a, **k): raise ZeroDivisionError('boom')\n"
        "api.info = broken\n"
        f"cli.main(['info', {str(heart / 'heart.nii.gz')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    report = done.stderr.strip().split()[-1]
    with open(report, encoding="utf-8") as file:
        assert "boom" in file.read()


def test_what_the_commands_do_are_functions_of_the_package():
    import napari_semiseg
    import napari_semiseg.api
    from napari_semiseg.cli.commands import app

    commands = {(entry.name or entry.callback.__name__).replace("-", "_") for entry in app.registered_commands}
    # "methods" and "benchmark" are subpackages; the demonstration is made of the others.
    for command in commands - {"methods", "benchmark", "demo"}:
        assert callable(getattr(napari_semiseg, command)), command
    assert callable(napari_semiseg.list_methods)
    assert callable(napari_semiseg.api.benchmark)
    for name in napari_semiseg.__all__:
        assert getattr(napari_semiseg, name) is not None


def test_methods_and_info_speak_json(heart):
    names = [m["name"] for m in lines(semiseg("methods", "--json"))]
    assert names == methods.names()
    known = lines(semiseg("info", heart / "heart.nii.gz", "--json"))[0]
    assert known["shape"] == [10, 64, 72]
    assert known["spacing"][0] == 4


def test_the_command_line_loads_neither_qt_nor_torch_until_it_trains():
    program = (
        "import sys; from napari_semiseg.cli import commands; import napari_semiseg.session.supervisor\n"
        "print([m for m in ('torch', 'qtpy', 'napari', 'PyQt6') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_that_change_a_session_say_who_has_it_open(session):
    lock = SessionLock(session)
    for command in (
        ["train", session, "--steps", 1, *FAST],
        ["hold-out", session],
        ["rounds", session, "--restore", 1],
        ["classes", session, "--volume", "heart", "--looked-for", "2"],
    ):
        assert "is open elsewhere" in semiseg(*command, code=2).stderr
    assert not (session / "rounds").exists()
    semiseg("export", session, "--out", session.parent / "masks", "--source", "annotation")
    semiseg("train", session, "--steps", 1, "--method", "supervised", "--beside", *FAST)
    assert lock.is_mine
    lock.release()
    semiseg("train", session, "--steps", 1, "--method", "supervised", *FAST)
    assert sorted(path.name for path in (session / "rounds").iterdir()) == ["0001", "0002"]
    assert not (session / "lock.json").exists()


def test_several_volumes_of_which_one_is_gone(heart, session):
    """The others are written, the failure is told by name, and the exit code says that something is missing."""
    semiseg("new", heart / "two.semiseg", "--volume", heart / "heart.nii.gz", "--labels", heart / "partial.nii.gz",
            "--looked-for", "2", "--volume", heart / "reference.nii.gz", "--classes", "2=wall,5=cavity")  # fmt: skip
    listed = lines(semiseg("classes", heart / "two.semiseg", "--json"))[0]
    assert listed == {"classes": {"2": "wall", "5": "cavity"}, "looked_for": {"heart": [2], "reference": None}}
    (heart / "reference.nii.gz").unlink()
    run = semiseg("train", heart / "two.semiseg", "--steps", 1, "--method", "supervised", *FAST)
    assert "reference was left out" in " ".join(run.stderr.split())
    done = semiseg("predict", heart / "two.semiseg", "--out", heart / "masks", code=2)
    assert done.stderr.startswith("semiseg: reference: ")
    assert done.stderr.count("is gone") == 1
    assert [path.name for path in (heart / "masks").glob("*.nii.gz")] == ["heart.nii.gz"]
    chosen = ["train", heart / "two.semiseg", "--volumes", "heart", "--steps", 1, "--method", "supervised", *FAST]
    assert "left out" not in semiseg(*chosen).stderr
    for wrong, said in (
        (["train", heart / "two.semiseg", "--volumes", "nobody"], "no volume 'nobody'"),
        (["classes", heart / "two.semiseg", "--volume", "heart", "--looked-for", "9"], "no class 9"),
        (["classes", heart / "two.semiseg", "--volume", "heart", "--looked-for", "wall"], "class ids such as 1,2"),
        (["classes", heart / "two.semiseg", "--volume", "heart"], "go together"),
    ):
        assert said in semiseg(*wrong, code=2).stderr
