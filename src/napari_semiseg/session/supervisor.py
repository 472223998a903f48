"""The parent's side of the training process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from napari_semiseg.engine import events
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import StorageError
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.session import Session


class Supervisor:
    """Keeps one worker process warm, hands it requests, and can end a run for certain.

    Blocking calls are short; none of them waits for a run.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._requests: list[tuple[Path, Round]] = []

    def start(self) -> None:
        """Start the worker if there is none; returns before it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        self._let_go()
        self._requests.clear()  # they died with the worker that had them
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_semiseg.session.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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
        return [] if self.pid is None else [self.pid]

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

    def train(self, session: str | Path | Session, plan: Plan) -> Round:
        """Create the next round of a session and have it trained; returns at once.

        Raises
        ------
        InputError, StorageError
        """
        opened = session if isinstance(session, Session) else Session.open(session)
        round_ = opened.new_round(plan)
        self._request(opened.path, round_)
        return round_

    def predict(self, session: str | Path | Session, round_: Round) -> Round:
        """Have all volumes predicted with the model of a round; returns the run to watch at once.

        Raises
        ------
        InputError, StorageError
        """
        opened = session if isinstance(session, Session) else Session.open(session)
        run = round_.predicting()
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
        """Ask a run to end; if it does not within ``timeout`` seconds, end its process and start a fresh one.

        What was learned up to the last checkpoint is kept in either case. A run of somebody else's command line is
        only asked, and so is one that still waits behind another.
        """
        round_.control.stop()
        until = time.monotonic() + timeout
        while not _is_over(round_):
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            return
        runner = round_.runner
        waiting = [request for request in self._requests if not _is_over(request[1])]
        if runner is not None and runner.is_alive:
            if not runner.can_be_killed or round_ in [other for _, other in waiting[1:]]:
                return
            if runner.pid == self.pid:
                self.kill()
            else:
                runner.kill()  # a worker that outlived the viewer that started it
        if not _is_over(round_):
            round_.append(_stopped(round_))
        round_.release()
        self.start()
        if not self._requests:
            for path, other in waiting:
                if other != round_:
                    self._request(path, other)

    def kill(self) -> None:
        """End the worker process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
        self._let_go()

    def close(self) -> None:
        """Let go of the worker: it finishes the run it is in, if any, and leaves by itself."""
        self._let_go()

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
                self.kill()  # it died since it was started; another one is tried once
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


def _is_over(round_: Round) -> bool:
    last = round_.last_event()
    return last is not None and last.terminal


def _stopped(round_: Round) -> Event:
    """Return the last event of a run whose process was ended because it did not stop by itself."""
    if not round_.has_model:
        return events.Failed(error="The run was stopped before anything was learned.")
    found = round_.events()
    steps = [e.step for e in found if isinstance(e, events.CheckpointSaved)]
    seconds = found[-1].time - found[0].time
    return events.Finished(reason="stopped", steps=steps[-1] if steps else 0, seconds=max(0.0, seconds))
