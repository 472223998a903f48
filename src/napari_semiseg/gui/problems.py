"""Errors as sentences for the message line; what nobody foresaw is written to a report."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from platformdirs import user_log_path

from napari_semiseg.errors import SemisegError

P = ParamSpec("P")
R = TypeVar("R")


class Teller(Protocol):
    """Anything that can show a sentence to the user."""

    def tell(self, text: str, severity: str = "info") -> None:
        """Show one sentence."""
        ...


def explain(error: BaseException, *, reports: Path | None = None) -> str:
    """Return one sentence for an error.

    Parameters
    ----------
    error : exception
        Errors of this package and of the file system speak for themselves; for others a report with the traceback is
        written and named.
    reports : path, optional
        Folder of reports; the user's log folder by default.
    """
    if isinstance(error, SemisegError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}."
    folder = reports or user_log_path("napari-semiseg", appauthor=False)
    report = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{type(error).__name__}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return f"Something unforeseen happened: {type(error).__name__}; what you painted is kept."
    return f"Something unforeseen happened ({type(error).__name__}); what you painted is kept. Details: {report}"


def told(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R | None]:
    """Make a method of a `Teller` (or of something with a ``desk``) show its errors instead of raising them."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # the last place before Qt, which would print a traceback
            teller: Teller = getattr(self, "desk", self)
            teller.tell(explain(error), "error")
            return None

    return wrapper
