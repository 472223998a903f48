"""What ``make demo`` does on a virtual screen."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from napari_semiseg.data.phantoms import cardiac


@pytest.mark.gui
def test_the_demonstration_leaves_a_screenshot_a_mask_and_a_dice(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "napari_semiseg.gui.demo", "--out", str(tmp_path / "demo"), "--minutes", "0.1"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "SEMISEG_VIRTUAL_DISPLAY": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count(": Dice ") == 3
    assert (tmp_path / "demo" / "screenshot.png").stat().st_size > 50_000
    mask = np.asarray(nib.load(tmp_path / "demo" / "mask.nii.gz").dataobj)
    truth = cardiac().labels
    assert mask.shape == truth.shape[::-1]
    assert set(np.unique(mask)) <= {0, 1, 2, 3}
