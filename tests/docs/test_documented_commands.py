"""Every command that the documentation shows is run, on a phantom, with budgets of a step or two."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_documents import blocks, commands
from small_files import save_dicom

from napari_semiseg import api, cli, io
from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.io import Geometry
from napari_semiseg.session.sample import spread

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FAST = ["--steps", "1", "--device", "cpu", "--set", "crop=64", "--set", "longest_side=96"]

NOT_RUN = {
    "git": "needs the network",
    "cd": "belongs to the clone before it",
    "pip": "installs into the environment that the tests run in",
    "make": "the tests themselves are one of its targets, the demonstration and the pictures have tests of their own",
    "napari": "opens a window and stays; tests/gui does what the pages describe there",
    ".venv/bin/pre-commit": "changes the repository's hooks",
    "python": "a benchmark, which needs an idle machine; only its options are checked, below",
    "tools/with-display": "a benchmark as well",
}


def pages(kind):
    found = [page for page in PAGES if kind(page.read_text(encoding="utf-8"))]
    return pytest.mark.parametrize("page", found, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """What the pages call by name: images of three patients, masks, a DICOM folder, a trained session."""
    folder = tmp_path_factory.mktemp("documents")
    for seed, name in enumerate(("heart", "patient2", "patient3")):
        phantom = cardiac(seed=seed, planes=12)
        geometry = Geometry.from_spacing(phantom.image.shape, phantom.spacing)
        io.write_map(folder / f"{name}.nii.gz", phantom.image.astype(np.float32), geometry)
        reference = "reference" if name == "heart" else f"{name}-reference"
        io.write_mask(folder / f"{reference}.nii.gz", phantom.labels, geometry, dict(phantom.class_names))
        if name != "heart":
            continue
        partial, scribbles = (np.full_like(phantom.labels, 255) for _ in range(2))
        for plane in spread(phantom.labels, 5):
            partial[plane] = phantom.labels[plane]
            scribbles[plane, ::9] = phantom.labels[plane, ::9]
        for mask, values in {"partial": partial, "scribbles": scribbles}.items():
            io.write_mask(folder / f"{mask}.nii.gz", values, geometry, {})
    save_dicom(folder / "ct-series", cardiac(planes=6).image)
    session = api.new(folder / "heart.semiseg", [api.Source(folder / "heart.nii.gz", folder / "partial.nii.gz")])
    list(api.train(session, method="supervised", steps=1, device="cpu", settings={"crop": 64, "longest_side": 96}))
    session.close()
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch, request):
    """A folder with those files, as the working folder; the session only where the page does not make it."""
    page = request.getfixturevalue("page")
    makes = re.search(r"semiseg new heart\.semiseg", page.read_text(encoding="utf-8"))
    ignored = shutil.ignore_patterns("heart.semiseg") if makes else None
    shutil.copytree(files, tmp_path / "work", ignore=ignored)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def quick(arguments):
    """Replace budgets; everything else stays as the page shows it."""
    short, drop = [], 0
    for argument in arguments:
        if drop or argument in ("--minutes", "--seconds", "--steps"):
            drop = 0 if drop else 1
            continue
        short.append(argument)
    if arguments[0] in ("train", "benchmark"):
        return short + FAST
    return [*short, "--minutes", "0.05"] if arguments[0] == "demo" else short


def semiseg(arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0, shlex.join(arguments)


@pages(commands)
def test_commands_run_as_shown(page, here):
    for command in commands(page.read_text(encoding="utf-8")):
        program, *arguments = shlex.split(command, comments=True)
        if program != "semiseg":
            assert program in NOT_RUN, f"{command!r} is neither run nor excluded with a reason"
            continue
        redirected = arguments.index(">") if ">" in arguments else len(arguments)
        shown = arguments[:redirected]
        semiseg(quick(shown) if shown[0] in ("train", "benchmark", "demo") else shown)


@pages(lambda text: blocks(text, "python"))
def test_python_runs_as_shown(page, here):
    if page.name == "apply.md":
        (here / "results").mkdir()
        for name in ("model.safetensors", "model.json"):
            shutil.copy(here / "heart.semiseg" / "rounds" / "0001" / name, here / "results")
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        options = "steps=1, method='supervised', device='cpu', settings={'crop': 64, 'longest_side': 96}"
        exec(compile(re.sub(r"minutes=\d+", options, code), str(page), "exec"), {})


def test_commands_are_found_and_every_exclusion_is_used():
    shown = [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    programs = {shlex.split(command, comments=True)[0] for command in shown}
    assert programs == {"semiseg", *NOT_RUN}
    documented = {shlex.split(command)[1] for command in shown if command.startswith("semiseg ")}
    assert documented >= {"new", "train", "predict", "suggest", "export", "evaluate", "methods", "info", "demo"}


def test_documented_benchmarks_have_the_options_that_are_shown():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    found = [shlex.split(command) for command in commands(page) if "benchmarks/" in command]
    assert len(found) >= 6
    for words in found:
        script = next(word for word in words if word.startswith("benchmarks/"))
        told = subprocess.run(
            [sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=True
        )
        for option in (word for word in words if word.startswith("--")):
            assert option in told.stdout, f"{script} has no {option}"


def test_messages_that_troubleshooting_quotes_are_those_of_the_program():
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # messages run over several lines
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| [^|]*?(?<!\*)\*([^*|]+)\*(?!\*)", page, flags=re.MULTILINE)
    assert len(quoted) >= 9
    for message in quoted:
        for part in re.split(r"…|'x'", message):
            assert part.strip() in joined, message


def test_masks_of_the_command_line_page_lie_on_the_image(files, tmp_path):
    """What the pages promise most: the grid of the mask is that of the image."""
    semiseg(["predict", str(files / "heart.semiseg"), "--out", str(tmp_path / "mask.nii.gz")])
    mask, image = nib.load(tmp_path / "mask.nii.gz"), nib.load(files / "heart.nii.gz")
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
