"""What is said of options that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError


def refusal(error: ValidationError) -> InputError:
    """Return the sentence for the first field that cannot be what was given."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    given = f"The option {name} cannot be {first['input']!r}: " if name else ""
    return InputError(f"{given}{first['msg'].removeprefix('Value error, ')}.")
