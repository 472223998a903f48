"""One program at a time changes a session, and says so; locks of programs that are gone are taken over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from small_sessions import plan

from napari_semiseg.engine import events
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session import Session, SliceState, lock
from napari_semiseg.session.copying import copy_session
from napari_semiseg.session.lock import HeldError, Holder, SessionLock, holder_of
from napari_semiseg.session.supervisor import Supervisor

HOLD = (
    "import sys, time; from pathlib import Path; from napari_semiseg.session.lock import SessionLock\n"
    "SessionLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def written(folder, *, age=0.0, **changes):
    """A lock file as another program would have left it ``age`` seconds ago."""
    holder = Holder.this()
    content = {**json.loads(holder.to_json()), **changes}
    (folder / lock.NAME).write_text(json.dumps(content))
    then = time.time() - age
    os.utime(folder / lock.NAME, (then, then))


def test_the_second_is_told_who_holds_it_and_gets_it_when_the_first_lets_go(tmp_path):
    first = SessionLock(tmp_path)
    with pytest.raises(HeldError, match=r"open elsewhere: .+ on this computer since \d\d:\d\d") as caught:
        SessionLock(tmp_path)
    assert caught.value.holder == first.holder == holder_of(tmp_path)
    first.release()
    assert holder_of(tmp_path) is None
    SessionLock(tmp_path).release()
    assert os.listdir(tmp_path) == [lock.LAST]


def test_a_lock_whose_process_was_killed_is_taken_over_at_once(tmp_path, other):
    with pytest.raises(HeldError):
        SessionLock(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    SessionLock(tmp_path).release()


def test_a_number_that_another_process_got_meanwhile_holds_nothing(tmp_path):
    written(tmp_path, started="1")
    assert holder_of(tmp_path) is None
    SessionLock(tmp_path).release()


def test_another_machine_is_believed_while_its_heart_beats(tmp_path):
    written(tmp_path, age=30, host="ward-7", user="ada", since=0)
    with pytest.raises(HeldError, match="ada on ward-7 since 01 January"):
        SessionLock(tmp_path)
    written(tmp_path, age=90, host="ward-7")
    taken = SessionLock(tmp_path)
    assert taken.is_mine
    taken.release()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"pid": -1, "started": "", "host": "h", "user": "u", "since": 0, "token": "t"}',
     '{"pid": 1e400, "started": "", "host": "h", "user": "u", "since": 0, "token": "t"}'],
)  # fmt: skip
def test_a_lock_file_that_tells_nothing_counts_while_it_is_young(tmp_path, content):
    file = tmp_path / lock.NAME
    file.write_text(content)
    with pytest.raises(HeldError, match="another program"):
        SessionLock(tmp_path)
    then = time.time() - 90
    os.utime(file, (then, then))
    SessionLock(tmp_path).release()


def test_names_from_the_file_are_shown_without_markup(tmp_path):
    written(tmp_path, host="<img src=x>\n" + "a" * 500, user="<b>eve</b>")
    sentence = str(holder_of(tmp_path))
    assert "<" not in sentence
    assert "\n" not in sentence
    assert len(sentence) < 200


def test_the_heart_beats_and_a_lock_that_was_taken_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    lost = threading.Event()
    mine = SessionLock(tmp_path, lost.set)
    os.utime(tmp_path / lock.NAME, (1, 1))
    for _ in range(100):
        if (tmp_path / lock.NAME).stat().st_mtime > 1:
            break
        time.sleep(0.02)
    else:
        pytest.fail("no heartbeat")
    written(tmp_path, host="ward-7")
    assert lost.wait(5)
    mine.release()
    assert Holder.read(tmp_path / lock.NAME).process.host == "ward-7", "the lock of somebody else was removed"


def test_of_many_that_find_a_stale_lock_one_gets_it(tmp_path):
    for _ in range(5):
        written(tmp_path, age=90, host="ward-7")
        got, start = [], threading.Barrier(8)

        def try_it(got=got, start=start):
            start.wait()
            with contextlib.suppress(HeldError):
                got.append(SessionLock(tmp_path))

        threads = [threading.Thread(target=try_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        got[0].release()
        assert os.listdir(tmp_path) == [lock.LAST]


def test_the_leftover_of_a_kill_while_taking_over_is_no_obstacle_for_long(tmp_path):
    written(tmp_path, age=90, host="ward-7")
    taking = tmp_path / f"{lock.NAME}.taking"
    taking.touch()
    with pytest.raises(HeldError):
        SessionLock(tmp_path)
    os.utime(taking, (1, 1))
    SessionLock(tmp_path).release()


def test_a_session_that_is_read_only_refuses_every_change(session, other, tmp_path):
    (tmp_path / lock.NAME).rename(session.path / lock.NAME)
    second = Session.open(session.path)
    with pytest.raises(HeldError) as caught:
        second.hold()
    second.be_read_only(str(caught.value))
    before = {path: path.read_bytes() for path in session.path.rglob("*") if path.is_file()}
    changes = [
        lambda: second.add_class("x"),
        lambda: second.remove_class(2, erase=True),
        lambda: second.new_round(plan()),
        lambda: second.move(tmp_path / "elsewhere.semiseg"),
        lambda: second.add_array(np.eye(12, dtype=np.float32).reshape(3, 4, 12), None, "x"),
    ]
    for change in changes:
        with pytest.raises(InputError, match="open elsewhere"):
            change()
    annotation = second.annotation("heart")
    second.close()
    annotation.set_plane(0, np.ones((48, 48), np.uint8))
    with pytest.raises(StorageError, match="open elsewhere"):
        second.close()
    assert {path: path.read_bytes() for path in session.path.rglob("*") if path.is_file()} == before
    other.kill()
    other.wait()
    second.hold()
    second.close()
    assert (Session.open(session.path).annotation("heart").said[0] == 1).all()
    second.let_go()


def test_the_lock_moves_with_the_session(session, tmp_path):
    session.hold()
    old = session.path
    session.move(tmp_path / "moved.semiseg")
    assert session.lock.is_mine
    assert not old.exists()
    session.let_go()
    assert not (session.path / lock.NAME).exists()


def test_a_hostile_record_of_a_process_kills_nothing(session):
    from napari_semiseg.session.processes import Runner

    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    round_ = session.new_round(plan())
    here = Runner.of().host
    for pid in (-1, 0, 1, innocent.pid):
        (round_.path / "process.json").write_text(json.dumps({"pid": pid, "started": "", "host": here, "worker": True}))
        runner = round_.runner
        assert runner is None or pid == innocent.pid
        if runner is not None:
            runner.kill()
    time.sleep(0.1)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def as_after_a_sleep(session):
    """Stop the heartbeat of a session's lock, and let its last one be long ago."""
    session.lock._ended.set()
    session.lock._heart.join()
    session.lock._ended.clear()
    os.utime(session.path / lock.NAME, (1, 1))


