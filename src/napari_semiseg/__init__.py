"""Label a few slices, press Train: semi-supervised segmentation of medical volumes.

What the command line does, as functions: `new`, `train`, `predict`, `suggest`, `export`, `evaluate`, `list_methods`,
`info`, and for what comes between `classes`, `hold_out`, `rounds`, `compare`, `restore`, `measure`; the session folder
as `Session`. They are imported when first used, so importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("napari-semiseg")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"

_HOMES = {
    "Source": "api",
    "classes": "api",
    "compare": "api",
    "evaluate": "api",
    "export": "api",
    "hold_out": "api",
    "info": "api",
    "list_methods": "api",
    "measure": "api",
    "new": "api",
    "predict": "api",
    "restore": "api",
    "rounds": "api",
    "suggest": "api",
    "train": "api",
    "Session": "session",
    "InputError": "errors",
    "SemisegError": "errors",
    "read_mask": "io",
    "read_volume": "io",
    "write_mask": "io",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
