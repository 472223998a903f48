"""Training processes that are forked from one that has the imports behind it: seconds less for each.

They run the real `serve` in a process of their own; only that they come from an interpreter which already has torch
differs. That a worker starts from nothing is tested in `test_rounds.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from typing import IO

from napari_semiseg.session.supervisor import Supervisor

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch._dynamo", "napari_semiseg.engine.train", "napari_semiseg.methods", "napari_semiseg.session.worker"]
)


class PreparedWorker:
    """What `subprocess.Popen` is to a supervisor.

    Parameters
    ----------
    log : file
        Takes what the worker says before its first request.
    """

    def __init__(self, log: IO[bytes]) -> None:
        requests, self.stdin = _pipe("w")
        answers, self.stdout = _pipe("r")
        # A daemon, so that one that is left over does not keep the tests from ending.
        self._process = _context.Process(
            target=_serve, args=(requests, answers, log.name, dict(os.environ)), daemon=True
        )
        self._process.start()
        requests.close()
        answers.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode


class PreparedSupervisor(Supervisor):
    """A supervisor whose workers are there at once."""

    def _spawn(self, log: IO[bytes]) -> PreparedWorker:
        return PreparedWorker(log)


def _pipe(mode: str) -> tuple[Connection, IO[str]]:
    """Return the worker's end of a pipe and this process's."""
    read, write = multiprocessing.Pipe(duplex=False)
    theirs, ours = (read, write) if mode == "w" else (write, read)
    file = os.fdopen(os.dup(ours.fileno()), mode)
    ours.close()
    return theirs, file


def _serve(requests: Connection, answers: Connection, log: str, environment: dict[str, str]) -> None:
    from napari_semiseg.session import worker

    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    errors = os.open(log, os.O_WRONLY | os.O_APPEND)
    for source, target in ((requests.fileno(), 0), (answers.fileno(), 1), (errors, 2)):
        os.dup2(source, target)
    requests.close()
    answers.close()
    os.close(errors)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    worker.serve()
