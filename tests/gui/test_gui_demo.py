"""What ``make demo`` does on a virtual screen, and what becomes of a stroke when a program ends without closing."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.session import Session

# The demonstration, but for its end: instead of closing the window it paints a last stroke and is over.
PROGRAM = """
import sys
from napari_semiseg.gui import demo

def paint(viewer):
    viewer.layers.selection.active.paint((0, 10, 10), 1)

def run(viewer, *others):
    import napari
    napari.Viewer.close = paint
    return finish(viewer, *others)

finish, demo.finish_unattended = demo.finish_unattended, run
sys.exit(demo.main())
"""


@pytest.mark.gui
def test_the_demonstration_leaves_a_screenshot_a_mask_and_a_dice_and_its_end_loses_no_stroke(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--out", str(tmp_path / "demo"), "--minutes", "0.1"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "SEMISEG_VIRTUAL_DISPLAY": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert done.stdout.count(": Dice ") == 3
    assert (tmp_path / "demo" / "screenshot.png").stat().st_size > 50_000
    mask = np.asarray(nib.load(tmp_path / "demo" / "mask.nii.gz").dataobj)
    truth = cardiac().labels
    assert mask.shape == truth.shape[::-1]
    assert set(np.unique(mask)) <= {0, 1, 2, 3}
    session = Session.open(tmp_path / "demo" / "cardiac.semiseg")
    assert session.annotation(next(iter(session.volumes))).said[0, 10, 10] == 1
