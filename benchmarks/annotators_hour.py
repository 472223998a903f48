"""An annotator's hour in the real window: what every step costs in clicks, strokes, keys and seconds of waiting.

    tools/with-display .venv/bin/python benchmarks/annotators_hour.py --out benchmarks/results/annotators_hour.json

Open, name the classes, label five slices, train, follow five suggestions, accept and correct them, retrain, export,
close, open again. Everything is done by events of the mouse and the keyboard; only the minutes of a training are set
beforehand. Structures are outlined as a hand would do it: a point every few pixels along the reference, a little beside
it. What is accepted is corrected where a whole patch of it is wrong. Without ``--image`` it is a cardiac phantom.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from qtpy.QtCore import Qt
from scipy import ndimage
from skimage.measure import find_contours

from napari_semiseg.data.phantoms import cardiac
from napari_semiseg.engine.evaluate import evaluate
from napari_semiseg.gui import demo
from napari_semiseg.gui.hands import Hands, Point
from napari_semiseg.io import read_mask
from napari_semiseg.session.sample import spread

PATCH = 25
"""Pixels: smaller mistakes of the prediction are left as they are."""
EVERY = 4.0
"""Pixels between two places of the mouse on an outline."""
SHIFT = Qt.KeyboardModifier.ShiftModifier
TABS = ("Label", "Train", "Review", "Export", "Volumes")


def parts(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected parts of a mask without their holes, the largest first."""
    numbers, count = ndimage.label(mask)
    filled = [ndimage.binary_fill_holes(numbers == number) for number in range(1, count + 1)]
    return sorted(filled, key=lambda part: -int(part.sum()))


def outline(part: np.ndarray, rng: np.random.Generator) -> list[Point]:
    """Return places (row, column) along the border of a part, as far from it as a hand is."""
    # At this level the line runs through the outermost pixels of the part.
    (line, *_) = sorted(find_contours(np.pad(part, 1).astype(float), 0.9), key=len, reverse=True)
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    places = np.linspace(0, way[-1], max(8, int(way[-1] / EVERY)))
    points = np.stack([np.interp(places, way, line[:, axis]) for axis in (0, 1)], axis=1) - 1
    points += rng.normal(0, 0.3, points.shape)
    return [(float(row), float(column)) for row, column in points]


