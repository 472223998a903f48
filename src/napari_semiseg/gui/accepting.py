"""Accepting and rejecting the prediction by clicks on the canvas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.slices import COMPLETE_STATES
from napari_semiseg.regions.pieces import Unit, piece_at
from napari_semiseg.session import SliceState, merge, swap_unsaid

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.sheet import Sheet

KEY = "R"
MODE = "pan_zoom"
_MOVED = 3.0  # canvas pixels; a longer way is a drag, which moves the picture


def piece_after(
    painted: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    piece: NDArray[np.bool_],
    *,
    reject: bool,
    complete: bool,
    overwrite: bool,
) -> NDArray[np.uint8]:
    """Return a plane of layer values after a part of its prediction was accepted or rejected; see `session.merge`."""
    said = swap_unsaid(painted)
    if reject:
        return swap_unsaid(merge.rejected_piece(said, predicted, piece, overwrite=overwrite))
    return swap_unsaid(merge.accepted_piece(said, predicted, piece, complete=complete, overwrite=overwrite))


class Accepting:
    """The mode in which a click accepts what is predicted at a place, and a click with Shift rejects it.

    Attributes
    ----------
    active : bool
    unit : str
        What a click means: ``slice``, ``class``, ``region`` or ``superpixel``.
    overwrite : bool
        Also over painted voxels.

    Signals
    -------
    changed()
        The mode was switched on or off.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.active = False
        self.unit: Unit = "region"
        self.overwrite = False
        self._hint = ""
        self._layer: Labels | None = None
        self._waiting: tuple[int, int, int, bool] | None = None
        desk.regions.superpixels_ready.connect(self._on_superpixels)
        desk.plane_changed.connect(self._forget)
        desk.volume_changed.connect(self._on_volume)

    @property
    def needs_superpixels(self) -> bool:
        """Whether a click means a superpixel, so that those of the shown slice have to be known."""
        return self._waiting is not None or (self.active and self.unit == "superpixel")

    def choose(self, unit: Unit) -> None:
        """Have a click mean another part of the slice."""
        self.unit = unit
        self.desk.regions.update()

    @told
    def switch(self, on: bool) -> None:
        """Switch the mode on or off."""
        if on == self.active:
            return
        sheet = self.desk.sheet
        if on and (sheet is None or not self.desk.review.has_prediction):
            raise InputError("There is no prediction to accept yet: press Train first.")
        self.active = on
        if on and sheet is not None:
            self._layer = sheet.annotation
            self._layer.mode = MODE
            self._layer.mouse_drag_callbacks.append(self._on_mouse)
            self._layer.events.mode.connect(self._on_mode)
            self.desk.viewer.layers.selection.active = self._layer
            self.desk.regions.update()
            self._hint = f"A click accepts the {self.unit} under it, Shift-click rejects it; {KEY} ends this."
            self.desk.tell(self._hint)
        else:
            self._let_go()
            self.desk.no_longer(self._hint)
        self.changed.emit()

    def toggle(self) -> None:
        """Switch the mode on if it is off, and off if it is on."""
        self.switch(not self.active)
        if not self.active and self.desk.sheet is not None:
            self.desk.sheet.annotation.mode = "paint"

    @told
    def click(self, plane: int, row: int, column: int, *, reject: bool = False) -> None:
        """Accept or reject what is predicted at a pixel, as one undo step.

        Parameters
        ----------
        plane, row, column : int
        reject : bool
        """
        sheet = self.desk.sheet
        if self.desk.access.why_not:
            raise InputError(self.desk.access.why_not)
        if sheet is None or not self.desk.review.has_prediction:
            raise InputError("There is no prediction to accept yet: press Train first.")
        if self.unit == "superpixel" and self.desk.regions.superpixels_of(plane) is None:
            # They are being computed; what was clicked is taken when they are there.
            self._waiting = plane, row, column, reject
            self.desk.regions.update()
        else:
            self._take(sheet, plane, row, column, reject)

    def _on_superpixels(self, plane: int) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting[0] == plane and self.desk.sheet is not None:
            self._take(self.desk.sheet, *waiting)

    def _forget(self, _: Any = None) -> None:
        self._waiting = None

    def _take(self, sheet: Sheet, plane: int, row: int, column: int, reject: bool) -> None:
        predicted = self.desk.review.predicted(plane)
        if self.unit == "slice" and not reject:
            self.desk.review.accept(overwrite=self.overwrite)
            return
        superpixels = self.desk.regions.superpixels_of(plane) if self.unit == "superpixel" else None
        piece = piece_at(predicted, row, column, self.unit, superpixels)
        if not piece.any():
            self.desk.tell(f"Nothing is predicted there; click on the {self.unit} that you mean.", "warning")
            return
        painted, state = sheet.annotation.data[plane], sheet.states[plane]
        wanted = piece_after(
            painted,
            predicted,
            piece,
            reject=reject,
            complete=state in COMPLETE_STATES,
            # What a tool proposed is no paint of the annotator's.
            overwrite=self.overwrite or state is SliceState.PROPOSED,
        )
        if np.array_equal(wanted, painted):
            self.desk.tell("Everything there is painted already; allow accepting over what you painted to change it.")
            return
        if sheet.annotation.count_locked(plane, wanted) == np.count_nonzero(wanted != painted):
            self.desk.tell("What is painted there is of a locked class; unlock it in the class table first.", "warning")
            return
        # Of an unlabelled slice only the piece counts from now on, so nothing false is said of the rest.
        verb = "marked as background" if reject else "taken over from the prediction"
        self.desk.review.put(plane, wanted, SliceState.SCRIBBLED if state is SliceState.UNLABELLED else state, verb)

    def _on_mouse(self, layer: Labels, event: Any) -> Iterator[None]:
        """Take a press and release at one place for a click; a drag goes on moving the picture."""
        if not self.active or event.button != 1:
            return
        start = np.asarray(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos, float) - start).max() > _MOVED or self.desk.sheet is None:
            return
        if self.desk.viewer.dims.ndisplay != 2:
            self.desk.tell("In the 3D view a click has no slice; show slices again (Ctrl-Y) to accept.", "warning")
            return
        place = np.floor(np.asarray(layer.world_to_data(event.position)) + 0.5).astype(int)[-3:]
        if ((place >= 0) & (place < np.asarray(self.desk.sheet.shape))).all():
            plane, row, column = (int(value) for value in place)
            self.click(plane, row, column, reject="Shift" in event.modifiers)

    def _on_mode(self, event: Any = None) -> None:
        if self.active and self._layer is not None and str(self._layer.mode) != MODE:
            self.switch(False)

    def _on_volume(self) -> None:
        self._forget()
        if self.active:
            self.switch(False)

    def _let_go(self) -> None:
        if self._layer is not None:
            if self._on_mouse in self._layer.mouse_drag_callbacks:
                self._layer.mouse_drag_callbacks.remove(self._on_mouse)
            self._layer.events.mode.disconnect(self._on_mode)
        self._layer = None
