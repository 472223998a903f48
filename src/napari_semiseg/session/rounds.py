"""One press of Train on disk, and how to watch and steer it."""

from __future__ import annotations

import contextlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg.engine import events
from napari_semiseg.engine.events import Event, Started
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session.control_file import ControlFile
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.processes import Runner, startup_log
from napari_semiseg.session.storage import read_json, storing, write_bytes, write_json
from napari_semiseg.session.versions import ROUND

if TYPE_CHECKING:
    from napari_semiseg.engine.maps import Maps

DAMAGED = "damaged"
"""Folder of a session with what could not be read any more."""
_POLL = 0.05  # s between looks at the events file
_GRACE = 1.0  # s that a process may be gone before a run without a last event counts as failed


class Round:
    """A folder ``rounds/N`` of a session, and one run in it.

    Parameters
    ----------
    path : Path
    run : str
        ``""`` for the training run, ``"predict-"`` for a later prediction with its model: what the files of the run
        begin with.

    Attributes
    ----------
    path : Path
    control : ControlFile
    log : Path
        What native code said on its way out; only worker processes write it.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path = path
        self.run = run
        self.control = ControlFile(path / f"{run}control.json")
        self.log = path / f"{run}worker.log"
        self._events = path / f"{run}events.jsonl"
        self._process = path / f"{run}process.json"
        self._seen = path / f"{run}seen"

    def predicting(self, volumes: Sequence[str] = ()) -> Round:
        """Return the run that predicts some volumes, or all, with the model of this round, fresh."""
        again = Round(self.path, "predict-")
        for file in (again._events, again._process, again.control.path, again.log, again._seen):
            with storing(file):
                file.unlink(missing_ok=True)
        write_json(again.path / "predict-request.json", {"volumes": list(volumes)})
        return again

    @property
    def wanted(self) -> tuple[str, ...]:
        """The volumes that a predicting run was asked for; empty for all."""
        with contextlib.suppress(InputError, KeyError, TypeError):
            return tuple(map(str, read_json(self.path / "predict-request.json")["volumes"]))
        return ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Round) and (other.path, other.run) == (self.path, self.run)

    def __hash__(self) -> int:
        return hash((self.path, self.run))

    @property
    def number(self) -> int:
        """Number of the round, from 1."""
        return int(self.path.name)

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for: plan, class ids, fingerprints of what was annotated, warm start."""
        return ROUND.read(self.path / "config.json")

    @property
    def digests(self) -> Mapping[str, Mapping[str, str]]:
        """Fingerprints of the annotated planes that the round learns from or sets aside, by volume and plane."""
        return self.config.get("digests", {})

    def read_labels(self, digests: Mapping[str, Mapping[str, str]], *, further: bool) -> None:
        """Note which planes were annotated when the run read them: more may be since the round was created.

        Parameters
        ----------
        digests : mapping of str to mapping of str to str
            As `digests`, of the volumes that could be read.
        further : bool
            The run goes on, so what was noted before was learned from as well.

        Raises
        ------
        StorageError
        """
        config = self.config
        before = config.get("digests", {}) if further else {}
        volumes = dict.fromkeys([*before, *digests])
        joined = {volume: {**before.get(volume, {}), **digests.get(volume, {})} for volume in volumes}
        ROUND.write(self.path / "config.json", {**config, "digests": joined})

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Ids of the classes the session had when the round began, background first; only that if they are damaged."""
        try:
            return (0, *sorted(int(c["id"]) for c in self.config["classes"]))
        except (InputError, KeyError, TypeError, ValueError):
            return (0,)

    @property
    def has_model(self) -> bool:
        """Whether there is a model to predict with or to continue from."""
        return (self.path / "model.safetensors").exists() and (self.path / "model.json").exists()

    @property
    def segments(self) -> bool:
        """Whether there is a model that predicts; that of a pre-training does not."""
        if not self.has_model:
            return False
        try:
            return bool(read_json(self.path / "model.json").get("segments", True))
        except InputError:
            return True  # whoever loads it will tell what is wrong with it

    @property
    def sources(self) -> str:
        """Whose predictions the disagreement map of this round compares, in words."""
        try:
            walks = read_json(self.path / "model.json")["method"] == "walk_teaching"
        except (InputError, KeyError, TypeError):
            return "two predictions"
        return "network and random walk" if walks else "two networks"

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped`` or ``failed``."""
        match self.last_event():
            case events.Finished(reason="stopped"):
                return "stopped"
            case events.Finished():
                return "finished"
            case events.Failed():
                return "failed"
        return "running" if self.is_alive() else "failed"

    @property
    def runner(self) -> Runner | None:
        """The process that runs the round now, None when nobody does."""
        return Runner.read(self._process)

    def is_alive(self) -> bool:
        """Whether the process that runs the round exists (on this machine; elsewhere it is believed to)."""
        runner = self.runner
        return runner is not None and runner.is_alive

    @property
    def is_being_written(self) -> bool:
        """Whether a process of this machine writes to the round, be it only its last checkpoint."""
        runner = self.runner
        return runner is not None and runner.is_here and runner.is_alive

    def claim(self, pid: int | None = None, *, worker: bool = False) -> None:
        """Note which process runs the round: this one, unless told otherwise.

        Raises
        ------
        StorageError
        """
        Runner.of(pid, worker=worker).write(self._process)

    def release(self) -> None:
        """Note that nobody runs the round any more."""
        with contextlib.suppress(OSError):
            self._process.unlink(missing_ok=True)

    @property
    def was_seen(self) -> bool:
        """Whether somebody who watched it was told how it ended."""
        return self._seen.exists()

    def mark_seen(self) -> None:
        """Note that somebody was told how it ended; without effect where nothing can be written."""
        with contextlib.suppress(OSError):
            self._seen.touch()

    # -- events -----------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Add an event to the record.

        Raises
        ------
        StorageError
        """
        with storing(self._events), self._events.open("ab+") as file:
            line = event.to_json().encode() + b"\n"
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    # Whoever wrote before was killed in the middle of a line.
                    line = b"\n" + line
            file.write(line)

    def events(self) -> list[Event]:
        """Return all events so far."""
        found, _ = self._read_from(0)
        return found

    def started(self) -> Started | None:
        """Return how the run began, read from the beginning of the file."""
        try:
            with self._events.open("rb") as file:
                lines = file.read(65536).split(b"\n")
        except OSError:
            return None
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                event = events.from_json(line.decode())
                if isinstance(event, Started):
                    return event
        return None

    def last_event(self) -> Event | None:
        """Return the last event, read from the end of the file."""
        try:
            with self._events.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 65536))
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return None
        for line in reversed(lines):
            with contextlib.suppress(ValueError, TypeError):
                return events.from_json(line.decode())
        return None

    def tail(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Yield the events from the first one on as they come, up to the terminal one.

        A terminal event with others behind it is that of a run which was resumed later. If the process that runs the
        round is gone without one, a `Failed` event is recorded and yielded.

        Parameters
        ----------
        stop : callable
            Ends the watching (not the run) when it returns True.
        """
        place = 0
        gone_since: float | None = None
        while not stop():
            found, place = self._read_from(place)
            yield from found
            if found and found[-1].terminal:
                return
            if found or self.is_alive():
                gone_since = None
            elif gone_since is None:
                gone_since = time.monotonic()
            elif time.monotonic() - gone_since > _GRACE:
                failed = self.epitaph()
                with contextlib.suppress(StorageError):
                    self.append(failed)
                yield failed
                return
            time.sleep(_POLL)

    def epitaph(self) -> Event:
        """Return the last event of a run whose process has gone without one."""
        kept = "its last checkpoint is kept" if self.has_model else "nothing was saved yet"
        # A worker that never came to this round left its words where it started.
        log = self.log if self.log.exists() else startup_log()
        said = log.exists() and log.stat().st_size > 0
        return events.Failed(
            error=f"The training process of round {self.number} ended unexpectedly (killed, or out of memory or disk "
            f"space); {kept}.",
            report=str(log) if said else "",
        )

    def _read_from(self, place: int) -> tuple[list[Event], int]:
        """Return the complete lines from a byte position on, and the next position."""
        try:
            with self._events.open("rb") as file:
                file.seek(place)
                content = file.read()
        except OSError:
            return [], place
        end = content.rfind(b"\n") + 1
        found: list[Event] = []
        for line in content[:end].split(b"\n"):
            # A line of a newer version, or one cut by a crash, is passed over.
            with contextlib.suppress(ValueError, TypeError):
                found.append(events.from_json(line.decode()))
        return found, place + end

    # -- what the run produced ----------------------------------------------------------------------------------

    def prediction_path(self, volume: str) -> Path:
        """Return where the prediction of a volume is, or will be."""
        return self.path / "predictions" / f"{volume}.zarr"

    def prediction(self, volume: str) -> StoredPrediction | None:
        """Return the prediction of a volume, None where there is none."""
        return StoredPrediction.open(self.prediction_path(volume))

    def save_preview(self, volume: str, plane: int, maps: Maps) -> None:
        """Store the prediction of one plane; only the last one of each plane is kept."""
        arrays = {"labels": maps.labels[0], "entropy": maps.entropy[0], "probabilities": maps.probabilities[:, 0]}
        if maps.disagreement is not None:
            arrays["disagreement"] = maps.disagreement[0]
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        folder = self.path / "preview"
        with storing(folder):
            folder.mkdir(exist_ok=True)
        write_bytes(folder / f"{volume}-{plane}.npz", buffer.getvalue(), durable=False)

    def preview(self, volume: str, plane: int) -> dict[str, np.ndarray] | None:
        """Return the last preview of a plane.

        Returns
        -------
        dict of str to ndarray of uint8, or None
            ``labels`` (class ids), ``entropy``, ``disagreement`` (if there is one), shape (rows, columns), and
            ``probabilities``, shape (C, rows, columns); 255 ≙ 1.
        """
        try:
            with np.load(self.path / "preview" / f"{volume}-{plane}.npz", allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def state_files(self) -> dict[str, bytes] | None:
        """Return the training state for an exact resume, None where there is none."""
        names = ("state.safetensors", "state.json")
        if not all((self.path / name).exists() for name in names):
            return None
        return {name: (self.path / name).read_bytes() for name in names}

    def metrics(self) -> dict[str, Any]:
        """Return what was measured when the round ended; empty before."""
        with contextlib.suppress(InputError):
            return read_json(self.path / "metrics.json")
        return {}

    def forget_metrics(self) -> None:
        """Remove what was measured: the model is about to change.

        Raises
        ------
        StorageError
        """
        with storing(self.path):
            (self.path / "metrics.json").unlink(missing_ok=True)


def rounds_in(folder: Path) -> list[Round]:
    """Return all rounds in a folder, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdigit() and (path / "config.json").exists()]
    return [Round(path) for path in sorted(found, key=lambda path: int(path.name))]


def new_round_in(folder: Path, **config: Any) -> Round:
    """Create the folder of the next round and note what it is asked for.

    No number is given out twice, not even one whose folder was set aside: later rounds name those that they continue.

    Raises
    ------
    StorageError
    """
    with storing(folder):
        folder.mkdir(exist_ok=True)
        known = [*folder.iterdir(), *folder.parent.glob(f"{DAMAGED}/*/{folder.name}/*")]
        number = max((int(path.name) for path in known if path.name.isdecimal()), default=0) + 1
        while (path := folder / f"{number:04d}").exists():
            number += 1
        path.mkdir()
    ROUND.write(path / "config.json", config)
    return Round(path)
