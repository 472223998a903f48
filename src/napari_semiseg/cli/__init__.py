"""The command line ``semiseg``: exit code 0 done, 2 bad input, 1 internal error with a report."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``semiseg`` and exit with its code; users never see a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Before torch is loaded: on a busy machine threads that spin while they wait make steps several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from napari_semiseg.errors import SemisegError

    try:
        from napari_semiseg.cli.commands import app

        code = app(args=arguments, standalone_mode=True, obj=arguments)
    except SystemExit as leaving:
        code = leaving.code
    except SemisegError as error:
        print(f"semiseg: {error}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, BrokenPipeError):
        code = 130
    except Exception:
        print(f"semiseg: internal error; please send the report {_report(arguments)}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _report(arguments: Sequence[str]) -> Path:
    """Write what a developer needs to understand an internal error, and return where."""
    import napari_semiseg

    text = f"napari-semiseg {napari_semiseg.__version__}, Python {sys.version}\n{list(arguments)}\n\n"
    with tempfile.NamedTemporaryFile("w", prefix="semiseg-report-", suffix=".txt", delete=False) as file:
        file.write(text + traceback.format_exc())
    return Path(file.name)
