"""How the window feels: lag of the event loop with and without training, and what Train and Stop cost.

    tools/with-display .venv/bin/python benchmarks/responsiveness.py --out responsiveness.json

A timer of 20 ms fires in a real viewer with the panel; at every tick one slice is scrolled to or one stroke painted, 50
times a second. The lag is how much later than 20 ms after the last tick a tick comes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.demo import open_window, settle, wait
from napari_semiseg.session.sample import create_sample

TICK = 0.020


def lag(viewer: Any, panel: Any, seconds: float) -> dict[str, float]:
    """Scroll and paint for a while; return percentiles of the lag in ms."""
    from qtpy.QtCore import Qt, QTimer

    rng = np.random.default_rng(0)
    layer = panel.desk.sheet.annotation
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
    settle(seconds)
    timer.stop()
    late = np.maximum(0, np.diff(ticks) - TICK) * 1000
    return {
        "ticks": len(ticks),
        "p50_ms": round(float(np.percentile(late, 50)), 1),
        "p99_ms": round(float(np.percentile(late, 99)), 1),
        "max_ms": round(float(late.max()), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    session, _ = create_sample(folder / "cardiac.semiseg")

    import napari

    result: dict[str, Any] = {}
    bare = napari.Viewer()
    settle(1)
    began = time.perf_counter()
    _, shown = bare.window.add_plugin_dock_widget("napari-semiseg", "Semiseg")
    wait(shown.isVisible, "the panel")
    result["panel_shown_s"] = round(time.perf_counter() - began, 2)
    bare.close()

    viewer, panel = open_window(session)
    training = panel.desk.training
    settle(12)  # the worker warms up
    result["idle"] = lag(viewer, panel, options.seconds)
    print(json.dumps({"idle": result["idle"]}), flush=True)

    panel.desk.runs.start(Plan(minutes=30))
    wait(lambda: training.first_step_after is not None, "the first step")
    result["first_step_after_s"] = round(training.first_step_after, 2)
    settle(3)
    result["training"] = lag(viewer, panel, options.seconds)
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
