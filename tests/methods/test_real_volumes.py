"""Every method trains from the command line on real volumes of which a little is annotated, and predicts."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest
from small_methods import TINY

from napari_semiseg import cli, io, methods

pytestmark = pytest.mark.slow

# One class, scribbles of three, complete slices of four organs; a patient to learn from and another one to predict.
SETS = {
    "left atrium": ("GSC9KNY0VEZXFSGWNF25", "TDDI6L3Y0L9VVFP9MNFS"),
    "ACDC scribbles": ("patient089_frame01", "patient094_frame01"),
    "abdomen": ("chaos_t2spir_5", "chaos_t2spir_1"),
}
PLANES = 12  # of a volume, those in the middle
LONGEST_SIDE = 64  # pixels


def middle(image):
    """The planes in the middle of a volume."""
    first = max(0, image.shape[2] // 2 - PLANES // 2)
    return image.slicer[..., first : first + PLANES]


def semiseg(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture(scope="module")
def session_of(shared_data, tmp_path_factory):
    """A function from a data set to its session, some slices of another patient and the class ids; made once."""
    entries = {e["case"]: e for e in json.loads((shared_data / "manifest.json").read_text())["entries"]}
    made = {}

    def make(title):
        if title not in made:
            entry, other = (entries[case] for case in SETS[title])
            folder = tmp_path_factory.mktemp("real")
            for name, path in {"image": entry["path"], "other": other["path"]}.items():
                nib.save(middle(nib.load(shared_data / path)), folder / f"{name}.nii.gz")
            drawn = middle(nib.load(shared_data / entry.get("scribble_path", entry["label_path"])))
            said = np.asarray(drawn.dataobj).astype(np.uint8)
            if "scribble_path" in entry:
                said[said == 4] = 255  # unmarked
            else:
                said[..., [z for z in range(PLANES) if z not in (2, 6, 10)]] = 255
            nib.save(nib.Nifti1Image(said, drawn.affine), folder / "labels.nii.gz")
            files = "--volume", folder / "image.nii.gz", "--labels", folder / "labels.nii.gz"
            assert semiseg("new", folder / "s.semiseg", *files) == 0
            made[title] = folder / "s.semiseg", folder / "other.nii.gz", {int(i) for i in entry["labels"]}
        return made[title]

    return make


@pytest.mark.parametrize("title", SETS)
@pytest.mark.parametrize("name", methods.names())
def test_trains_and_predicts(session_of, tmp_path, capsys, name, title):
    session, other, class_ids = session_of(title)
    capsys.readouterr()
    events = trained(session, name, capsys)
    method = methods.get(name)
    steps = [event["losses"] for event in events if event["event"] == "StepDone"]
    assert len(steps) == 2
    assert all(math.isfinite(value) for losses in steps for value in losses.values())
    assert events[-1] | {"seconds": 0, "time": 0} == {
        "event": "Finished", "reason": "budget", "steps": 2, "seconds": 0, "time": 0
    }  # fmt: skip
    if method.uses_unlabelled:
        # What is not annotated takes part; how it teaches is tested elsewhere.
        assert any("supervised" not in term for losses in steps for term in losses)
    if not method.needs_labels:
        events = trained(session, "supervised", capsys, fresh=False)
        assert "pre-train" in next(event["reason"] for event in events if event["event"] == "Started")
    assert any(event["event"] == "PredictionReady" for event in events)
    assert semiseg("predict", session, other, "--out", tmp_path / "mask.nii.gz") == 0
    geometry = io.read_geometry(other)
    predicted = io.read_mask(tmp_path / "mask.nii.gz", geometry)
    assert predicted.shape == geometry.shape
    assert set(np.unique(predicted).tolist()) <= class_ids


def trained(session, name, capsys, fresh=True):
    fields = methods.get(name).model_fields
    settings = TINY[name] | {"longest_side": LONGEST_SIDE, "superpixel_planes": 6}
    arguments = [f"--set={key}={value}" for key, value in settings.items() if key in fields]
    fresh = ["--fresh"] if fresh else []
    code = semiseg(
        "train", session, "--method", name, "--steps", 2, "--device", "cpu", "--threads", 1, "--json",
        *fresh, *arguments,
    )  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return [json.loads(line) for line in printed.out.splitlines()]
