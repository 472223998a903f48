"""Make the pictures of the documentation anew, from the phantoms; ``make screenshots`` runs this.

One picture per stage of the job and one of every overlay alone go into the documentation: 1280 × 800, in napari's dark
theme. The same stages in its light theme, and both at 1920 × 1080, go elsewhere: to be looked at after every change of
the panel for what is cut off, misaligned or hard to read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QTabWidget, QWidget
from skimage.io import imsave

from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import open_window, settle, wait
from napari_semiseg.gui.training import Phase
from napari_semiseg.session.sample import create_sample

TABS = {"label": 0, "train": 1, "review": 2, "export": 3, "volumes": 4}
SIZES = ((1920, 1080), (1280, 800))
THEMES = ("light", "dark")


class Camera:
    """Takes pictures of the window.

    Parameters
    ----------
    viewer : napari.Viewer
    tabs : QTabWidget
        Of the panel.
    folder : Path
        For the pictures of the documentation.
    others : Path
        For those to be looked at.
    """

    def __init__(self, viewer: Any, tabs: QTabWidget, folder: Path, others: Path) -> None:
        self.viewer, self.tabs, self.folder, self.others = viewer, tabs, folder, others

    def shoot(self, stage: str, seen: QWidget | None = None) -> None:
        """Save ``<stage>-dark.png`` for the documentation, and ``<stage>-<theme>-<width>.png`` elsewhere.

        ``seen`` is scrolled to.
        """
        for size in SIZES:
            self.viewer.window.resize(*size)
            for theme in THEMES:
                self.viewer.theme = theme
                settle(0.8)
                if seen is not None:
                    self.tabs.currentWidget().ensureWidgetVisible(seen)
                    settle(0.2)
                shown = (size, theme) == (SIZES[-1], THEMES[-1])
                place = self.folder / f"{stage}-dark.png" if shown else self.others / f"{stage}-{theme}-{size[0]}.png"
                self.viewer.screenshot(str(place), canvas_only=False, flash=False)

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
    parser.add_argument("--others", type=Path, default=Path("build") / "screenshots")
    parser.add_argument("--minutes", type=float, default=1.0)
    options = parser.parse_args()
    for folder in (options.out, options.others):
        folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp())
    for name in ("SESSIONS", "CACHE", "SETTINGS"):
        os.environ[f"SEMISEG_{name}"] = str(home / name.lower())
    session, _ = create_sample(home / "heart.semiseg")
    viewer, panel = open_window(session)
    camera = Camera(viewer, panel.tabs, options.out, options.others)
    desk, (volume,) = panel.desk, session.volumes
    labelled = session.annotation(volume).annotated_planes()

    panel.tabs.setCurrentIndex(TABS["label"])
    viewer.dims.set_current_step(0, labelled[2])
    camera.shoot("label")
    panel.label.tool_section.expand(animate=False)
    camera.shoot("tools")

    panel.tabs.setCurrentIndex(TABS["train"])
    viewer.dims.set_current_step(0, labelled[2] + 1)
    desk.runs.start(Plan(minutes=options.minutes))
    # Preparing has a progress of its own, and no curve yet.
    wait(lambda: desk.training.phase is Phase.TRAINING and desk.training.progress > 0.6, "the middle of the training")
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
        desk.show_overlay(overlay, False)
    desk.show_overlay("labels")
    desk.brush.select(1)

    desk.review.go_to_most_uncertain()
    settle(2.0)
    desk.review.accept()
    panel.tabs.setCurrentIndex(TABS["label"])
    camera.shoot("correct")

    panel.tabs.setCurrentIndex(TABS["train"])
    desk.runs.start(Plan(minutes=options.minutes / 2))
    wait(lambda: desk.training.phase.active, "the second training to begin")
    wait(lambda: not desk.training.phase.active, "the end of the second training")
    wait(lambda: len(desk.history.rounds) == 2, "the list of rounds")
    settle(1.0)
    camera.shoot("rounds", seen=panel.train.rounds.list)
    panel.messages.decline.click()
    desk.history.compare(1, 2)
    wait(lambda: desk.history.comparison is not None, "the comparison of two rounds")
    desk.show_overlay("labels", False)
    viewer.dims.set_current_step(0, labelled[2] + 1)
    camera.close_up("difference")
    desk.show_overlay("difference", False)
    desk.show_overlay("labels")

    panel.tabs.setCurrentIndex(TABS["export"])
    panel.export.section.expand(animate=False)
    panel.export.sizes.measure.click()
    settle(2.0)  # off the UI thread
    camera.shoot("export", seen=panel.export.sizes)

    second = cardiac(seed=1)
    viewer.add_image(second.image, scale=second.spacing, name="second patient", units="mm")
    wait(panel.messages.act.isVisible, "the offer to add it")
    panel.messages.act.click()
    wait(lambda: len(desk.entries) == 2 and desk.entries[1].id is not None, "the second volume")
    desk.step(-1)
    wait(lambda: desk.sheet is not None and len(desk.shelf.thumbnails) == 2, "the list of volumes")
    panel.tabs.setCurrentIndex(TABS["volumes"])
    camera.shoot("volumes")
    viewer.close()


if __name__ == "__main__":
    main()
