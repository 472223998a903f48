"""How the window feels: lag of the event loop, and the time from the mouse to the screen.

    tools/with-display .venv/bin/python benchmarks/responsiveness.py --out benchmarks/results/responsiveness.json

The volume is an enlarged abdominal phantom of 300 × 512 × 512 with all overlays of a stored prediction shown. A timer
of 20 ms fires in a real window; at every tick one slice is scrolled to or one stroke painted, 50 times a second. The
lag is how much later than 20 ms after the last tick a tick comes. Then the mouse drags the brush about, and what is
measured is the time from each press or move until the canvas that shows it has been drawn. Beside it: napari alone,
with the same volume and a labels layer, and with as many layers as the plugin has overlays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from large_volume import SHAPE, SPACING, create, enlarged
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.predict import Maps
from napari_semiseg.gui.demo import open_window, settle, wait
from napari_semiseg.gui.hands import Hands
from napari_semiseg.session import Session
from napari_semiseg.session.predictions import StoringWriter

TICK = 0.020
MOVES = 20
"""Of the mouse in a stroke."""
OVERLAYS = ("labels", "entropy", "disagreement", "probabilities", "boundary", "superpixels")
# A process that computes as a training does, at the same priority: what any background work costs on this machine.
WORK = """
import os, torch
os.nice(19); torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
layer = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)])
while True:
    layer(torch.zeros(4, 16, 128, 128)).sum().backward()
