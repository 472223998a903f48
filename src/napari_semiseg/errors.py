"""Errors that are sentences for the user."""

from __future__ import annotations

from pathlib import Path


class SemisegError(Exception):
    """An error whose message is one clear sentence: what was given, what was expected, what would work."""


class InputError(SemisegError):
    """Something the user gave cannot be used (command-line exit code 2)."""


class NewerError(InputError):
    """A file was written by a newer version of this program; it is not damaged."""


class DamagedError(InputError):
    """Something of a session cannot be read any more.

    Attributes
    ----------
    place : Path
        File or folder that can be set aside.
    """

    def __init__(self, message: str, place: Path):
        super().__init__(message)
        self.place = place


class NonFiniteError(InputError):
    """The image holds NaN or infinite voxels; reading with ``replace_nonfinite=True`` replaces them."""


class ChoiceNeeded(InputError):
    """The file holds several volumes and one must be chosen.

    Attributes
    ----------
    parameter : str
        Name of the argument that chooses: ``"series"`` or ``"frame"``.
    choices : list of (value, str)
        Value to pass for each choice, and its description for a person.
    """

    def __init__(self, message: str, parameter: str, choices: list[tuple[object, str]]):
        super().__init__(message)
        self.parameter = parameter
        self.choices = choices


class StorageError(SemisegError):
    """The session folder cannot be written (disk full, no permission, folder gone)."""
