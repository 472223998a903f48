"""Writing masks and models, and applying a model file to the open volume."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.gui.background import Lane
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.places import short
from napari_semiseg.gui.problems import told
from napari_semiseg.io import read_mask, write_map
from napari_semiseg.session import Session

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.session.export import Source

FORMATS = ("nii.gz", "nii", "nrrd", "seg.nrrd", "mha", "tif")
SOURCES = {
    "merged": "Annotation, else prediction",
    "annotation": "Annotation only",
    "prediction": "Prediction only",
}


@dataclass(frozen=True)
class ForeignPrediction:
    """Maps of a model from elsewhere, shaped like a stored prediction."""

    labels: NDArray[np.uint8]
    class_ids: tuple[int, ...]
    entropy: None = None
    disagreement: None = None
    probabilities: None = None


class Application:
    """Applies a model file to a volume in a process of its own, since this one never loads torch."""

    def __init__(self) -> None:
        self.stopped = False
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        """End it; nothing but a temporary folder was written."""
        self.stopped = True
        if self._process is not None:
            self._process.terminate()

    def run(self, model: Path, entry: Entry) -> ForeignPrediction | None:
        """Return the prediction, or None after `stop`.

        Raises
        ------
        InputError
            The model cannot be used; the sentence is that of the command line.
        """
        assert entry.volume is not None
        with tempfile.TemporaryDirectory(prefix="semiseg-") as folder:
            mask = Path(folder) / "mask.nii.gz"
            command = _command(model, entry, Path(folder), mask)
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if self.stopped:
                self._process.terminate()
            _, said = self._process.communicate()
            if self.stopped:
                return None
            if self._process.returncode:
                last = [line for line in said.splitlines() if line.strip()][-1:]
                raise InputError(last[0] if last else f"{model} could not be applied to {entry.name}.")
            labels = read_mask(mask, entry.geometry)
        return ForeignPrediction(labels=labels, class_ids=(0, *(int(i) for i in np.unique(labels) if i)))


def _command(model: Path, entry: Entry, folder: Path, mask: Path) -> list[str]:
    """Return the command line that predicts a volume; one that no file holds is written into ``folder``."""
    assert entry.volume is not None
    source = entry.volume.source
    given = {"--series": entry.volume.series, "--frame": entry.volume.frame, "--axis": entry.geometry.axes[0]}
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    if source is None:
        source = write_map(folder / "image.nii.gz", np.asarray(entry.volume.data, np.float32), entry.geometry)
    program = [sys.executable, "-m", "napari_semiseg.cli", "predict"]
    return [*program, str(model), str(source), "--out", str(mask), *options]


class Exporter:
    """What the Export tab does.

    Signals
    -------
    busy(bool)
        Something is written.
    written(list of Path)
    """

    busy = Signal(bool)
    written = Signal(list)

    def __init__(self, desk: Desk):
        self.desk = desk
        # Of its own, for a long export must not keep strokes from the disk.
        self.lane = Lane("semiseg-export", desk.problem)
        self.running = False
        self.application: Application | None = None
        """The model that is being applied."""

    @told
    def export_masks(self, folder: Path, *, format: str, source: Source, all_volumes: bool) -> None:
        """Write the mask of the shown volume or of all volumes into a folder."""
        session = self._session()
        entry = self.desk.sheet.entry if self.desk.sheet is not None else None
        if not all_volumes and (entry is None or entry.id is None):
            raise InputError("Open the volume whose mask is to be exported.")
        volumes = None if all_volumes or entry is None or entry.id is None else [entry.id]

        def work() -> list[Path]:
            from napari_semiseg.session.export import export_masks

            folder.mkdir(parents=True, exist_ok=True)
            return export_masks(session, folder, format=format, source=source, volumes=volumes)

        self._start(
            work, lambda paths: f"Written and read back: {', '.join(p.name for p in paths)} in {short(folder)}."
        )

    @told
    def export_model(self, folder: Path) -> None:
        """Write the model of the latest round into a folder."""
        session = self._session()

        def work() -> list[Path]:
            from napari_semiseg.session.export import export_model

            folder.mkdir(parents=True, exist_ok=True)
            return export_model(session, folder)

        self._start(work, lambda paths: f"The model was written to {short(folder)}.")

    @told
    def apply(self, model: Path) -> None:
        """Show the prediction of a model file for the open volume."""
        sheet = self.desk.sheet
        if sheet is None:
            raise InputError("Open the volume to which the model shall be applied.")

        application = self.application = Application()

        def work() -> ForeignPrediction | None:
            return application.run(model, self._with_voxels(sheet.entry))

        def shown(found: ForeignPrediction | None) -> None:
            self._set_busy(False)
            if found is None:
                self.desk.tell(f"Applying {model.name} was stopped; nothing changed.")
            elif self.desk.sheet is sheet:
                sheet.overlays.rest_on(found)
                self.desk.show_overlay("labels")
                self.desk.prediction_changed.emit()
                self.desk.tell(f"The prediction of {model.name} is shown; accept it slice by slice in Review.")

        self._set_busy(True)
        self.desk.tell(f"Applying {model.name} to {sheet.entry.name} …")
        self.desk.training.lane.run(work, shown, self._broke)

    def stop(self) -> None:
        """Stop applying a model."""
        if self.application is not None:
            self.application.stop()

    def _with_voxels(self, entry: Entry) -> Entry:
        if entry.volume is not None:
            return entry
        assert self.desk.session is not None
        assert entry.id is not None
        return Entry(entry.name, entry.geometry, self.desk.session.load_volume(entry.id), entry.id, entry.axis)

    def _session(self) -> Session:
        if self.desk.session is None:
            raise InputError("Nothing was painted yet, so there is nothing to export.")
        return self.desk.session

    def _start(self, work: Any, sentence: Any) -> None:
        def done(paths: list[Path]) -> None:
            self._set_busy(False)
            self.written.emit(paths)
            self.desk.tell(sentence(paths))

        self._set_busy(True)
        self.desk.keeper.flush(lambda: self.lane.run(work, done, self._broke))

    def _broke(self, error: BaseException) -> None:
        self._set_busy(False)
        self.desk.problem(error)

    def _set_busy(self, busy: bool) -> None:
        self.running = busy
        if not busy:
            self.application = None
        self.busy.emit(busy)
