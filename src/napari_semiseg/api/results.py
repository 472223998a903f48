"""What comes of the rounds of a session: what to annotate next, masks, comparisons, measures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_semiseg.api.opening import changing, one_volume, opened_session
from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from napari_semiseg.engine.evaluate import Score
    from napari_semiseg.engine.suggest import Suggestion
    from napari_semiseg.regions.comparison import Change
    from napari_semiseg.regions.measures import Measures
    from napari_semiseg.session import Session
    from napari_semiseg.session.summaries import RoundSummary


def suggest(session: str | Path | Session, *, count: int = 3, order: str = "ranked") -> list[tuple[str, Suggestion]]:
    """Return the slices most worth annotating next, best first, over all volumes.

    Parameters
    ----------
    session : path or Session
    count : int
    order : str
        ``ranked`` mixes uncertainty and distance from annotated slices; ``equidistant`` fills the widest gaps and needs
        no prediction.

    Returns
    -------
    list of (volume id, Suggestion)

    Raises
    ------
    InputError
        If no volume has a prediction yet.
    """
    from napari_semiseg.session.summaries import suggestions

    if order not in ("ranked", "equidistant"):
        raise InputError(f"The order {order!r} is unknown; choose ranked or equidistant.")
    opened = opened_session(session)
    lists = {volume: suggestions(opened, volume, count=count)[order == "equidistant"] for volume in opened.volumes}
    if order == "ranked" and not any(opened.latest_prediction(volume) for volume in opened.volumes):
        raise InputError(
            f"The session {opened.path} has no prediction to rank slices by; train it first, or ask for the "
            "equidistant order."
        )
    found: list[tuple[str, Suggestion]] = []
    while len(found) < count and any(lists.values()):
        # Within a volume its order holds; between volumes the more uncertain slice comes first.
        volume = max((v for v in lists if lists[v]), key=lambda v: lists[v][0].score)
        found.append((volume, lists[volume].pop(0)))
    return found


def export(
    session: str | Path | Session,
    out: str | Path,
    *,
    format: str = "nii.gz",
    source: str = "merged",
    model: bool = False,
) -> list[Path]:
    """Write the masks of all volumes of a session, and its model if asked for.

    Parameters
    ----------
    session : path or Session
    out : path
        Folder; created when missing.
    format : str
        ``nii.gz``, ``nii``, ``nrrd``, ``seg.nrrd``, ``mha``, ``tif``.
    source : str
        ``merged`` (annotation where given, prediction elsewhere), ``annotation`` or ``prediction``.
    model : bool
        Also write ``model.safetensors`` and ``model.json``.
    """
    from typing import cast

    from napari_semiseg.session.export import Source as Part
    from napari_semiseg.session.export import export_masks, export_model

    opened = opened_session(session)
    written = export_masks(opened, Path(out), format=format, source=cast(Part, source))
    if model:
        export_model(opened, Path(out))
    return written


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    *,
    labels_used: str | Path | None = None,
    axis: int | None = None,
) -> dict[int, Score]:
    """Compare a mask file with a reference.

    Parameters
    ----------
    predicted, reference : path
        Masks on one grid (axes may be permuted or flipped). 255 in the reference is not judged.
    labels_used : path, optional
        Mask of the labels used for training: slices that carry one are left out.
    axis : int, optional
        File axis along which slices are counted.
    """
    from napari_semiseg import io
    from napari_semiseg.engine.evaluate import evaluate as compare

    geometry = io.read_geometry(reference, axis=axis)
    masks = [io.read_mask(path, geometry) for path in (predicted, reference)]
    skip: Collection[int] = ()
    if labels_used is not None:
        used = io.read_mask(labels_used, geometry)
        said = used != 255 if (used == 255).any() else used != 0
        skip = np.flatnonzero(said.any(axis=(1, 2))).tolist()
    return compare(masks[0], masks[1], geometry.spacing, skip_planes=skip)


def rounds(session: str | Path | Session) -> list[RoundSummary]:
    """Return date, method, minutes, slices, held-out Dice and calibration of every round, the oldest first."""
    from napari_semiseg.session.summaries import RoundSummary

    return [RoundSummary.of(round_) for round_ in opened_session(session).rounds()]


def restore(session: str | Path | Session, number: int) -> None:
    """Have a round's prediction be the current one and the next training continue it.

    Parameters
    ----------
    session : path or Session
    number : int
        Of a round with a model that segments.
    """
    with changing(session) as opened:
        opened.restore_round(number)


def compare(session: str | Path | Session, earlier: int, later: int, volume: str | None = None) -> list[Change]:
    """Return how the volume of every class changed from the prediction of one round to that of another, in ml.

    Parameters
    ----------
    session : path or Session
    earlier, later : int
        Numbers of rounds.
    volume : str, optional
        Volume id; may be left out where there is one volume.
    """
    from napari_semiseg.session.summaries import round_changes

    opened = opened_session(session)
    return round_changes(opened, one_volume(opened, volume), earlier, later)


def measure(session: str | Path | Session, *, source: str = "merged") -> list[tuple[str, Measures]]:
    """Measure the structures of all volumes as they are exported.

    Parameters
    ----------
    session : path or Session
    source : str
        ``merged`` (annotation where given, prediction elsewhere), ``annotation`` or ``prediction``.

    Returns
    -------
    list of (volume id, Measures)
        Volume in ml, voxels, box, maximum Feret diameter in mm, slices.
    """
    from typing import cast

    from napari_semiseg.session.export import Source as Part
    from napari_semiseg.session.summaries import measures

    opened = opened_session(session)
    if source not in ("merged", "annotation", "prediction"):
        raise InputError(f"The source {source!r} is unknown; choose merged, annotation or prediction.")
    return [(volume, found) for volume in opened.volumes for found in measures(opened, volume, cast(Part, source))]
