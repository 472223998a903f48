"""What finished cases tell about methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.api.opening import opened_session
from napari_semiseg.api.refusal import refusal
from napari_semiseg.api.sessions import Source
from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from napari_semiseg.benchmark.record import Row
    from napari_semiseg.session import Session


def benchmark(
    out: str | Path,
    cases: Sequence[Source] = (),
    *,
    session: str | Path | Session | None = None,
    axis: int | None = None,
    tell: Callable[[str, float], object] = lambda what, part: None,
    **design: Any,
) -> Iterator[Row]:
    """Simulate an annotator on finished cases and compare what segments best from how many slices.

    Parameters
    ----------
    out : path
        Folder for ``results.json``, ``report.md`` and the curves. Rows that it holds are not measured again.
    cases : sequence of Source
        Images with their complete masks.
    session : path or Session, optional
        Instead of cases: its volumes, as far as slices of them are complete.
    axis : int, optional
        File axis along which slices are counted.
    tell : callable
        Hears what is done now and which part of everything is over, 0 to 1.
    **design
        Fields of `napari_semiseg.benchmark.design.Design`: ``peers``, ``slices``, ``rounds``, ``seconds`` or ``steps``,
        ``seeds``, ``policy`` and so on.

    Returns
    -------
    iterator of Row
        What was measured, as it comes; the benchmark goes on while it is iterated.

    Raises
    ------
    InputError
        For cases or a design that cannot be used.
    """
    from pydantic import ValidationError

    from napari_semiseg.benchmark.cases import cases_of, read_case
    from napari_semiseg.benchmark.design import Design
    from napari_semiseg.benchmark.folder import measure as compare_in

    try:
        chosen = Design(**design)
    except ValidationError as error:
        raise refusal(error) from None
    if bool(cases) == (session is not None):
        raise InputError("Give either images with their masks or a session whose slices are complete.")
    if session is not None:
        found = cases_of(opened_session(session))
    else:
        bare = next((case.image for case in cases if case.labels is None), None)
        if bare is not None:
            raise InputError(f"{bare} was given without a mask; a finished case is an image and its complete mask.")
        found = [read_case(case.image, case.labels, axis=axis) for case in cases if case.labels is not None]
    return compare_in({"cases": found}, chosen, Path(out), tell)