@pytest.mark.parametrize("gone_again", [False, True])
def test_a_computer_that_slept_overwrites_nothing_of_who_took_the_session_over(
    session, monkeypatch, tmp_path, gone_again
):
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "ward-7")
        session.hold()
    annotation = session.annotation("heart")
    as_after_a_sleep(session)

    other = Session.open(session.path)
    other.hold()
    other.annotation("heart").set_plane(0, np.full((48, 48), 2, np.uint8))
    other.annotation("heart").set_state(0, SliceState.COMPLETE)
    other.add_class("valve")
    other.close()
    if gone_again:
        other.let_go()
    before = {path: path.read_bytes() for path in session.path.rglob("*") if path.is_file()}

    # It wakes up: what it writes first comes before its next heartbeat.
    annotation.set_plane(0, np.ones((48, 48), np.uint8))
    with pytest.raises(StorageError, match=r"taken over by .+ on .+ while this program was away"):
        session.close()
    with pytest.raises(StorageError, match="taken over"):
        session.release("heart")
    with pytest.raises(InputError, match="taken over"):
        session.add_class("septum")
    with pytest.raises(InputError, match="Open the session anew"):
        session.hold()
    monkeypatch.setattr(lock, "_BEAT", 0.01)
    session.lock._beat()
    assert {path: path.read_bytes() for path in session.path.rglob("*") if path.is_file()} == before
    assert (annotation.said[0] == 1).all(), "what was painted was lost"
    copy, missing = copy_session(session, tmp_path / "rescued.semiseg")
    assert (missing, (copy.annotation("heart").said[0] == 1).all()) == ([], True)
    copy.let_go()
    session.lock.release()
    assert (other.lock is not None) == (not gone_again) == (session.path / lock.NAME).exists()
    other.let_go()


def test_a_lock_file_that_somebody_tidied_up_is_claimed_anew(session, monkeypatch):
    session.hold()
    as_after_a_sleep(session)
    (session.path / lock.NAME).unlink()
    assert session.may_write()
    monkeypatch.setattr(lock, "_BEAT", 0.01)
    threading.Timer(0.2, session.lock._ended.set).start()
    session.lock._beat()
    assert session.lock.is_mine
    session.let_go()


def test_two_computers_of_one_name_are_two(tmp_path):
    """The number of the process says nothing about a process of the other computer."""
    written(tmp_path, machine="that of the other", pid=2**22 + 1)
    with pytest.raises(HeldError):
        SessionLock(tmp_path)
    # A copy of this machine, or this one before it started anew: only the heartbeat tells.
    written(tmp_path, boot="another", pid=2**22 + 1)
    with pytest.raises(HeldError):
        SessionLock(tmp_path)
    written(tmp_path, boot="another", pid=2**22 + 1, age=90)
    SessionLock(tmp_path).release()
    written(tmp_path, pid=2**22 + 1)
    SessionLock(tmp_path).release()


def test_a_worker_of_another_computer_of_this_name_is_neither_dead_nor_killed(session):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    round_ = session.new_round(plan())
    round_.claim(process.pid, worker=True)
    record = json.loads((round_.path / "process.json").read_text())
    for change, alive in (({"machine": "that of the other"}, True), ({"boot": "an earlier one"}, False)):
        (round_.path / "process.json").write_text(json.dumps({**record, **change}))
        assert round_.is_alive() == alive
        round_.runner.kill()
        assert not round_.is_being_written
    time.sleep(0.1)
    assert process.poll() is None
    (round_.path / "process.json").write_text(json.dumps(record))
    round_.runner.kill()
    assert process.wait(10) == -signal.SIGKILL


def test_where_the_system_does_not_tell_when_a_process_began_only_ones_own_worker_is_killed(session, monkeypatch):
    monkeypatch.setattr("napari_semiseg.session.processes._start_time", lambda _: "")
    processes = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], text=True) for _ in range(2)]
    round_ = session.new_round(plan())
    supervisor = Supervisor(patience=0.0)
    monkeypatch.setattr(supervisor, "start", lambda: None)
    round_.claim(processes[0].pid, worker=True)
    supervisor.stop(round_, timeout=0.0)
    assert (round_.control.wish().stop, round_.last_event()) == (True, None)
    supervisor._process = processes[1]
    round_.claim(processes[1].pid, worker=True)
    supervisor.stop(round_, timeout=0.0)
    assert processes[1].wait(10) == -signal.SIGKILL
    assert isinstance(round_.last_event(), events.Failed)
    assert processes[0].poll() is None
    processes[0].kill()
    processes[0].wait()
