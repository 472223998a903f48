"""What a watcher may ask of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Wish:
    """The state of a watcher's wishes; the engine looks at it between steps.

    Attributes
    ----------
    stop, pause : bool
        End the run and keep what was learned; hold it.
    show : tuple (volume id, plane) or None
        The plane on the screen: its prediction is refreshed while the run goes on.
    predict : int
        A counter; when it grows, all volumes are predicted as the networks stand now.
    """

    stop: bool = False
    pause: bool = False
    show: tuple[str, int] | None = None
    predict: int = 0


class Control(Protocol):
    """Anything that knows the watcher's present wish; asked at every step, so it must be cheap."""

    def wish(self) -> Wish:
        """Return the present wish."""
        ...


class LocalControl:
    """Control within one process, for the command line, scripts and tests."""

    def __init__(self) -> None:
        self.current = Wish()

    def wish(self) -> Wish:
        """Return the present wish."""
        return self.current

    def stop(self) -> None:
        """Ask the run to end and keep what was learned."""
        self.current = Wish(stop=True)
