"""Following a run on a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl
from napari_semiseg.engine.events import Event


def follow(run: Iterator[Event], control: LocalControl, *, as_json: bool) -> int:
    """Show a run's progress until it ends; the first Ctrl-C stops it cleanly.

    Returns
    -------
    int
        Exit code: 0 done or stopped, 2 bad input, 1 internal error.
    """
    with _stopped_by_interrupt(control):
        return _print_json(run) if as_json else _show(run)


def _print_json(run: Iterator[Event]) -> int:
    code = 0
    for event in run:
        print(event.to_json(), flush=True)
        code = max(code, _code(event))
    return code


def _show(run: Iterator[Event]) -> int:
    from napari_semiseg.session.summaries import judgement_text

    console = Console(stderr=True, soft_wrap=True)
    code = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Preparing", total=1.0, note="")
        for event in run:
            match event:
                case events.Started():
                    console.print(f"{event.method} on {event.device}, {event.precision}: {event.reason}.")
                    bar.update(task, description="Training")
                case events.Preparing():
                    bar.update(task, description=event.task.capitalize(), completed=event.progress, note="")
                case events.Registered():
                    console.print(_registered(event))
                case events.StepDone():
                    note = f"step {event.step}, loss {sum(event.losses.values()):.3f}"
                    bar.update(task, description="Training", completed=event.progress, note=note)
                case events.Predicting():
                    bar.update(task, description=f"Predicting {event.volume}", completed=event.progress, note="")
                case events.Notice():
                    console.print(event.text, style="yellow" if event.level == "warning" else "")
                case events.Judged():
                    console.print(judgement_text(event.held_out, event.calibration))
                case events.VolumeFailed():
                    console.print(f"{event.name} was left out: {event.error}", style="yellow")
                case events.Finished():
                    verb = "Stopped" if event.reason == "stopped" else "Done"
                    console.print(f"{verb} after {event.steps} steps in {event.seconds:.0f} s of training.")
                case events.Failed():
                    where = f" The report is {event.report}." if event.report else ""
                    print(f"semiseg: {event.error}{where}", file=sys.stderr)
            code = max(code, _code(event))
    return code


def _registered(event: events.Registered) -> str:
    judged = [pair for pair in event.pairs if pair["quality"] is not None]
    failed = f", {len(event.pairs) - len(judged)} could not be" if len(judged) < len(event.pairs) else ""
    alike = sum(pair["quality"]["direct_nmi"] for pair in judged) / max(1, len(judged))
    return f"{len(judged)} pairs are registered{failed}; mean likeness {alike:.2f}. --json tells each."


def _code(event: Event) -> int:
    if isinstance(event, events.Failed):
        return 1 if event.report else 2
    return 0


@contextmanager
def _stopped_by_interrupt(control: LocalControl) -> Iterator[None]:
    """Turn the first Ctrl-C into a stop, so that the round is kept; a second one interrupts at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        control.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
