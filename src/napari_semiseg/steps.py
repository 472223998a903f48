"""Work in steps: generators that yield how far they are and return what they made."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def completed(work: Generator[Any, None, T]) -> T:
    """Do the work to its end, for whoever has nobody to tell of its progress."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
