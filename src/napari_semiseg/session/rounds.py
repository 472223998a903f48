"""One press of Train on disk, and how to watch and steer it."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg.engine import events
from napari_semiseg.engine.control import Wish
from napari_semiseg.engine.events import Event
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.storage import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from napari_semiseg.engine.predict import Maps

_POLL = 0.05  # s between looks at the events file
_GRACE = 1.0  # s that a process may be gone before a run without a last event counts as failed


class ControlFile:
    """A watcher's wishes for a run, kept in ``control.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._wish = Wish()

    def wish(self) -> Wish:
        """Return the present wish; costs one look at the file's time stamp."""
        try:
            status = self.path.stat()
        except OSError:
            return self._wish
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            with contextlib.suppress(InputError, KeyError, TypeError, ValueError):
                content = read_json(self.path)
                show = content["show"]
                self._wish = Wish(
                    stop=bool(content["stop"]),
                    pause=bool(content["pause"]),
                    show=None if show is None else (str(show[0]), int(show[1])),
                    predict=int(content["predict"]),
                )
                self._stamp = stamp
        return self._wish

    def stop(self) -> None:
        """Ask the run to end and keep what was learned."""
        self._change(stop=True)

    def pause(self) -> None:
        """Ask the run to wait."""
        self._change(pause=True)

    def resume(self) -> None:
        """Ask a waiting run to go on."""
        self._change(pause=False)

    def show(self, volume: str, plane: int) -> None:
        """Tell which plane is on the screen; its prediction is refreshed while the run goes on."""
        if self.wish().show != (volume, plane):
            self._change(show=(volume, plane))

    def predict(self) -> None:
        """Ask for a prediction of all volumes now."""
        self._change(predict=self.wish().predict + 1)

    def _change(self, **changes: Any) -> None:
        wish = self.wish()
        content = {"stop": wish.stop, "pause": wish.pause, "show": wish.show, "predict": wish.predict, **changes}
        write_json(self.path, content)


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
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path = path
        self.run = run
        self.control = ControlFile(path / f"{run}control.json")
        self._events = path / f"{run}events.jsonl"
        self._process = path / f"{run}process.json"

    def predicting(self) -> Round:
        """Return the run that predicts with the model of this round, fresh."""
        again = Round(self.path, "predict-")
        for file in (again._events, again._process, again.control.path):
            file.unlink(missing_ok=True)
        return again

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
        return read_json(self.path / "config.json")

    @property
    def digests(self) -> Mapping[str, Mapping[str, str]]:
        """Fingerprints of the annotated planes when the round began, by volume and plane."""
        return self.config.get("digests", {})

    @property
    def has_model(self) -> bool:
        """Whether there is a model to predict with or to continue from."""
        return (self.path / "model.safetensors").exists() and (self.path / "model.json").exists()

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

    def is_alive(self) -> bool:
        """Whether the process that runs the round exists (on this machine; elsewhere it is believed to)."""
        try:
            record = read_json(self._process)
            if record["host"] != platform.node():
                return True
            return _exists(int(record["pid"]), str(record["started"]))
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            return False

    def claim(self, pid: int | None = None) -> None:
        """Note which process runs the round: this one, unless told otherwise."""
        pid = os.getpid() if pid is None else pid
        write_json(self._process, {"pid": pid, "started": process_start(pid), "host": platform.node()})

    # -- events -----------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Add an event to the record."""
        with self._events.open("a", encoding="utf-8") as file:
            file.write(event.to_json() + "\n")

    def events(self) -> list[Event]:
        """Return all events so far."""
        found, _ = self._read_from(0)
        return found

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

        If the process that runs the round is gone without one, a `Failed` event is recorded and yielded.

        Parameters
        ----------
        stop : callable
            Ends the watching (not the run) when it returns True.
        """
        place = 0
        gone_since: float | None = None
        while not stop():
            found, place = self._read_from(place)
            for event in found:
                yield event
                if event.terminal:
                    return
            if found or self.is_alive():
                gone_since = None
            elif gone_since is None:
                gone_since = time.monotonic()
            elif time.monotonic() - gone_since > _GRACE:
                failed = events.Failed(error=self._epitaph())
                with contextlib.suppress(OSError):
                    self.append(failed)
                yield failed
                return
            time.sleep(_POLL)

    def _epitaph(self) -> str:
        kept = "its last checkpoint is kept" if self.has_model else "nothing was saved yet"
        return f"The training process of round {self.number} ended unexpectedly (killed or out of memory); {kept}."

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
        for line in content[:end].splitlines():
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
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be written: {error.strerror}.") from error
        write_bytes(folder / f"{volume}-{plane}.npz", buffer.getvalue())

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
        except (OSError, ValueError, EOFError):
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


def process_start(pid: int) -> str:
    """Return when a process began, in the system's own unit, so that a reused number is not mistaken for it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def _exists(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                return False
    except OSError:
        return True
    return not started or process_start(pid) == started