"""


def percentiles(milliseconds: list[float] | np.ndarray) -> dict[str, float]:
    """Return how many times were measured, and what they were like."""
    values = np.asarray(milliseconds, float)
    return {
        "count": len(values),
        "p50_ms": round(float(np.percentile(values, 50)), 1),
        "p99_ms": round(float(np.percentile(values, 99)), 1),
        "max_ms": round(float(values.max()), 1),
    }


def run_every_tick(tick: Callable[[], None], seconds: float) -> None:
    """Call a function every 20 ms for a while, in an event loop of Qt as napari runs it."""
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(round(TICK * 1000))
    timer.timeout.connect(tick)
    timer.start()
    loop = QEventLoop()  # polling for events would add its own pauses
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()
    timer.stop()


def lag(viewer: Any, layer: Any, seconds: float) -> dict[str, float]:
    """Scroll and paint for a while; return percentiles of the lag in ms."""
    rng = np.random.default_rng(0)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.perf_counter())
        if len(ticks) % 2:
            viewer.dims.set_current_step(0, len(ticks) // 2 % layer.data.shape[0])
        else:
            place = (viewer.dims.current_step[0], *rng.integers(80, 480, size=2))
            layer.paint(place, 1)

    run_every_tick(tick, seconds)
    return percentiles(np.maximum(0, np.diff(ticks) - TICK) * 1000)


class Stopwatch:
    """Measures the time from an event of the mouse to the end of the drawing of the canvas that shows it.

    Parameters
    ----------
    hands : Hands
    layer : Labels
    """

    def __init__(self, hands: Hands, layer: Any):
        self.times: list[float] = []
        self._hands, self._layer = hands, layer
        self._began: float | None = None
        self._painted = False
        layer.events.labels_update.connect(self._on_painted)
        hands.canvas.frameSwapped.connect(self._on_drawn)

    @property
    def running(self) -> bool:
        """Whether what was painted last is not on the screen yet; what changed nothing is not waited for."""
        return self._began is not None and self._painted

    def measure(self, act: Callable[[tuple[float, float]], None], point: tuple[float, float]) -> None:
        """Do something with the mouse and measure until it is on the screen."""
        self._painted, self._began = False, time.perf_counter()
        act(point)

    def stop(self) -> None:
        """Measure no more."""
        self._layer.events.labels_update.disconnect(self._on_painted)
        self._hands.canvas.frameSwapped.disconnect(self._on_drawn)

    def _on_painted(self, event: Any = None) -> None:
        self._painted = True

    def _on_drawn(self) -> None:
        if self._painted and self._began is not None:
            self.times.append((time.perf_counter() - self._began) * 1000)
            self._began = None


def paint_to_screen(hands: Hands, layer: Any, seconds: float) -> dict[str, float]:
    """Drag the brush about for a while; return percentiles of the time from the mouse to the screen in ms."""
    rng = np.random.default_rng(0)
    watch, done = Stopwatch(hands, layer), 0
    layer.mode, layer.brush_size = "paint", 10
    hands.viewer.layers.selection.active = layer
    place, layer_plane = rng.integers(100, 400, size=2), hands.viewer.dims.current_step[0]

    def tick() -> None:
        nonlocal done, place
        if watch.running:
            return
        at = done % (MOVES + 1)
        point = (float(place[0] + 3 * at), float(place[1] + 2 * at))
        if at == 0:
            hands.hover(point)
            under = int(layer.data[layer_plane, round(point[0]), round(point[1])])
            layer.selected_label = 1 + under % 3  # painting what is painted already draws nothing
            watch.measure(hands.press, point)
        else:
            watch.measure(hands.drag, point)
        if at == MOVES:
            hands.release(point)
            place = rng.integers(100, 400, size=2)
        done += 1

    run_every_tick(tick, seconds)
    if done % (MOVES + 1):
        hands.release((0.0, 0.0))
    watch.stop()
    return percentiles(watch.times)


def measure(viewer: Any, layer: Any, seconds: float) -> dict[str, dict[str, float]]:
    """Return the lag and the time to the screen."""
    found = {"lag": lag(viewer, layer, seconds)}
    viewer.dims.set_current_step(0, SHAPE[0] // 2)
    settle(0.5)
    return {**found, "screen": paint_to_screen(Hands(viewer), layer, seconds)}


def alone(seconds: float, overlays: int) -> dict[str, dict[str, float]]:
    """Measure napari without this plugin: the image, a labels layer, and so many other layers over it."""
    import napari

    image, labels = enlarged()
    viewer = napari.Viewer()
    viewer.window.resize(1280, 800)
    viewer.add_image(image, scale=SPACING)
    for _ in range(overlays):
        viewer.add_labels(labels, scale=SPACING, opacity=0.4)
    layer = viewer.add_labels(np.zeros(SHAPE, np.uint8), scale=SPACING)
    settle(2)
    return measure(viewer, layer, seconds)


def in_new_process(seconds: float, overlays: int = 0) -> dict[str, dict[str, float]]:
    """Measure napari without the plugin in a process of its own.

    On a virtual display napari itself now and then crashes while it draws (its issues 7351 and 8471); a process that
    a signal ended is started again.
    """
    command = [sys.executable, __file__, "--alone", str(overlays), "--seconds", str(seconds)]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode >= 0:
            break
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Keep all cores but one busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", WORK])
    time.sleep(5)  # torch is imported
    try:
        yield
    finally:
        process.kill()


def with_prediction(path: Path) -> Session:
    """Create a session with five annotated slices and a stored prediction with all its maps."""
    session = create(path)
    _, labels = enlarged()
    round_ = session.new_round(Plan(steps=1))
    (volume,) = session.volumes
    writer = StoringWriter(round_.prediction_path(volume), SHAPE, session.class_ids, True)
    for first in range(0, SHAPE[0], 50):
        block = labels[first : first + 50]
        map_ = (block * 40).astype(np.uint8)
        writer.write(first, Maps(block, map_, map_, np.stack([map_] * len(session.class_ids))))
    writer.close(complete=True)
    session.close()
    return Session.open(path)


def panel_shown() -> float:
    """Return the seconds from the click on the plugin's menu to the panel."""
    import napari

    viewer = napari.Viewer()
    settle(1)
    began = time.perf_counter()
    _, shown = viewer.window.add_plugin_dock_widget("napari-semiseg", "Semiseg")
    wait(shown.isVisible, "the panel")
    taken = time.perf_counter() - began
    viewer.close()
    return round(taken, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each measurement")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", type=int, help="measure napari without the plugin, with so many overlays, and end")
    options = parser.parse_args()
    seconds = options.seconds
    if options.alone is not None:
        print(json.dumps(alone(seconds, options.alone)))
        return
    result: dict[str, Any] = {"napari_alone": in_new_process(seconds)}
    result["napari_as_many_layers"] = in_new_process(seconds, len(OVERLAYS))
    with working():
        result["napari_alone_beside_work"] = in_new_process(seconds)
    print(json.dumps(result, indent=1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        session = with_prediction(Path(folder) / "abdomen.semiseg")
        result["panel_shown_s"] = panel_shown()
        viewer, panel = open_window(session)
        training, layer = panel.desk.training, panel.desk.sheet.annotation
        wait(lambda: panel.desk.sheet.overlays.stored is not None, "the prediction")
        for overlay in OVERLAYS:
            panel.desk.show_overlay(overlay)
        settle(12)  # the worker warms up
        result["idle"] = measure(viewer, layer, seconds)
        print(json.dumps({"idle": result["idle"]}), flush=True)

        panel.desk.runs.start(Plan(minutes=30))
        wait(lambda: training.first_step_after is not None, "the first step")
        result["first_step_after_s"] = round(training.first_step_after, 2)
        settle(3)
        result["training"] = measure(viewer, layer, seconds)
        began = time.perf_counter()
        training.stop()
        wait(lambda: not training.phase.active, "the end of the run")
        result["idle_after_stop_s"] = round(time.perf_counter() - began, 2)
        viewer.close()
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