class Hour:
    """Does the steps, and notes what each took.

    Parameters
    ----------
    image, labels : Path
        A volume and its reference.
    classes : dict of int to str
    minutes : float
        Of a training.
    """

    def __init__(self, image: Path, labels: Path, classes: dict[int, str], minutes: float):
        self.image, self.labels, self.classes, self.minutes = image, labels, classes, minutes
        self.steps: dict[str, dict[str, float]] = {}
        self.rng = np.random.default_rng(0)
        self.waited = 0.0

    def open_window(self) -> None:
        """Open napari."""
        import napari

        self.viewer = napari.Viewer()
        self.viewer.window.resize(1280, 800)
        demo.settle(1)
        self.hands = Hands(self.viewer)
        self.hands.window.activateWindow()  # where no window manager does
        demo.wait(self.hands.window.isActiveWindow, "the window to be active")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Count what is done within as a step; a step that is done again adds up."""
        hands, before, waited = self.hands, self.hands.counts, self.waited
        yield
        costs = self.steps.setdefault(title, {"clicks": 0, "strokes": 0, "keys": 0, "waited_s": 0.0})
        for kind, count in hands.counts.items():
            costs[kind] += count - before[kind]
        costs["waited_s"] = round(costs["waited_s"] + self.waited - waited, 1)

    def wait(self, condition: Any, what: str) -> None:
        """Wait as an annotator would; the time counts."""
        began = time.perf_counter()
        demo.wait(condition, what)
        self.waited += time.perf_counter() - began

    # -- the steps ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the panel by its menu, and a volume by dropping its file."""
        with self.step("open the panel and a volume"):
            self.hands.choose("Plugins", "Semiseg")
            self.panel = demo_panel(self.viewer)
            self.desk = self.panel.desk
            self.hands.drop(self.image)
            self.wait(lambda: self.desk.sheet is not None, "the volume")
        demo.settle(0.5)
        self.reference = read_mask(self.labels, self.desk.sheet.entry.geometry)

    def name_classes(self) -> None:
        """Give the classes their names."""
        table = self.panel.label.classes.table
        with self.step(f"name {len(self.classes)} classes"):
            for index, name in enumerate(self.classes.values()):
                if index == 0:
                    self.hands.double_click(table.viewport(), table.visualItemRect(table.item(0, 1)).center())
                else:
                    self.hands.click(self.panel.label.classes.add)
                self.hands.type(name)
        assert [entry.name for entry in self.desk.classes] == list(self.classes.values())
        # Class ids follow the order of the table.
        table_ids = {old: entry.id for old, entry in zip(self.classes, self.desk.classes, strict=True)}
        self.reference = np.vectorize(lambda value: table_ids.get(value, 0), otypes=[np.uint8])(self.reference)

    def label(self, count: int) -> None:
        """Outline all structures on slices that are spread over them."""
        with self.step(f"label {count} slices"):
            self.hands.key(Qt.Key.Key_O)
            for plane in spread(self.reference, count):
                self.click_slice(plane)
                # What lies around goes first, so that what lies within is drawn over it.
                found = [(part, i) for i in self.present(plane) for part in parts(self.reference[plane] == i)]
                self.draw(sorted(found, key=lambda pair: -int(pair[0].sum())))
            self.wait(lambda: self.desk.session is not None and not self.desk.keeper.pending, "the disk")

    def train(self, title: str) -> None:
        """Press Train and wait for the prediction."""
        self.panel.train.unit.setCurrentText("minutes")
        self.panel.train.minutes.setValue(self.minutes)
        rounds = len(self.desk.history.rounds)
        with self.step(title):
            self.show_tab("Train")
            self.hands.click(self.panel.train.start)
            self.wait(lambda: len(self.desk.history.rounds) > rounds, "the round")
            self.wait(lambda: not self.desk.training.phase.active, "the end of the training")
            self.wait(lambda: self.desk.sheet.overlays.stored is not None, "the prediction")

    def follow_suggestions(self, count: int) -> None:
        """Go to the suggested slices; accept, correct and review each."""

        def ranked_anew() -> bool:
            suggested = set(self.desk.survey.suggested)
            return bool(suggested) and suggested.isdisjoint(self.desk.marks.annotated())

        for _ in range(count):
            with self.step(f"go to {count} suggested slices"):
                self.wait(ranked_anew, "suggestions")
                self.hands.key(Qt.Key.Key_N)
            with self.step("accept their prediction"):
                self.hands.key(Qt.Key.Key_Y)
            with self.step("correct them"):
                self.correct()
            with self.step("mark them as reviewed"):
                self.hands.key(Qt.Key.Key_R, SHIFT)
            demo.settle(1)  # as long as somebody looks at it

    def correct(self) -> None:
        """Outline what is missing, and with Shift what is too much."""
        plane = self.desk.sheet.plane
        truth, painted = self.reference[plane], self.desk.sheet.annotation.data[plane]
        wrong = [(part, i) for i in self.present(plane) for part in parts((truth == i) & (painted != i))]
        self.draw([pair for pair in wrong if pair[0].sum() >= PATCH])
        surplus = [part for part in parts((truth == 0) & (painted != 0)) if part.sum() >= PATCH]
        for part in surplus:
            self.hands.stroke(*outline(part, self.rng), modifier=SHIFT)

    def export(self) -> Path:
        """Write the mask and return its file."""
        written: list[Path] = []
        self.desk.exporter.written.connect(lambda paths: written.extend(paths))
        with self.step("export the masks"):
            self.show_tab("Export")
            self.hands.click(self.panel.export.masks)
            self.wait(lambda: written, "the masks")
        return written[0]

    def close(self) -> Path:
        """Close the window and return the session folder."""
        place, self.kept = self.desk.session.path, self.desk.sheet.annotation.data.copy()
        with self.step("close the window"):
            self.hands.clicks += 1  # of the cross in a title bar, which a virtual display has not
            began = time.perf_counter()
            self.viewer.close()
            self.waited += time.perf_counter() - began
        assert self.desk.closed
        return place

    def reopen(self, place: Path) -> None:
        """Open the session in a new window; everything must be as it was."""
        self.open_window()
        with self.step("open the panel and the session again"):
            self.hands.choose("Plugins", "Semiseg")
            self.panel = demo_panel(self.viewer)
            self.desk = self.panel.desk
            self.hands.drop(place)
            self.wait(lambda: self.desk.sheet is not None, "the volume")
            self.wait(lambda: self.desk.sheet.overlays.stored is not None, "the prediction")
        np.testing.assert_array_equal(self.desk.sheet.annotation.data, self.kept)
        self.viewer.close()

    # -- how they are done ------------------------------------------------------------------------------------------

    def present(self, plane: int) -> list[int]:
        """Return the classes of a plane in the reference."""
        return [int(i) for i in np.unique(self.reference[plane]) if i]

    def draw(self, wanted: list[tuple[np.ndarray, int]]) -> None:
        """Outline parts, each in its class."""
        for part, class_id in wanted:
            if self.desk.brush.selected != class_id:
                entry = self.desk.classes.get(class_id)
                self.hands.key(Qt.Key(ord(entry.key)))
            assert self.desk.outline.active
            self.hands.stroke(*outline(part, self.rng))

    def click_slice(self, plane: int) -> None:
        """Show a slice by the strip under the picture."""
        strip = self.panel.strip.strip
        self.hands.click(strip, strip.cell(plane).center().toPoint())
        assert self.desk.sheet.plane == plane

    def show_tab(self, title: str) -> None:
        """Click a tab of the panel."""
        bar = self.panel.tabs.tabBar()
        self.hands.click(bar, bar.tabRect(TABS.index(title)).center())


