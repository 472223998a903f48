"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SessionArgument = Annotated[Path, typer.Argument(help="Session folder, such as heart.semiseg", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line")]
Axis = Annotated[
    int | None,
    typer.Option(min=0, max=2, help="File axis along which slices are counted (default: the thickest, else the last)"),
]
Series = Annotated[str | None, typer.Option(help="SeriesInstanceUID, where a DICOM folder holds several series")]
Frame = Annotated[int | None, typer.Option(min=0, help="Time point or channel of a 4D image, counted from 0")]
Volumes = Annotated[
    str | None, typer.Option(help="Volumes of the session, by id or name: a,b (default: all)", show_default=False)
]
Replace = Annotated[bool, typer.Option("--replace-nonfinite", help="Replace NaN and infinite voxels")]
