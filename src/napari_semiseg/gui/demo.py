"""The main job in a napari window, on a built-in sample volume; ``make demo`` runs this.

On a real screen the window stays open and training has begun. On a virtual one the program waits until the training is
over, leaves ``screenshot.png`` and ``mask.nii.gz`` in the output folder and prints the Dice of the unlabelled slices.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.errors import SemisegError
from napari_semiseg.session.sample import create_sample

if TYPE_CHECKING:
    import napari

    from napari_semiseg.data.phantoms import Phantom
    from napari_semiseg.gui.panel import Panel
    from napari_semiseg.session import Session

_PATIENCE = 600.0  # s, for a training whose budget is one minute


def main() -> int:
    """Run the demonstration and return its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=1.0)
    options = parser.parse_args()
    try:
        session, phantom = create_sample(options.out / "cardiac.semiseg")
        viewer, panel = open_window(session)
        start_training(panel, options.minutes)
        if os.environ.get("SEMISEG_VIRTUAL_DISPLAY"):
            finish_unattended(viewer, panel, session, phantom, options.out)
        else:
            import napari

            napari.run()
    except SemisegError as error:
        print(f"semiseg: {error}", file=sys.stderr)
        return 2
    return 0


def open_window(session: Session) -> tuple[napari.Viewer, Panel]:
    """Open napari with a session and the panel docked."""
    import napari

    from napari_semiseg.gui.panel import dock

    viewer = napari.Viewer(title="napari-semiseg")
    viewer.window.resize(1280, 800)
    panel = dock(viewer)
    panel.desk.binder.open(session.path)
    wait(lambda: panel.desk.sheet is not None, "the session to open")
    viewer.dims.set_current_step(0, session.annotation(next(iter(session.volumes))).annotated_planes()[2] + 1)
    return viewer, panel


def start_training(panel: Panel, minutes: float) -> None:
    """Press Train."""
    from napari_semiseg.engine.plan import Plan

    panel.tabs.setCurrentIndex(1)
    # Every slice is learned from: the reference, not held-out slices, tells how good the result is.
    panel.desk.runs.start(Plan(minutes=minutes, hold_out=False))
    wait(lambda: panel.desk.training.phase.active, "the training to begin")


def finish_unattended(
    viewer: napari.Viewer, panel: Panel, session: Session, phantom: Phantom, out: Path
) -> dict[int, float | None]:
    """Wait for the end of the training; leave a screenshot and a mask, print the Dice, close the window."""
    from napari_semiseg.engine.evaluate import evaluate
    from napari_semiseg.io import write_mask
    from napari_semiseg.session.export import mask_of

    wait(lambda: not panel.desk.training.phase.active, "the training to end")
    wait(lambda: is_predicted(panel), "the prediction to appear")
    settle()
    viewer.screenshot(str(out / "screenshot.png"), canvas_only=False, flash=False)
    (volume,) = session.volumes
    mask = mask_of(session, volume)
    write_mask(out / "mask.nii.gz", mask, session.volumes[volume].geometry, dict(phantom.class_names))
    labelled = session.annotation(volume).annotated_planes()
    scores = evaluate(mask, phantom.labels, phantom.spacing, skip_planes=labelled)
    dice = {i: scores[i].dice if i in scores else None for i in phantom.class_names}
    for class_id, name in phantom.class_names.items():
        told = "undefined" if dice[class_id] is None else f"{dice[class_id]:.3f}"
        print(f"{name}: Dice {told} on the {len(mask) - len(labelled)} slices that were not labelled")
    print(f"See {out / 'screenshot.png'} and {out / 'mask.nii.gz'}")
    viewer.close()
    return dice


def is_predicted(panel: Panel) -> bool:
    """Return whether the prediction of the whole shown volume is on the screen."""
    sheet = panel.desk.sheet
    return sheet is not None and sheet.overlays.stored is not None


def wait(condition: Any, what: str, patience: float = _PATIENCE) -> None:
    """Let the window live until a condition holds.

    Raises
    ------
    SemisegError
        If it does not within ``patience`` seconds.
    """
    from qtpy.QtCore import QEventLoop, QTimer

    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            raise SemisegError(f"The demonstration waited {patience:.0f} s for {what} in vain.")
        # Only a loop that runs, unlike processEvents, also deletes the sliders that napari has no use for any more.
        loop = QEventLoop()
        QTimer.singleShot(10, loop.quit)
        loop.exec()


def settle(seconds: float = 1.0) -> None:
    """Let the window draw what has just changed."""
    began = time.monotonic()
    wait(lambda: time.monotonic() - began > seconds, "the window")


if __name__ == "__main__":
    sys.exit(main())