def demo_panel(viewer: Any) -> Any:
    """Return the panel that was just opened in a window."""
    from napari_semiseg.gui.panel import dock

    return dock(viewer)  # the one that is docked already


def phantom_files(folder: Path) -> tuple[Path, Path, dict[int, str]]:
    """Write a cardiac phantom and its reference as files."""
    phantom = cardiac(planes=20)
    affine = np.diag([*phantom.spacing[::-1], 1.0])
    places = folder / "heart.nii.gz", folder / "reference.nii.gz"
    for place, array in zip(places, (phantom.image, phantom.labels), strict=True):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine), place)
    return *places, dict(phantom.class_names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--labels", type=Path, help="reference of the image")
    parser.add_argument("--slices", type=int, default=5, help="that are labelled")
    parser.add_argument("--suggestions", type=int, default=5, help="that are followed")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each training")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("SESSIONS", "CACHE", "SETTINGS"):
            os.environ[f"SEMISEG_{name}"] = str(folder / name.lower())
        if options.image is None:
            image, labels, classes = phantom_files(folder)
        else:
            image, labels = options.image, options.labels
            found = np.unique(np.asanyarray(nib.load(labels).dataobj))
            classes = {int(i): f"class {int(i)}" for i in found if i}
        hour = Hour(image, labels, classes, options.minutes)
        hour.open_window()
        hour.open()
        hour.name_classes()
        hour.label(options.slices)
        hour.train("train")
        hour.follow_suggestions(options.suggestions)
        hour.train("retrain")
        geometry = hour.desk.sheet.entry.geometry
        mask = read_mask(hour.export(), geometry)
        scores = evaluate(mask, hour.reference, geometry.spacing)
        hour.reopen(hour.close())
    dice = [score.dice for score in scores.values() if score.dice is not None]
    result = {
        "volume": image.name,
        "shape": list(hour.reference.shape),
        "classes": len(classes),
        "minutes": options.minutes,
        "dice_of_the_mask": round(float(np.mean(dice)), 3),
        "steps": [{"step": title, **costs} for title, costs in hour.steps.items()],
    }
    print(json.dumps(result, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
