"""How the window feels: lag of the event loop with and without training, and what Train and Stop cost.

    tools/with-display .venv/bin/python benchmarks/responsiveness.py --out responsiveness.json

A timer of 20 ms fires in a real viewer with the panel; at every tick one slice is scrolled to or one stroke painted, 50
times a second. The lag is how much later than 20 ms after the last tick a tick comes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import open_window, settle, wait
from napari_semiseg.session.sample import create_sample

TICK = 0.020
# A process that computes as a training does, at the same priority: what any background work costs on this machine.
WORK = """
import os, torch
os.nice(19); torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
layer = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)])
while True:
    layer(torch.zeros(4, 16, 128, 128)).sum().backward()
"""


def lag(viewer: Any, layer: Any, seconds: float) -> dict[str, float]:
    """Scroll and paint for a while; return percentiles of the lag in ms."""
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    rng = np.random.default_rng(0)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(time.perf_counter())
        if len(ticks) % 2:
            viewer.dims.set_current_step(0, len(ticks) // 2 % layer.data.shape[0])
        else:
            place = (viewer.dims.current_step[0], *rng.integers(20, 120, size=2))
            layer.paint(place, 1)

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(round(TICK * 1000))
    timer.timeout.connect(tick)
    timer.start()
    loop = QEventLoop()  # an event loop of Qt, as napari runs it: polling for events would add its own pauses
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()
    timer.stop()
    late = np.maximum(0, np.diff(ticks) - TICK) * 1000
    return {
        "ticks": len(ticks),
        "p50_ms": round(float(np.percentile(late, 50)), 1),
        "p99_ms": round(float(np.percentile(late, 99)), 1),
        "max_ms": round(float(late.max()), 1),
    }


def bare_lag(seconds: float) -> dict[str, float]:
    """Return the lag of napari without this plugin, with an image and a labels layer of the same size."""
    import napari

    from napari_semiseg.data.phantoms import cardiac

    phantom = cardiac()
    viewer = napari.Viewer()
    viewer.window.resize(1280, 800)
    viewer.add_image(phantom.image, scale=phantom.spacing)
    layer = viewer.add_labels(np.zeros(phantom.image.shape, np.uint8), scale=phantom.spacing)
    settle(2)
    return lag(viewer, layer, seconds)


def in_new_process(seconds: float) -> dict[str, float]:
    """Measure napari without the plugin in a process of its own.

    On a virtual display napari itself now and then crashes while it draws (its issues 7351 and 8471); a process that
    a signal ended is started again.
    """
    command = [sys.executable, __file__, "--bare", "--seconds", str(seconds)]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--bare", action="store_true", help="measure napari without the plugin and end")
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare_lag(options.seconds)))
        return
    folder = Path(tempfile.mkdtemp())
    session, _ = create_sample(folder / "cardiac.semiseg")

    import napari

    result: dict[str, Any] = {"napari_alone": in_new_process(options.seconds)}
    with working():
        result["napari_alone_beside_work"] = in_new_process(options.seconds)
    print(json.dumps(result), flush=True)
    bare = napari.Viewer()
    settle(1)
    began = time.perf_counter()
    _, shown = bare.window.add_plugin_dock_widget("napari-semiseg", "Semiseg")
    wait(shown.isVisible, "the panel")
    result["panel_shown_s"] = round(time.perf_counter() - began, 2)
    bare.close()

    viewer, panel = open_window(session)
    training = panel.desk.training
    layer = panel.desk.sheet.annotation
    settle(12)  # the worker warms up
    result["idle"] = lag(viewer, layer, options.seconds)
    print(json.dumps({"idle": result["idle"]}), flush=True)

    panel.desk.runs.start(Plan(minutes=30))
    wait(lambda: training.first_step_after is not None, "the first step")
    result["first_step_after_s"] = round(training.first_step_after, 2)
    settle(3)
    result["training"] = lag(viewer, layer, options.seconds)
    began = time.perf_counter()
    training.stop()
    wait(lambda: not training.phase.active, "the end of the run")
    result["idle_after_stop_s"] = round(time.perf_counter() - began, 2)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    viewer.close()


if __name__ == "__main__":
    main()
