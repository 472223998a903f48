"""The command line without a process of its own."""

from __future__ import annotations

import pytest

from napari_semiseg import cli


def semiseg(capsys, *arguments, code=0):
    """Run a command; return what it said, on standard error if it was to fail."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert left.value.code == code, said.err
    return said.out if code == 0 else said.err
