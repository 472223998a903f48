"""The slice states of the shown volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_semiseg.errors import InputError
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.slices import TITLES, annotated, next_state, state_after_edit
from napari_semiseg.session import SliceState
from napari_semiseg.session.annotation import SILENT

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

NO_VOLUME = "Open a volume first: drop a file on the window, or press “Add volume…”."


class Marks:
    """Follows painting and the user's wishes about the states of slices.

    Attributes
    ----------
    mode : SliceState
        What painting on an unlabelled slice makes of it: `COMPLETE` or `SCRIBBLED`.
    """

    def __init__(self, desk: Desk):
        self.desk = desk
        self.mode = SliceState.COMPLETE
        desk.keeper.edited.connect(self._on_edited)

    def annotated(self) -> list[int]:
        """Return the planes of the shown volume about which something is said."""
        return [] if self.desk.sheet is None else annotated(self.desk.sheet.states)

    def current(self) -> SliceState | None:
        """Return the state of the shown slice."""
        return None if self.desk.sheet is None else self.desk.sheet.states[self.desk.sheet.plane]

    @told
    def set(self, plane: int, state: SliceState) -> None:
        """Change the state of a slice."""
        if self.desk.sheet is None:
            raise InputError(NO_VOLUME)
        if self.desk.access.why_not:
            raise InputError(self.desk.access.why_not)
        sheet = self.desk.sheet
        sheet.automatic.discard(plane)
        self.put(plane, state)
        if sheet.remembered(plane) is not None:
            sheet.remember(plane)
        self.desk.slices_changed.emit()

    def cycle(self) -> None:
        """Change the state of the shown slice to the next one."""
        state = self.current()
        if state is not None and self.desk.sheet is not None:
            self.set(self.desk.sheet.plane, next_state(state))
            self.desk.tell(f"Slice {self.desk.sheet.plane} is now {TITLES[next_state(state)].lower()}.")

    def review(self) -> None:
        """Say that the shown slice is complete and was looked at."""
        if self.desk.sheet is None:
            self.desk.tell(NO_VOLUME, "warning")
            return
        self.set(self.desk.sheet.plane, SliceState.REVIEWED)
        self.desk.tell(f"Slice {self.desk.sheet.plane} is now reviewed: what is not painted on it is background.")

    def put(self, plane: int, state: SliceState) -> None:
        """Change the state of a slice without telling the panel yet."""
        assert self.desk.sheet is not None
        self.desk.sheet.states[plane] = state
        self.desk.keeper.set_state(plane, state)

    def _on_edited(self, planes: list[int]) -> None:
        sheet = self.desk.sheet
        if sheet is None:
            return
        changed = False
        for plane in planes:
            before, voxels = sheet.states[plane], sheet.annotation.data[plane]
            after = state_after_edit(before, voxels, self.mode, automatic=plane in sheet.automatic)
            after = sheet.remembered(plane) or after
            if after is not before:
                changed = True
                self.put(plane, after)
                (sheet.automatic.add if before in SILENT else sheet.automatic.discard)(plane)
        if changed:
            self.desk.slices_changed.emit()
