"""Work in steps: generators that yield how far they are and return what they made."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

S = TypeVar("S")
U = TypeVar("U")
T = TypeVar("T")


def completed(work: Generator[Any, None, T]) -> T:
    """Do the work to its end, for whoever has nobody to tell of its progress."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def told(work: Generator[S, None, T], tell: Callable[[S], U]) -> Generator[U, None, T]:
    """Do the work, and yield what ``tell`` makes of each of its steps; to be called with ``yield from``."""
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            return end.value
        yield tell(step)
