"""The training process: warm, in the background, one request at a time.

Started as ``python -m napari_semiseg.session.worker``. It imports torch, says ``{"ready": true}`` on its standard
output, and reads one JSON request per line from its standard input. When that ends (its viewer has gone), it finishes
the run it is in and leaves. What a run tells goes to the session folder, not through the pipe.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from napari_semiseg.errors import StorageError
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.run import failure, predict_round, run_round
from napari_semiseg.session.session import Session

# About a tenth of a core where all cores are wanted by programs of ordinary priority: little enough for the screen, and
# enough for a run to go on, and for this process to leave when it should.
_NICE = 10


def serve() -> None:
    """Answer requests until the standard input ends."""
    _be_polite()
    # A terminal's Ctrl-C is meant for the viewer; this process is stopped by its control file.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from napari_semiseg.engine.device import choose_threads

    if _is_abandoned():
        return
    # One core stays free for the screen.
    threads = max(1, choose_threads(0) - 1)
    torch.set_num_threads(threads)
    _warm_up(threads)
    _say({"ready": True})
    for line in sys.stdin:
        try:
            request = json.loads(line)
            round_ = Round(Path(request["session"]) / "rounds" / f"{int(request['round']):04d}", str(request["run"]))
        except (ValueError, KeyError, TypeError) as error:
            _say({"refused": repr(error)})
            continue
        _answer(Path(request["session"]), round_, threads)


def _is_abandoned() -> bool:
    """Return whether the viewer has gone without a request, as when it was opened and closed at once."""
    try:
        at_hand, _, _ = select.select([sys.stdin], [], [], 0)
    except OSError:  # Windows asks sockets only.
        return False
    return bool(at_hand) and not sys.stdin.buffer.peek(1)  # type: ignore[union-attr]


def _warm_up(threads: int) -> None:
    """Train one step on next to nothing: the first optimiser and the first use of each kernel cost seconds once."""
    import numpy as np

    from napari_semiseg.data.volumes import UNSAID, TrainingVolume
    from napari_semiseg.engine.keeper import MemoryKeeper
    from napari_semiseg.engine.plan import Plan
    from napari_semiseg.engine.train import train

    image = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    labels = np.full(image.shape, UNSAID, np.uint8)
    labels[0] = image[0] > 0
    plan = Plan(method="mcscv2", steps=1, threads=threads)
    for _ in train([TrainingVolume("warm-up", image, (1.0, 1.0, 1.0), labels)], range(2), plan, keeper=MemoryKeeper()):
        pass


def _answer(path: Path, round_: Round, threads: int) -> None:
    _write_errors_to(round_.log)
    run = predict_round if round_.run else run_round
    try:
        for _ in run(Session.open(path), round_, threads=threads, worker=True):
            pass
    except Exception as error:  # such as a session folder that was moved away meanwhile
        with contextlib.suppress(StorageError):
            round_.append(failure(round_, error))
    finally:
        round_.release()
    _say({"done": round_.number})


def _write_errors_to(log: Path) -> None:
    """Send what native code says on its way out (a segmentation fault, a failed assertion on the GPU) to a file."""
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError:
        return
    os.dup2(handle, 2)
    os.close(handle)
    faulthandler.enable()


def _be_polite() -> None:
    """Yield to the screen: whatever the viewer wants to compute goes first."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
    # A process that began a session of its own is in a scheduling group of its own, and between groups Linux shares
    # the cores by the groups' priority: without this the worker gets as much as all threads of the viewer together.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _say(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):
        print(json.dumps(message), flush=True)


if __name__ == "__main__":
    serve()
