"""What a model does: learn from a session, segment images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.api.opening import opened_session
from napari_semiseg.api.refusal import refusal
from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    import torch

    from napari_semiseg.engine.control import LocalControl
    from napari_semiseg.engine.events import Event
    from napari_semiseg.engine.model import Model
    from napari_semiseg.engine.plan import Plan
    from napari_semiseg.session import Session


def train(
    session: str | Path | Session,
    *,
    volumes: Sequence[str] = (),
    method: str = "auto",
    minutes: float | None = None,
    steps: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    preset: str = "product",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    threads: int = 0,
    fresh: bool = False,
    pretrained: int | str | Path | None = None,
    hold_out: bool = True,
    beside: bool = False,
    control: LocalControl | None = None,
) -> Iterator[Event]:
    """Train one round of a session in this process.

    Parameters
    ----------
    session : path or Session
    volumes : sequence of str
        Ids or names of the volumes to learn from and to predict; all by default. One that cannot be read is told by a
        `VolumeFailed` event and the rest goes on.
    method : str
        One of `methods`, or ``"auto"``.
    minutes, steps : float, int
        Budget, one of the two; two minutes by default.
    device, precision, preset, seed, threads
        See `napari_semiseg.engine.plan.Plan`.
    settings : mapping
        Fields of the method that differ from the preset.
    fresh : bool
        Do not continue from the last round, nor start from the last pre-training.
    pretrained : int or path, optional
        Round, or model (folder or ``.safetensors`` file), whose networks the run starts from by name and shape. By
        default the last pre-training of the session, where no later round can be continued.
    hold_out : bool
        From five annotated slices of a volume on, set some aside to judge and calibrate the model by; see `hold_out`.
        False learns from all of them, as a final training should.
    beside : bool
        Train although another program has the session open; only a new round is written.
    control : LocalControl, optional
        Stops the run.

    Returns
    -------
    iterator of Event
        The run goes on while it is iterated; the last event is `Finished` or `Failed`.

    Raises
    ------
    InputError
        For options that cannot be used, a path that is no session, and a session that another program has open (when
        the first event is asked for).
    """
    from napari_semiseg.session import run

    plan = _plan(
        method=method,
        minutes=minutes,
        steps=steps,
        device=device,
        precision=precision,
        preset=preset,
        seed=seed,
        settings=dict(settings or {}),
        threads=threads,
        warm_start=not fresh,
        pretrained="" if pretrained is None else str(pretrained),
        hold_out=hold_out,
        volumes=tuple(volumes),
    )
    return run.train_round(opened_session(session), plan, control=control, beside=beside)


def _plan(**options: Any) -> Plan:
    """Return a plan, or raise an `InputError` about the first option that cannot be used."""
    from pydantic import ValidationError

    from napari_semiseg.engine.plan import Plan

    try:
        return Plan.model_validate(options)
    except ValidationError as error:
        raise refusal(error) from None


def predict(
    source: str | Path | Session,
    images: Sequence[str | Path] = (),
    *,
    out: str | Path,
    volumes: Sequence[str] = (),
    failed: Callable[[str, InputError], object] | None = None,
    entropy: str | Path | None = None,
    disagreement: str | Path | None = None,
    probabilities: str | Path | None = None,
    device: str = "auto",
    axis: int | None = None,
    series: str | None = None,
    frame: int | None = None,
    replace_nonfinite: bool = False,
) -> list[Path]:
    """Segment images with a model, or the volumes of a session with its last round.

    Parameters
    ----------
    source : path or Session
        A session folder, or a model (folder or ``.safetensors`` file).
    images : sequence of path
        Images to segment; without any, the volumes of the session.
    out : path
        For one volume a file name as given, otherwise a folder with one mask per volume.
    volumes : sequence of str
        Ids or names of the volumes of a session; all by default.
    failed : callable, optional
        Gets name and error of each volume that cannot be segmented; the others have their turn.
    entropy, disagreement, probabilities : path, optional
        Likewise for the maps (float32, 0–1; probabilities are 4D, one volume per class).

    Returns
    -------
    list of Path
        The masks written.

    Raises
    ------
    InputError
        If something given cannot be used; for a volume that cannot be read, unless ``failed`` is given, after the
        others were written.
    """
    from napari_semiseg.engine.device import choose_device
    from napari_semiseg.session.choosing import chosen
    from napari_semiseg.session.segmenting import Subject, segment

    session = _session_of(source)
    model = _model_that_segments(source if session is None else session, choose_device(device))
    if images:
        if volumes:
            raise InputError("Give either images or volumes of the session, not both.")
        options = {"axis": axis, "series": series, "frame": frame, "replace_nonfinite": replace_nonfinite}
        subjects = [Subject.of_file(Path(image), **options) for image in images]
    elif session is not None:
        subjects = [Subject.of_session(session, i, model) for i in chosen(session.volumes, volumes)]
    else:
        raise InputError(f"{source} is a model; give the images to segment.")
    if disagreement is not None and not model.has_disagreement:
        raise InputError(f"The method {model.method.name} has one network, so there is no disagreement to write.")
    wanted = {"labels": out, "entropy": entropy, "disagreement": disagreement, "probabilities": probabilities}
    colours = {c.id: c.rgb for c in session.classes} if session is not None else None
    places = {kind: Path(path) for kind, path in wanted.items() if path is not None}
    return segment(model, subjects, places, colours, failed)


def _session_of(source: str | Path | Session) -> Session | None:
    """Return the session that is meant, None where a model is."""
    if isinstance(source, str | Path) and not (Path(source) / "session.json").exists():
        return None
    return opened_session(source)


def _model_that_segments(source: str | Path | Session, device: torch.device) -> Model:
    """Load a model from its path, or that of the round of a session which counts."""
    from napari_semiseg.engine.model import Model

    if isinstance(source, str | Path):
        path = Path(source)
    else:
        last = source.latest_round()
        if last is None:
            raise InputError(f"The session {source.path} has no trained round yet; train it first.")
        path = last.path
    model = Model.load(path, device)
    if not model.method.needs_labels:
        raise InputError(
            f"{path} holds pre-trained networks, which know no classes and cannot segment; start a round of "
            "another method from them."
        )
    return model
