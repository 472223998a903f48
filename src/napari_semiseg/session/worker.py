"""The training process: warm, in the background, one request at a time.

Started as ``python -m napari_semiseg.session.worker``. It imports torch, says ``{"ready": true}`` on its standard
output, and reads one JSON request per line from its standard input. When that ends (its viewer has gone), it finishes
the run it is in and leaves. What a run tells goes to the session folder, not through the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from napari_semiseg.session.rounds import Round
from napari_semiseg.session.run import predict_round, run_round
from napari_semiseg.session.session import Session


def serve() -> None:
    """Answer requests until the standard input ends."""
    _be_polite()
    # A terminal's Ctrl-C is meant for the viewer; this process is stopped by its control file.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    # The first use of each kind of kernel costs time once.
    torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 8, 8)).sum().backward()
    _say({"ready": True})
    for line in sys.stdin:
        with contextlib.suppress(ValueError):
            request = json.loads(line)
            if request.get("quit"):
                return
            _answer(request)


def _answer(request: dict[str, Any]) -> None:
    session = Session.open(Path(request["session"]))
    round_ = Round(session.path / "rounds" / f"{int(request['round']):04d}", str(request.get("run", "")))
    run = predict_round if round_.run else run_round
    for _ in run(session, round_):
        pass
    _say({"done": round_.number})


def _be_polite() -> None:
    """Yield to the screen: whatever the viewer wants to compute goes first."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _say(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        print(json.dumps(message), flush=True)


if __name__ == "__main__":
    serve()
