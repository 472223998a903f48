"""The demonstration without a screen."""

from __future__ import annotations

import subprocess
import sys


def test_the_demonstration_prints_a_dice_and_leaves_masks(tmp_path):
    command = [sys.executable, "-m", "napari_semiseg.cli", "demo", "--out", str(tmp_path), "--minutes", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": Dice ") == 3
    for name in ("mask.nii.gz", "reference.nii.gz"):
        assert (tmp_path / name).exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_the_demonstration_replaces_nothing_but_itself(tmp_path):
    (tmp_path / "cardiac.semiseg").mkdir()
    (tmp_path / "cardiac.semiseg" / "precious.txt").touch()
    command = [sys.executable, "-m", "napari_semiseg.cli", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose another folder" in done.stderr
    assert (tmp_path / "cardiac.semiseg" / "precious.txt").exists()
