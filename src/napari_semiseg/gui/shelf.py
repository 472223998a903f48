"""What the list of volumes tells: thumbnails, states, predictions, troubles. All of it is read in the background."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.errors import SemisegError
from napari_semiseg.gui.background import Lane
from napari_semiseg.session import Session, voxels
from napari_semiseg.session.glance import Glance, glance, keep_thumbnail, make_thumbnail, thumbnail

if TYPE_CHECKING:
    from napari_semiseg.engine import events as ev
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.entries import Entry

Found = dict[str, tuple[Glance, NDArray[np.uint8] | None]]


def look(session: Session, volumes: list[str]) -> Found:
    """Return what is known of volumes without reading their voxels."""
    return {volume: (glance(session, volume), thumbnail(session, volume)) for volume in volumes}


def prepare(session: Session, volume: str, data: NDArray | None, *, keep: bool) -> NDArray[np.uint8] | None:
    """Decode a volume for the next time (``keep``) and make its thumbnail; None where it cannot be read.

    Parameters
    ----------
    session : Session
    volume : str
    data : ndarray, shape (planes, rows, columns), optional
        Its voxels, if they are at hand.
    keep : bool
    """
    record = session.volumes[volume]
    known = voxels.recall(record)
    try:
        found = data if data is not None else session.load_volume(volume).data
    except SemisegError:
        return None  # whoever opens or trains it is told
    if keep and known is None:
        voxels.keep(record, found)
    return keep_thumbnail(session, volume, found)


class Shelf:
    """Keeps what is known of every volume of the desk, and has the neighbours of the shown one ready.

    Signals
    -------
    changed()
        Something of what is known.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.lane = Lane("semiseg-shelf", lambda _: None)
        self.glances: dict[Entry, Glance] = {}
        self.thumbnails: dict[Entry, NDArray[np.uint8]] = {}
        self.troubles: dict[str, str] = {}
        """By volume id: why it was left out of the last run."""
        self.progress: dict[str, float] = {}
        """By volume id: how far the run has predicted it."""
        self._generation = 0
        self._tried: set[str] = set()
        for signal in (desk.volumes_changed, desk.session_changed, desk.volume_changed):
            signal.connect(self.refresh)
        desk.training.prediction_ready.connect(self._on_predicted)
        desk.training.predicting.connect(self._on_progress)
        desk.training.volume_failed.connect(self._on_failed)
        desk.training.began.connect(self._on_began)

    def close(self) -> None:
        """Drop what is still to be done."""
        self.lane.close(wait=False)

    def refresh(self) -> None:
        """Look at the session anew, in the background."""
        if self.desk.closed:
            return
        self._generation += 1
        generation, session = self._generation, self.desk.session
        for entry in self.desk.entries:
            if entry not in self.thumbnails and entry.volume is not None:
                self.thumbnails[entry] = make_thumbnail(entry.volume.data, entry.geometry.spacing)
        self.changed.emit()
        if session is None:
            self._tried.clear()
            return
        ids = [entry.id for entry in self.desk.entries if entry.id is not None]

        def found(known: Found) -> None:
            if generation == self._generation and not self.desk.closed:
                self._take(known)
                self._prepare(session)

        self.lane.run(lambda: look(session, ids) if generation == self._generation else {}, found)

    def _take(self, known: Found) -> None:
        for entry in self.desk.entries:
            if entry.id in known:
                self.glances[entry], picture = known[entry.id]
                if picture is not None:
                    self.thumbnails[entry] = picture
        self.changed.emit()

    def _prepare(self, session: Session) -> None:
        """Have the shown volume and its neighbours decoded for the next time, then the missing thumbnails made."""
        sheet, entries = self.desk.sheet, self.desk.entries
        if sheet is None or sheet.entry not in entries:
            return
        at = entries.index(sheet.entry)
        near = [entries[i] for i in (at, at + 1, at - 1) if 0 <= i < len(entries)]
        for entry in [*near, *(e for e in entries if e not in near and e not in self.thumbnails)]:
            if entry.id is None or entry.id in self._tried:
                continue
            self._tried.add(entry.id)
            shown = entry.volume.data if entry.volume is not None else None
            work = partial(prepare, session, entry.id, shown, keep=entry in near)
            self.lane.run(work, partial(self._pictured, entry))

    def _pictured(self, entry: Entry, picture: NDArray[np.uint8] | None) -> None:
        if picture is not None:
            self.thumbnails[entry] = picture
            self.changed.emit()

    # -- what a run tells ---------------------------------------------------------------------------------------

    def _on_began(self) -> None:
        self.troubles.clear()
        self.progress.clear()
        self.changed.emit()

    def _on_progress(self, volume: str, progress: float) -> None:
        if progress < 1:
            self.progress[volume] = progress
        else:
            self.progress.pop(volume, None)
        self.changed.emit()

    def _on_predicted(self, volume: str) -> None:
        self.progress.pop(volume, None)
        self.refresh()

    def _on_failed(self, event: ev.VolumeFailed) -> None:
        self.progress.pop(event.volume, None)
        self.troubles[event.volume] = event.error
        self.changed.emit()

    def forget(self) -> None:
        """Forget everything: another session is opened."""
        for known in (self.glances, self.thumbnails, self.troubles, self.progress):
            known.clear()
        self._tried.clear()
