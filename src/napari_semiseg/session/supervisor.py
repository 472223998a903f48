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
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.run import create_round
from napari_semiseg.session.session import Session


class Supervisor:
    """Keeps one worker process warm, hands it requests, and can end a run for certain.

    Blocking calls are short; none of them waits for a run.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the worker if there is none; returns before it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_semiseg.session.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            # A group of its own: signals of the viewer's terminal do not reach it.
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        """Process number of the worker."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

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
        round_ = create_round(opened, plan)
        self._request(opened, round_)
        return round_

    def predict(self, session: str | Path | Session, round_: Round) -> Round:
        """Have all volumes predicted with the model of a round; returns the run to watch at once."""
        opened = session if isinstance(session, Session) else Session.open(session)
        run = round_.predicting()
        self._request(opened, run)
        return run

    def resume(self, session: str | Path | Session, round_: Round) -> Round:
        """Have an interrupted round go on where its last checkpoint is."""
        opened = session if isinstance(session, Session) else Session.open(session)
        round_.control.path.unlink(missing_ok=True)
        self._request(opened, round_)
        return round_

    def _request(self, session: Session, round_: Round) -> None:
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        # Until the worker takes over, the round belongs to it already: a watcher must not think it dead.
        round_.claim(self._process.pid)
        request = {"session": str(session.path), "round": round_.number, "run": round_.run}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            round_.append(events.Failed(error="The training process could not be started; try again."))

    def events(self, round_: Round) -> Iterator[Event]:
        """Yield the events of a run from its first one on, up to the terminal one."""
        return round_.tail()

    def stop(self, round_: Round, timeout: float = 0.9) -> None:
        """Ask a run to end; if it does not within ``timeout`` seconds, end its process and start a fresh one.

        What was learned up to the last checkpoint is kept in either case.
        """
        round_.control.stop()
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            last = round_.last_event()
            if last is not None and last.terminal:
                return
            time.sleep(0.02)
        self.kill()
        last = round_.last_event()
        if last is None or not last.terminal:
            steps = [e for e in round_.events() if isinstance(e, events.CheckpointSaved)]
            if round_.has_model:
                round_.append(events.Finished(reason="stopped", steps=steps[-1].step if steps else 0, seconds=0.0))
            else:
                round_.append(events.Failed(error="The run was stopped before anything was learned."))
        self.start()

    def kill(self) -> None:
        """End the worker process at once."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(timeout=10)
        self._close_pipes()
        self._process = None

    def close(self) -> None:
        """Let go of the worker: it finishes the run it is in, if any, and leaves by itself."""
        if self._process is None:
            return
        self._close_pipes()
        self._process = None

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
