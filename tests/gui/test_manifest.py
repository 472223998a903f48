"""The plugin's manifest: valid for npe2, and everything that it names exists and answers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_semiseg

ROOT = Path(napari_semiseg.__file__).parent
MANIFEST = PluginManifest.from_file(ROOT / "napari.yaml")
CONTRIBUTED = MANIFEST.contributions
COMMANDS = {command.id: command for command in CONTRIBUTED.commands}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.id)
def test_every_command_can_be_imported_and_is_described(command):
    found = import_python_name(command.python_name)
    assert callable(found)
    assert found.__doc__
    assert command.title


def test_npe2_finds_nothing_to_complain_about():
    MANIFEST.validate_imports()
    done = subprocess.run([sys.executable, "-m", "npe2", "validate", str(ROOT / "napari.yaml")], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contribution_names_a_command_of_ours():
    named = [c.command for kind in ("widgets", "readers", "writers", "sample_data", "keybindings")
             for c in getattr(CONTRIBUTED, kind)]  # fmt: skip
    named += [item.command for items in CONTRIBUTED.menus.values() for item in items]
    assert named
    assert set(named) <= set(COMMANDS)
    for kind in ("widgets", "readers", "writers", "sample_data", "menus", "keybindings"):
        assert getattr(CONTRIBUTED, kind), kind


def test_menus_are_those_that_napari_lets_plugins_contribute_to():
    from napari._app_model.constants import MenuId

    assert set(CONTRIBUTED.menus) <= {str(menu) for menu in MenuId.contributables()}


def test_the_keys_are_those_that_the_panel_binds():
    from napari_semiseg.gui.widgets.volumes_tab import KEYS

    assert {binding.key.replace("Ctrl+", "Control-") for binding in CONTRIBUTED.keybindings} == set(KEYS)


@pytest.mark.parametrize("sample", CONTRIBUTED.sample_data, ids=lambda sample: sample.key)
def test_every_sample_gives_an_image(sample):
    ((data, attributes, kind),) = import_python_name(COMMANDS[sample.command].python_name)()
    assert kind == "image"
    assert data.ndim == 3
    assert np.isfinite(data).all()
    assert attributes["metadata"]["semiseg"]["class_names"]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.tif", "a.dcm", "study.semiseg"])
def test_the_reader_takes_what_the_manifest_says(name):
    import fnmatch

    (reader,) = CONTRIBUTED.readers
    assert reader.accepts_directories
    assert any(fnmatch.fnmatch(name, pattern) for pattern in reader.filename_patterns)


def test_what_the_plugin_hub_shows_is_there():
    place = ROOT.parents[1] / "pyproject.toml"
    if not place.exists():
        pytest.skip("an installed package has no pyproject.toml")
    project = tomllib.loads(place.read_text())["project"]
    assert "Framework :: napari" in project["classifiers"]
    assert project["entry-points"]["napari.manifest"] == {"napari-semiseg": "napari_semiseg:napari.yaml"}
    for field in ("description", "readme", "license", "authors", "keywords", "requires-python"):
        assert project[field], field
    assert {"Documentation", "Source Code", "Bug Tracker", "Changelog"} <= set(project["urls"])
    assert project["urls"]["Source Code"].startswith("https://github.com/")
