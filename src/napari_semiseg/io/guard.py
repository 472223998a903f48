"""Turn whatever a file library throws at a bad file into a sentence, and keep its chatter off the screen."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_semiseg.errors import InputError, SemisegError

_CHATTY_LOGGERS = ("nibabel.global", "pydicom", "tifffile")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Run library code on ``path``; any exception but our own becomes an `InputError`.

    Libraries raise nearly every kind of exception on damaged files (struct.error, zlib.error, KeyError, even
    MemoryError for a header that claims terabytes), so everything is caught here and nowhere else.

    Parameters
    ----------
    path : Path
        The file, named in the sentence.
    what : str
        What it is being read as, such as ``"NIfTI"``.
    """
    try:
        with quiet():
            yield
    except SemisegError:
        raise
    except PermissionError as error:
        raise InputError(
            f"'{error.filename or path}' may not be read: permission is denied. {PERMISSION_ADVICE}"
        ) from error
    except MemoryError as error:
        raise InputError(
            f"'{path}' claims to be larger than the memory of this machine, or its header is damaged."
        ) from error
    except Exception as error:
        raise InputError(
            f"'{path}' looks like {what} but cannot be read; it is damaged or of a kind that is not supported "
            f"({_short(error)}). Try to copy or export it again."
        ) from error


PERMISSION_ADVICE = "Ask its owner for read permission, or copy it to a folder of your own."


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of the file libraries: what matters in them is said again as a note or a sentence."""
    loggers = [logging.getLogger(name) for name in _CHATTY_LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _short(error: Exception) -> str:
    """Return the last meaningful line of a library's message, cut to a readable length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
