"""Workers that hang, crash, are killed or belong to somebody else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prepared_workers import PreparedSupervisor
from small_sessions import only, plan, until

from napari_semiseg.engine import events
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session import Round, Session
from napari_semiseg.session import supervisor as supervision
from napari_semiseg.session.processes import Runner
from napari_semiseg.session.supervisor import Supervisor

pytestmark = pytest.mark.clock


@pytest.fixture
def supervisor():
    """A supervisor that takes a worker for hung as soon as it does not answer."""
    supervisor = PreparedSupervisor(patience=0.0)
    supervisor.start()
    yield supervisor
    supervisor.kill()


def ended(run):
    return list(run.tail())[-1]


def test_a_worker_that_hangs_is_killed_and_replaced_within_a_second(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    hung = supervisor.pid
    os.kill(hung, signal.SIGSTOP)
    began = time.monotonic()
    supervisor.stop(round_)
    assert time.monotonic() - began < 1.1
    assert supervisor.pid not in (None, hung)
    last = round_.last_event()
    assert isinstance(last, events.Failed)
    assert "before anything was learned" in last.error
    assert session.latest_round() is None


def test_a_run_that_cannot_be_asked_to_stop_is_ended_if_it_is_ours(session, monkeypatch):
    monkeypatch.setattr(Supervisor, "start", lambda self: None)  # nothing is trained here
    round_ = session.new_round(plan())
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    somebodys = Runner.of(process.pid)
    somebodys.write(round_.path / "process.json")
    round_.control.path.mkdir()  # it cannot be written now, as on a full disk
    with pytest.raises(StorageError, match="cannot be written"):
        Supervisor().stop(round_)
    assert process.poll() is None
    replace(somebodys, worker=True).write(round_.path / "process.json")
    Supervisor().stop(round_)
    assert process.wait(10) != 0
    assert round_.last_event().terminal


def test_a_long_step_costs_neither_time_nor_what_was_learned(session):
    patient = PreparedSupervisor()
    patient.start()
    round_ = patient.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    busy = patient.pid
    os.kill(busy, signal.SIGSTOP)
    began = time.monotonic()
    patient.stop(round_)
    assert time.monotonic() - began < 1.1
    assert isinstance(ended(round_), events.Finished)
    assert round_.status == "stopped"
    assert patient.pid not in (None, busy)
    assert busy in patient.pids
    with pytest.raises(InputError, match="Round 1 is running"):
        session.move(session.path.with_name("moved.semiseg"))
    os.kill(busy, signal.SIGCONT)
    again = patient.train(session.path, plan(steps=2))
    assert again.config["continues"] == 1
    assert round_.has_model
    assert round_.status == "stopped"
    assert isinstance(ended(again), events.Finished)
    deadline = time.monotonic() + 30
    while patient.pids != [patient.pid]:  # the old worker leaves, as fast as the machine lets it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    patient.kill()


def test_a_worker_that_never_comes_back_from_a_long_step_is_ended_in_the_end(session, monkeypatch):
    monkeypatch.setattr(supervision, "_LEAVE", 0.5)
    patient = PreparedSupervisor()
    patient.start()
    round_ = patient.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    busy = patient.pid
    os.kill(busy, signal.SIGSTOP)
    patient.stop(round_, timeout=0.1)
    assert busy in patient.pids
    assert isinstance(ended(patient.train(session.path, plan(steps=1))), events.Finished)
    assert busy not in patient.pids
    patient.kill()


def test_what_waits_behind_a_long_step_is_run_once(session):
    patient = PreparedSupervisor()
    patient.start()
    first = patient.train(session.path, plan(steps=100_000))
    until(first, events.StepDone)
    second = patient.train(session.path, plan(steps=2))
    os.kill(patient.pid, signal.SIGSTOP)
    patient.stop(first, timeout=0.1)
    assert first.status == "stopped"
    os.kill(patient.pid, signal.SIGCONT)
    assert isinstance(ended(second), events.Finished)
    assert sum(isinstance(event, events.Started) for event in second.events()) == 1
    patient.kill()


def test_a_round_that_was_killed_keeps_its_last_checkpoint(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    supervisor.stop(round_, timeout=30)
    checkpoint = (round_.path / "model.safetensors").read_bytes()
    supervisor.resume(session.path, round_)
    steps = round_.last_event()
    while not isinstance(steps, events.StepDone):
        steps = round_.last_event()
    os.kill(supervisor.pid, signal.SIGSTOP)
    supervisor.stop(round_, timeout=0.2)
    assert round_.status == "stopped"
    assert (round_.path / "model.safetensors").read_bytes() == checkpoint
    assert session.latest_round() == round_
    assert isinstance(ended(supervisor.predict(session.path, round_)), events.Finished)


def test_a_checkpoint_survives_the_death_of_its_worker(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=30))
    assert isinstance(ended(round_), events.Finished)
    content = (round_.path / "model.safetensors").read_bytes()
    run = supervisor.predict(session.path, round_)
    os.kill(supervisor.pid, signal.SIGKILL)
    assert isinstance(ended(run), events.Failed)
    assert (round_.path / "model.safetensors").read_bytes() == content
    assert round_.status == "finished"
    assert isinstance(ended(supervisor.predict(session.path, round_)), events.Finished)


def test_a_crash_in_native_code_names_its_report(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    os.kill(supervisor.pid, signal.SIGSEGV)
    last = ended(round_)
    assert isinstance(last, events.Failed)
    with open(last.report, encoding="utf-8") as file:
        assert "Segmentation fault" in file.read()


def test_a_worker_that_cannot_start_names_its_report(session, tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise ImportError('libcudart.so.99 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    unlucky = Supervisor()
    last = ended(unlucky.train(session.path, plan(steps=1)))
    assert isinstance(last, events.Failed)
    with open(last.report, encoding="utf-8") as file:
        assert "libcudart.so.99 is missing" in file.read()
    unlucky.kill()


def test_a_run_that_waits_behind_another_is_stopped_without_hurting_it(session, supervisor):
    first = supervisor.train(session.path, plan(steps=100_000))
    until(first, events.StepDone)
    second = supervisor.train(session.path, plan(steps=100_000))
    worker = supervisor.pid
    supervisor.stop(second, timeout=0.1)
    assert supervisor.pid == worker
    assert first.status == "running"
    supervisor.stop(first, timeout=30)
    last = ended(second)
    assert isinstance(last, events.Finished)
    assert last.reason == "stopped"


def test_a_run_that_waits_behind_a_hung_one_is_given_to_the_next_worker(session, supervisor):
    first = supervisor.train(session.path, plan(steps=100_000))
    until(first, events.StepDone)
    second = supervisor.train(session.path, plan(steps=2))
    os.kill(supervisor.pid, signal.SIGSTOP)
    supervisor.stop(first, timeout=0.2)
    assert isinstance(ended(second), events.Finished)


def test_a_worker_that_outlived_its_viewer_is_ended_by_the_next_viewer(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    left = supervisor.pid
    supervisor.close()
    other = PreparedSupervisor(patience=0.0)
    watched = Round(round_.path)
    assert watched.status == "running"
    os.kill(left, signal.SIGSTOP)
    other.stop(watched, timeout=0.2)
    assert not watched.is_alive()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(left, 0)
    other.kill()


def test_somebody_elses_command_line_is_asked_and_not_killed(session):
    program = (
        "import sys; from napari_semiseg.session import Session; from napari_semiseg.session.run import train_round\n"
        "from napari_semiseg.engine.plan import Plan\n"
        "import os, signal\n"
        f"session, plan = Session.open({str(session.path)!r}), Plan(**{plan(steps=100_000).model_dump()!r})\n"
        "for event in train_round(session, plan):\n"
        "    if type(event).__name__ == 'StepDone' and event.step == 1: os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program])
    while not (rounds := session.rounds()) or not any(isinstance(e, events.StepDone) for e in rounds[0].events()):
        time.sleep(0.05)
        assert other.poll() is None
    supervisor = Supervisor()
    supervisor.stop(rounds[0], timeout=0.2)
    assert other.poll() is None
    assert rounds[0].status == "running"
    other.send_signal(signal.SIGCONT)
    assert other.wait(timeout=60) == 0
    assert rounds[0].status == "stopped"
    supervisor.kill()


def test_a_worker_that_died_idle_is_replaced_at_the_next_press(session, supervisor):
    supervisor.wait_until_ready()
    os.kill(supervisor.pid, signal.SIGKILL)
    while supervisor.pid is not None:
        time.sleep(0.01)
    assert isinstance(ended(supervisor.train(session.path, plan(steps=1))), events.Finished)


def test_an_interrupted_round_goes_on_in_a_worker_and_is_watched_to_its_real_end(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=40))
    until(round_, events.StepDone)
    supervisor.stop(round_, timeout=30)
    assert round_.status == "stopped"
    done = round_.last_event().steps
    supervisor.resume(session.path, round_)
    last = ended(round_)
    assert (last.reason, last.steps) == ("budget", 40)
    steps = [e.step for e in round_.events() if isinstance(e, events.StepDone)]
    assert steps == list(range(1, 41))
    assert done < 40


def test_a_session_that_is_gone_ends_the_run_with_a_sentence(session, supervisor):
    supervisor.wait_until_ready()
    os.kill(supervisor.pid, signal.SIGSTOP)
    round_ = supervisor.train(session.path, plan())
    (session.path / "session.json").unlink()
    os.kill(supervisor.pid, signal.SIGCONT)
    last = ended(round_)
    assert isinstance(last, events.Failed)
    assert "session.json" in last.error


def test_one_core_is_left_to_the_screen(session, supervisor):
    cores = len(os.sched_getaffinity(0))
    options = {**plan(steps=1).model_dump(), "threads": 0, "minutes": None}
    round_ = supervisor.train(session.path, type(plan())(**options))
    started = until(round_, events.Started)
    assert f"({max(1, cores - 1)} thread" in started.device
    assert os.getpriority(os.PRIO_PROCESS, supervisor.pid) >= 10
    group = Path(f"/proc/{supervisor.pid}/autogroup")
    if group.exists():
        # The worker's own scheduling group yields, too: the priority within it says nothing to the viewer's threads.
        assert group.read_text().split()[1:] == ["nice", "10"]
    ended(round_)


def test_a_worker_whose_viewer_left_at_once_leaves_before_it_warms_up():
    left = subprocess.run(
        [sys.executable, "-m", "napari_semiseg.session.worker"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=300,
        start_new_session=True,  # whose priority it lowers
    )
    assert left.stdout == b"", "it never was ready"


def test_a_request_left_behind_is_answered_though_the_viewer_has_gone(session):
    round_ = session.new_round(plan(steps=1))
    request = {"session": str(session.path), "round": round_.number, "run": round_.run}
    subprocess.run(
        [sys.executable, "-m", "napari_semiseg.session.worker"],
        input=json.dumps(request).encode() + b"\n",
        capture_output=True,
        check=True,
        timeout=300,
        start_new_session=True,  # whose priority it lowers
    )
    assert isinstance(round_.last_event(), events.Finished)


def test_a_stop_during_the_prediction_leaves_the_earlier_one(session, supervisor):
    first = supervisor.train(session.path, plan(steps=1))
    ended(first)
    before = first.prediction(only(session)).labels[:]
    run = first.predicting()
    run.control.stop()
    supervisor._request(session.path, run)
    assert ended(run).reason == "stopped"
    assert (first.prediction(only(session)).labels[:] == before).all()
    assert [p.name for p in (first.path / "predictions").iterdir()] == [f"{only(session)}.zarr"]
    assert Session.open(session.path).latest_prediction(only(session)) is not None
