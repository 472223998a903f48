"""The parent's side of the training process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from napari_semiseg.engine import events
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import StorageError
from napari_semiseg.session.choosing import chosen
from napari_semiseg.session.processes import startup_log
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.session import Session

_LEAVE = 15.0  # s that such a worker has to save what it learned


class Supervisor:
    """Keeps one worker process warm, hands it requests, and can end a run for certain.

    Blocking calls are short; none of them waits for a run.

    Parameters
    ----------
    patience : float
        Seconds since its last event for which a worker that was asked to stop is believed to be in a long step.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._requests: list[tuple[Path, Round]] = []
        self._leaving: list[tuple[float, subprocess.Popen[str]]] = []

    def start(self) -> None:
        """Start the worker if there is none; returns before it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        self._let_go()
        self._requests.clear()  # they died with the worker that had them
        with _open_startup_log() as log:
            self._process = self._spawn(log)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "napari_semiseg.session.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # A group of its own: signals of the viewer's terminal do not reach it.
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        """Process number of the worker."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def pids(self) -> list[int]:
        """Process numbers of all processes of this supervisor, for whoever measures them."""
        own = [] if self.pid is None else [self.pid]
        return own + [process.pid for _, process in self._leaving if process.poll() is None]

    def wait_until_ready(self, timeout: float = 60.0) -> bool:
        """Wait until the worker has imported what it needs; for benchmarks and tests."""
        import selectors

        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                return False
        return "ready" in self._process.stdout.readline()

    def train(self, session: str | Path | Session, plan: Plan, *, create: Callable[[], Round] | None = None) -> Round:
        """Create the next round of a session and have it trained; returns at once.

        Parameters
        ----------
        session : path or Session
            One that is open in this process must be given as it is, since two of them would overwrite each other.
        plan : Plan
        create : callable, optional
            Creates the round, where `Session.new_round` has to run in a certain thread.

        Raises
        ------
        InputError, StorageError
        """
        opened = session if isinstance(session, Session) else Session.open(session)
        self._settle()
        round_ = opened.new_round(plan) if create is None else create()
        self._request(opened.path, round_)
        return round_

    def predict(self, session: str | Path | Session, round_: Round, volumes: Sequence[str] = ()) -> Round:
        """Have volumes, all by default, predicted with the model of a round; returns the run to watch at once.

        Raises
        ------
        InputError, StorageError
        """
        opened = session if isinstance(session, Session) else Session.open(session)
        run = round_.predicting(chosen(opened.volumes, volumes) if volumes else ())
        self._request(opened.path, run)
        return run

    def resume(self, session: str | Path | Session, round_: Round) -> Round:
        """Have an interrupted round go on where its last checkpoint is.

        Raises
        ------
        InputError, StorageError
        """
        opened = session if isinstance(session, Session) else Session.open(session)
        round_.control.clear()
        # Not a terminal event any more is what tells watchers that the run goes on.
        round_.append(events.Notice(text="The round goes on from its last checkpoint."))
        self._request(opened.path, round_)
        return round_

    def events(self, round_: Round) -> Iterator[Event]:
        """Yield the events of a run from its first one on, up to the terminal one."""
        return round_.tail()

    def stop(self, round_: Round, timeout: float = 0.9) -> None:
        """Ask a run to end; if it takes longer than ``timeout`` seconds, end it for its watchers.

        A worker in the middle of a long step may finish it and save what was learned, but nobody waits for that; one
        that does not answer any more, or cannot be asked (the disk is full), is killed, and its last checkpoint stays.
        A run of somebody else's command line is only asked, and so is one that still waits behind another.

        Raises
        ------
        StorageError
            If a run that may only be asked cannot be.
        """
        refused = _refusal(round_)
        if refused is None and _ends_within(round_, timeout):
            return
        runner, last = round_.runner, round_.last_event()
        waiting = [request for request in self._requests if not _is_over(request[1])]
        own = runner is not None and runner.pid == self.pid
        at_work = False
        if runner is not None and runner.is_alive:
            if not (own or runner.can_be_killed) or round_ in [other for _, other in waiting[1:]]:
                if refused is not None:
                    raise refused
                return
            at_work = refused is None and last is not None and time.time() - last.time < self._patience
        if not at_work and own and self._process is not None:
            self._process.kill()  # known by more than its number
        elif not at_work and runner is not None:
            runner.kill()
        if not _is_over(round_):
            with contextlib.suppress(StorageError):  # whoever watches sees that the process is gone
                round_.append(_stopped(round_, saving=at_work))
        if not at_work:
            round_.release()
        if at_work and len(waiting) > 1:
            return  # it goes on with the next request by itself
        if own:
            self._dismiss()
        self.start()
        for path, other in waiting:
            if other != round_ and not self._has(other):
                self._request(path, other)

    def kill(self) -> None:
        """End all worker processes at once."""
        self._dismiss()
        for _, process in self._leaving:
            process.kill()
            process.wait(timeout=10)
        self._leaving.clear()

    def close(self) -> None:
        """Let go of the worker: it finishes the run it is in, if any, and leaves by itself."""
        self._let_go()
        self._settle(timeout=0.0)

    def _has(self, round_: Round) -> bool:
        return any(other == round_ for _, other in self._requests)

    def _dismiss(self) -> None:
        """Let go of the worker, which has a while to leave."""
        if self._process is not None:
            self._leaving.append((time.monotonic() + _LEAVE, self._process))
        self._let_go()

    def _settle(self, timeout: float = 3.0) -> None:
        """Wait a little for workers that are saving what they learned, so that the next round continues from it."""
        until = time.monotonic() + timeout
        while True:
            for deadline, process in self._leaving:
                if time.monotonic() > deadline:
                    process.kill()
            self._leaving = [entry for entry in self._leaving if entry[1].poll() is None]
            if not self._leaving or time.monotonic() > until:
                return
            time.sleep(0.02)

    def _request(self, session: Path, round_: Round) -> None:
        line = json.dumps({"session": str(session), "round": round_.number, "run": round_.run}) + "\n"
        for _ in range(2):
            self.start()
            assert self._process is not None
            assert self._process.stdin is not None
            # Until the worker takes over, the round belongs to it already: a watcher must not think it dead.
            round_.claim(self._process.pid, worker=True)
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
                # A round that is resumed was asked for before.
                self._requests = [r for r in self._requests if r[1] != round_ and not _is_over(r[1])]
                self._requests.append((session, round_))
                return
            except OSError:
                self._dismiss()  # it died since it was started; another one is tried once
        round_.release()
        with contextlib.suppress(StorageError):
            round_.append(events.Failed(error="The training process could not be started; start napari again."))

    def _let_go(self) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process = None


def _open_startup_log() -> IO[bytes]:
    log = startup_log()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError:
        return open(os.devnull, "wb")


def _is_over(round_: Round) -> bool:
    last = round_.last_event()
    return last is not None and last.terminal


def _refusal(round_: Round) -> StorageError | None:
    """Ask a run to end and return why it could not be asked."""
    try:
        round_.control.stop()
    except StorageError as error:
        return error
    return None


def _ends_within(round_: Round, seconds: float) -> bool:
    """Wait for the end of a run, at the most so long."""
    until = time.monotonic() + seconds
    while not _is_over(round_):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _stopped(round_: Round, *, saving: bool) -> Event:
    """Return the last event of a run that did not stop by itself in time."""
    if not saving and not round_.has_model:
        return events.Failed(error="The run was stopped before anything was learned.")
    found = round_.events()
    kind = events.StepDone if saving else events.CheckpointSaved
    steps = [event.step for event in found if isinstance(event, kind)]
    return events.Finished(
        reason="stopped", steps=steps[-1] if steps else 0, seconds=max(0.0, found[-1].time - found[0].time)
    )
