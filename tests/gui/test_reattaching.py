"""Runs that outlived their viewer: followed from their beginning, steered, and told of when they ended."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from tests.gui.conftest import open_session

from napari_semiseg.engine import events
from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui.training import Phase
from napari_semiseg.session import Session
from napari_semiseg.session.processes import Runner
from napari_semiseg.session.supervisor import Supervisor

pytestmark = pytest.mark.gui

PLAN = {
    "method": "supervised", "device": "cpu", "precision": "float32", "threads": 1,
    "settings": {"crop": 32, "longest_side": 64},
}  # fmt: skip


def test_a_run_that_outlived_its_viewer_is_followed_steered_and_told_of(make_panel, make_session):
    place, elsewhere = make_session("first"), make_session("second")
    earlier = Supervisor()
    session = Session.open(place)
    round_ = earlier.train(session, Plan(steps=100_000, **PLAN))
    while not any(isinstance(e, events.StepDone) and e.step > 20 for e in round_.events()):
        time.sleep(0.05)
    earlier.close()
    panel, hands = make_panel()
    desk = open_session(panel, hands, place)
    training = desk.training
    hands.wait(lambda: training.phase is Phase.TRAINING and len(training.history) > 20, 20)
    assert "Round 1 is still training (" in panel.messages.text.text()
    steps, _ = training.history.curve(training.history.names[0])
    assert steps[0] == 1, "the curve before this panel is missing"
    assert "%" in panel.train.bar.format()
    desk.sheet.go_to(8)
    hands.wait(lambda: round_.preview("heart", 8) is not None and desk.review.has_prediction, 20)
    panel.tabs.setCurrentIndex(1)
    wishes = round_.control.path
    wishes.unlink()
    wishes.mkdir()  # they cannot be written now, as on a full disk
    hands.click(panel.train.pause)
    hands.wait(lambda: "control.json' cannot be written" in panel.messages.error.text(), 10)
    assert training.phase is Phase.TRAINING
    wishes.rmdir()
    hands.click(panel.train.pause)
    hands.wait(lambda: training.phase is Phase.PAUSED, 10)
    hands.click(panel.train.pause)
    hands.wait(lambda: training.phase is Phase.TRAINING, 10)
    hands.click(panel.train.stop)
    hands.wait(lambda: training.phase is Phase.IDLE, 20)
    assert round_.status == "stopped"
    assert "stopped; what was learned is kept" in panel.messages.text.text()
    hands.wait(lambda: round_.was_seen, 5)

    # A run that ends while the session is not open anywhere.
    open_session(panel, hands, elsewhere)
    assert isinstance(list(earlier.train(session, Plan(steps=30, **PLAN)).tail())[-1], events.Finished)
    earlier.kill()
    open_session(panel, hands, place)
    hands.wait(lambda: "Round 2 finished while this panel was closed: 30 steps" in panel.messages.text.text(), 20)
    hands.wait(lambda: training.phase is Phase.IDLE and len(training.history) == 30, 20)
    assert desk.review.has_prediction
    hands.wait(lambda: session.rounds()[-1].was_seen, 5)

    # One whose process was killed, and nobody watched.
    open_session(panel, hands, elsewhere)
    killed = session.new_round(Plan(steps=30, **PLAN))
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    Runner(gone.pid, "1", Runner.of().host, worker=True).write(killed.path / "process.json")
    open_session(panel, hands, place)
    hands.wait(lambda: "round 3 ended unexpectedly" in panel.messages.error.text(), 20)
