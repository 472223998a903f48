"""Removing a class: what is painted of it is sought, and erased if wished, on one volume after the other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.gui.problems import told

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.entries import Entry
    from napari_semiseg.session import Session


class Removal:
    """Removes one class at a time; volumes are gone through off the UI thread, between what is saved meanwhile.

    While strokes are erased no volume can be painted on: its undo history, and what waits to be saved of it, would
    bring voxels of the removed class back.

    Attributes
    ----------
    name : str
        Of the class that is being removed; empty if there is none.
    progress : float
        Share of the volumes that were gone through, 0 to 1.

    Signals
    -------
    changed()
        One of these.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.name = ""
        self.progress = 0.0
        self._erases = False
        self._stopped = False
        self._slices = 0
        self._hidden: tuple[Entry, Image] | None = None

    @property
    def why_wait(self) -> str | None:
        """Why nothing else can be done to the volumes now, None if it can."""
        if not self.name:
            return None
        return f"The class “{self.name}” is being removed; wait a moment, or stop it in the Label tab."

    def refuse_meanwhile(self) -> None:
        """Raise an `InputError` while a class is being removed."""
        if self.why_wait is not None:
            raise InputError(self.why_wait)

    def is_painted(self, class_id: int) -> bool:
        """Return whether something is painted in a class on the shown volume."""
        return self.desk.sheet is not None and bool((self.desk.sheet.annotation.data == class_id).any())

    @told
    def start(self, class_id: int, *, erase: bool = False) -> None:
        """Remove a class; with ``erase`` also what is painted in it, otherwise that is offered if something is."""
        entry, session = self.desk.classes.get(class_id), self.desk.session
        self.refuse_meanwhile()
        if self.desk.training.phase.active:
            raise InputError("Stop the training before a class is removed.")
        if self.desk.access.why_not:
            raise InputError(self.desk.access.why_not)
        if entry is None:
            raise InputError("This class was removed already.")
        if len(self.desk.classes.all()) == 1:
            raise InputError("A session needs at least one class; rename this one instead.")
        if session is None:
            self._remove_draft(class_id, erase=erase)
            return
        self.name, self.progress, self._erases, self._stopped, self._slices = entry.name, 0.0, erase, False, 0
        self.changed.emit()
        self.desk.keeper.flush(lambda: self._begin(session, class_id))

    def stop(self) -> None:
        """Stop after the volume that is being gone through; the class stays, and what was erased is erased."""
        self._stopped = True

    def _remove_draft(self, class_id: int, *, erase: bool) -> None:
        if erase:
            painted = [entry.painted[0] for entry in self.desk.entries if entry.painted is not None]
            if self.desk.sheet is not None:
                painted.append(self.desk.sheet.annotation.data)
            for values in painted:
                values[values == class_id] = 0
        self.desk.classes.remove(class_id)
        if self.desk.sheet is not None:
            self.desk.sheet.annotation.forget_history()
            self.desk.sheet.annotation.refresh()

    def _begin(self, session: Session, class_id: int) -> None:
        if self.desk.keeper.pending:
            self._end()
            self.desk.tell("What you painted is not on disk yet; try again in a moment.", "error")
            return
        if self._erases and self.desk.sheet is not None:
            self._hidden = self.desk.sheet.entry, self.desk.sheet.image
            self.desk.close_sheet(keep_image=True)
        self._go_through(session, class_id, list(session.volumes))

    def _go_through(self, session: Session, class_id: int, left: list[str]) -> None:
        """Have the next volume looked at: each is work of its own, so that saving strokes never waits for all."""
        if self._stopped or not left:
            self._finish(class_id)
            return
        volume, *others = left
        work = partial(session.erase_class if self._erases else session.count_painted, class_id, volume)

        def done(slices: int) -> None:
            self._slices += slices
            self.progress = 1 - len(others) / len(session.volumes)
            self.changed.emit()
            self._go_through(session, class_id, others)

        def failed(error: BaseException) -> None:
            self._end()
            self.desk.problem(error)

        self.desk.disk.run(work, done, failed)

    def _finish(self, class_id: int) -> None:
        name, slices = self.name, self._slices
        count = f"{slices} slice{'s' * (slices != 1)}"
        if self._stopped:
            erased = f"; it was erased on {count}" if self._erases else ""
            self.desk.tell(f"The class “{name}” was not removed{erased}.")
        elif self._erases or not (slices or self.is_painted(class_id)):
            self._remove(class_id)
        else:
            self.desk.offer.emit(
                f"The class “{name}” is painted on {count}.",
                "Erase and remove",
                lambda: self.start(class_id, erase=True),
            )
        self._end()

    @told
    def _remove(self, class_id: int) -> None:
        self.desk.classes.remove(class_id)
        if self.desk.sheet is not None:
            # Strokes of the class that were taken back or painted over.
            self.desk.sheet.annotation.forget_history()

    def _end(self) -> None:
        self.name = ""
        hidden, self._hidden = self._hidden, None
        self.changed.emit()
        if hidden is not None:
            self.desk.show_again(*hidden)
