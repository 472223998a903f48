"""A program that paints, saves, exports and trains until it is killed, and writes down what it painted.

``python desk_to_kill.py`` prepares itself once (imports take seconds) and then forks a child for every order it reads,
one JSON object per line: the desk, the keeper, the lanes, the session, the exporter, the supervisor and the worker
process are those of the program, on napari's viewer model and layers, without a window.
``python desk_to_kill.py ORDER`` obeys one order with a real napari window and a real mouse.

An order names ``session``, ``journal``, ``out``, ``seed`` and ``kind`` (``paint``, ``export`` or ``train``).
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TICK_MS = 15
STEPS = 12
PLAN = {
    "method": "supervised", "device": "cpu", "precision": "float32", "threads": 1, "steps": STEPS,
    "settings": {"crop": 32, "longest_side": 64},
}  # fmt: skip


class ForkedWorker:
    """The training process, forked instead of started, as the supervisor sees it.

    It runs the real `serve`; only the imports and the warm-up are those of the prepared parent.
    """

    def __init__(self) -> None:
        requests, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(requests[0], 0)
            os.dup2(answers[1], 1)
            os.closerange(3, 256)
            sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
            try:
                serve()
            finally:
                os._exit(0)
        os.close(requests[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(requests[1], "w"), os.fdopen(answers[0])

    def poll(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        return os.waitpid(self.pid, 0)[1]


def serve() -> None:
    from napari_semiseg.session import worker

    worker._warm_up = lambda threads: None
    worker.serve()


class Life:
    """What a child does until it is killed.

    Parameters
    ----------
    desk : Desk
    order : dict
    paint : callable
        Paints the next piece of a stroke on the shown plane.
    """

    def __init__(self, desk: Any, order: dict[str, Any], paint: Any) -> None:
        from qtpy.QtCore import QTimer

        self.desk, self.order, self.paint = desk, order, paint
        self.rng = np.random.default_rng(order["seed"])
        self.journal = os.open(order["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.exports = 0
        self.shown = False
        self.timer = QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.timeout.connect(self.tick)
        self.timer.start()
        desk.binder.open(Path(order["session"]))

    def note(self, **what: Any) -> None:
        """Write a line that survives a kill."""
        os.write(self.journal, json.dumps({"t": time.monotonic(), **what}).encode() + b"\n")

    def tick(self) -> None:
        sheet = self.desk.sheet
        if sheet is None:
            return
        if not self.shown:
            self.shown = True
            self.note(why_not=self.desk.access.why_not)
            return
        if self.rng.random() < 0.1:
            sheet.go_to(int(self.rng.integers(sheet.shape[0])))
        plane = sheet.plane
        self.paint(self.rng)
        bits = base64.b64encode(np.packbits(sheet.annotation.data[plane] == 1).tobytes()).decode()
        self.note(plane=plane, bits=bits)
        if self.order["kind"] == "export" and not self.desk.exporter.running:
            self.exports += 1
            name = ("nii.gz", "nrrd", "tif")[self.exports % 3]
            self.desk.exporter.export_masks(Path(self.order["out"]), format=name, source="annotation", all_volumes=True)
        if self.order["kind"] == "train" and not self.desk.training.phase.active:
            from napari_semiseg.engine.plan import Plan

            self.desk.runs.start(Plan(**PLAN))


def live_without_window(order: dict[str, Any]) -> None:
    """Obey an order in a forked child."""
    supervisor = None
    if order["kind"] == "train":
        from napari_semiseg.session.supervisor import Supervisor

        class Forked(Supervisor):
            """Has the worker that was forked before Qt and threads were there."""

            def _spawn(self, log: Any) -> Any:
                return worker

        worker = ForkedWorker()
        supervisor = Forked()
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from napari_semiseg.gui.desk import Desk

    app = QApplication([])
    desk = Desk(ViewerModel())
    if supervisor is not None:
        desk.training._make_supervisor = lambda: supervisor

    def paint(rng: np.random.Generator) -> None:
        sheet = desk.sheet
        sheet.annotation.brush_size = 1
        row, column = rng.integers(0, sheet.shape[1]), rng.integers(0, sheet.shape[2] - 4)
        for step in range(4):
            sheet.annotation.paint((sheet.plane, int(row), int(column + step)), 1)

    life = Life(desk, order, paint)
    if supervisor is not None:
        life.note(worker=worker.pid)
    app.exec()


def live_with_window(order: dict[str, Any]) -> None:
    """Obey an order in a real window."""
    import napari
    from tests.gui.conftest import Hands

    from napari_semiseg.gui.panel import dock

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1000, 700)
    panel = dock(viewer)
    hands: list[Hands] = []

    def paint(rng: np.random.Generator) -> None:
        if not hands:
            hands.append(Hands(viewer, None))
        row, column = rng.integers(4, 44, 2)
        hands[0].stroke((row, column), (row, column + 2))

    life = Life(panel.desk, order, paint)
    life.timer.setInterval(60)
    napari.run()


def main() -> None:
    """Fork a child for every order."""
    import torch

    torch.set_num_threads(1)
    # What the first use of each would import or build; no backward pass, which a forked process could not follow.
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)
    for kind in (torch.optim.AdamW, torch.optim.SGD):
        kind([parameter], lr=0.1).step()
    import napari_semiseg.engine.train
    import napari_semiseg.gui.desk
    import napari_semiseg.session.export
    import napari_semiseg.session.worker  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with open(os.devnull) as nothing:
                os.dup2(nothing.fileno(), 0)
            os.dup2(2, 1)
            try:
                live_without_window(order)
            finally:
                os._exit(1)
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        live_with_window(json.loads(sys.argv[1]))
    else:
        main()
