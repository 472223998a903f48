"""Make the pictures of the documentation anew, from the phantoms; ``make screenshots`` runs this.

One picture per stage of the job, 1280 × 800, in napari's dark and light theme, and one of every overlay alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from skimage.io import imsave

from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import open_window, settle, wait
from napari_semiseg.session.sample import create_sample

TABS = {"label": 0, "train": 1, "review": 2, "export": 3, "volumes": 4}


class Camera:
    """Takes a picture of the window in both themes."""

    def __init__(self, viewer: Any, folder: Path) -> None:
        self.viewer, self.folder = viewer, folder

    def shoot(self, stage: str) -> None:
        """Save ``<stage>-dark.png`` and ``<stage>-light.png``."""
        for theme in ("light", "dark"):
            self.viewer.theme = theme
            settle(0.8)
            self.viewer.screenshot(str(self.folder / f"{stage}-{theme}.png"), canvas_only=False, flash=False)

    def close_up(self, name: str) -> None:
        """Save ``shows-<name>.png``: the middle of the canvas, where the heart is."""
        settle(0.8)
        canvas = self.viewer.screenshot(canvas_only=True, flash=False)
        height, width = canvas.shape[:2]
        half = min(height, width) // 3
        middle = canvas[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half, :3]
        imsave(self.folder / f"shows-{name}.png", middle, check_contrast=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--minutes", type=float, default=1.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp())
    for name in ("SESSIONS", "CACHE", "SETTINGS"):
        os.environ[f"SEMISEG_{name}"] = str(home / name.lower())
    session, _ = create_sample(home / "heart.semiseg")
    viewer, panel = open_window(session)
    camera = Camera(viewer, options.out)
    desk, (volume,) = panel.desk, session.volumes
    labelled = session.annotation(volume).annotated_planes()

    panel.tabs.setCurrentIndex(TABS["label"])
    viewer.dims.set_current_step(0, labelled[2])
    camera.shoot("label")

    panel.tabs.setCurrentIndex(TABS["train"])
    viewer.dims.set_current_step(0, labelled[2] + 1)
    desk.runs.start(Plan(minutes=options.minutes))
    wait(lambda: desk.training.progress > 0.6, "the middle of the training")
    camera.shoot("train")
    wait(lambda: not desk.training.phase.active, "the end of the training")
    wait(lambda: desk.sheet.overlays.stored is not None, "the prediction")

    panel.tabs.setCurrentIndex(TABS["review"])
    desk.review.go_to_most_uncertain()
    wait(lambda: desk.review.suggestion is not None, "the suggestion")
    desk.show_overlay("entropy")
    camera.shoot("review")
    desk.show_overlay("entropy", False)
    viewer.dims.set_current_step(0, labelled[2] + 1)
    camera.close_up("labels")
    desk.show_overlay("labels", False)
    camera.close_up("image")
    desk.brush.select(2)
    for overlay in ("entropy", "disagreement", "probabilities", "boundary", "superpixels"):
        desk.show_overlay(overlay)
        settle(2.0)  # superpixels and regions are computed off the UI thread
        camera.close_up(overlay)
        if overlay != "entropy":
            camera.shoot(f"overlay-{overlay}")
        desk.show_overlay(overlay, False)
    desk.show_overlay("labels")
    desk.brush.select(1)

    desk.review.go_to_most_uncertain()
    settle(2.0)
    desk.review.accept()
    panel.tabs.setCurrentIndex(TABS["label"])
    camera.shoot("correct")

    panel.tabs.setCurrentIndex(TABS["export"])
    camera.shoot("export")

    second = cardiac(seed=1)
    viewer.add_image(second.image, scale=second.spacing, name="second patient", units="mm")
    desk.take_layer(viewer.layers[-1])
    wait(lambda: len(desk.entries) == 2 and desk.entries[1].id is not None, "the second volume")
    desk.step(-1)
    wait(lambda: desk.sheet is not None and len(desk.shelf.thumbnails) == 2, "the list of volumes")
    panel.tabs.setCurrentIndex(TABS["volumes"])
    camera.shoot("volumes")
    viewer.close()


if __name__ == "__main__":
    main()
