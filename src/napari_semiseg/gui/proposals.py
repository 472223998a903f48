"""What tools propose: shown as a preview first, then written as one undo step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.errors import InputError
from napari_semiseg.gui.classes import BACKGROUND_ID
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.paint_layer import PlaneEdit
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.sheet import Sheet, fingerprint
from napari_semiseg.gui.slices import COMPLETE_STATES, annotated
from napari_semiseg.regions.between import MEANS, Means, fill_between
from napari_semiseg.regions.cleanup import fill_holes, keep_largest
from napari_semiseg.session import SliceState, swap_unsaid
from napari_semiseg.session.annotation import SILENT, resolve

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

KEY = "proposal"
Plane = NDArray[np.uint8]
Tidying = Literal["holes", "largest"]
T = TypeVar("T")


@dataclass(frozen=True)
class Writing:
    """A plane that is ready to be written.

    Attributes
    ----------
    edit : PlaneEdit
    before, after : bytes
        Fingerprints of the plane.
    """

    edit: PlaneEdit
    before: bytes
    after: bytes

    @classmethod
    def of(cls, plane: int, painted: Plane, wanted: Plane, locked: Sequence[int]) -> Writing:
        """Compare what is painted on a plane with what is wanted there, locked classes excepted."""
        edit = PlaneEdit.of(plane, painted, wanted, locked)
        after = painted.copy()
        after[edit.region[1:]] = edit.after
        return cls(edit, fingerprint(painted), fingerprint(after))


class Proposals:
    """Filling between slices, copying a slice, tidying a class.

    Attributes
    ----------
    planes : dict of int to ndarray of uint8, shape (rows, columns)
        The preview: slices as they would be, in layer values.
    title : str
        What the preview shows.
    means : {"distance", "morphology", "walker"}
        How slices are filled.
    everywhere : bool
        Whether all annotated slices are looked at, or those around the shown one.

    Signals
    -------
    changed()
        Another preview, another setting, or a computation began or ended.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.planes: dict[int, Plane] = {}
        self.title = ""
        self.means: Means = "distance"
        self.everywhere = False
        self.busy = False
        self._proposes = False
        self._shown: dict[int, Plane] = {}
        """What the overlay shows of every plane of the preview."""
        self._painted_meanwhile: set[int] = set()
        self._generation = 0
        desk.volume_changed.connect(self._on_volume)
        desk.keeper.edited.connect(self._on_edited)

    def choose(self, *, means: Means | None = None, everywhere: bool | None = None) -> None:
        """Change how and where slices are filled and classes tidied."""
        self.means = self.means if means is None else means
        self.everywhere = self.everywhere if everywhere is None else everywhere
        self.changed.emit()

    @told
    def fill(self) -> None:
        """Preview the slices between the annotated ones around the shown one, or between all annotated ones."""
        sheet = self._sheet()
        ends = self._ends(sheet)
        first, last = ends[0], ends[-1]
        wanted = [plane for plane in range(first, last) if sheet.states[plane] in SILENT]
        states = sheet.states[first : last + 1]
        painted = sheet.annotation.data[first : last + 1].copy()
        image, spacing, means = sheet.image.data, sheet.entry.geometry.spacing, self.means

        def work() -> dict[int, Plane]:
            labels = resolve(swap_unsaid(painted), states)
            found = fill_between(np.asarray(image[first : last + 1]), labels, spacing, means)
            return {p: _onto(painted[p - first], states[p - first], found[p - first]) for p in wanted}

        self._compute(sheet, work, f"{MEANS[means]}, slices {first} to {last}", proposes=True)

    @told
    def copy(self, direction: int) -> None:
        """Propose for the shown slice what is painted on the previous (−1) or next (1) annotated one."""
        sheet = self._sheet()
        plane = sheet.plane
        self._check_silent(sheet, plane)
        found = [p for p in annotated(sheet.states) if (p - plane) * direction > 0]
        if not found:
            raise InputError(f"There is no annotated slice {'before' if direction < 0 else 'after'} slice {plane}.")
        source = max(found) if direction < 0 else min(found)
        copied = sheet.annotation.data[source]
        copied = np.where(copied == BACKGROUND_ID, 0, copied)
        self.discard()
        painted = sheet.annotation.data[plane]
        wanted = _onto(painted, sheet.states[plane], copied)
        count = self._write(sheet, {plane: Writing.of(plane, painted, wanted, sheet.annotation.protected)}, True)
        self.desk.tell(
            f"Slice {plane}: {count} voxels copied from slice {source}, as a proposal (Shift-S confirms it)."
        )

    @told
    def tidy(self, what: Tidying) -> None:
        """Preview the selected class without holes, or its largest component, on this slice or on all."""
        sheet = self._sheet()
        entry = self.desk.classes.get(self.desk.brush.selected)
        if entry is None:
            raise InputError("Select the class to tidy first; background strokes have neither holes nor components.")
        if entry.locked:
            raise InputError(f"{entry.name} is locked; unlock it in the class table to tidy it.")
        everywhere, data = self.everywhere, sheet.annotation.data.copy() if self.everywhere else None
        plane, shown = sheet.plane, sheet.annotation.data[sheet.plane].copy()

        def work() -> dict[int, Plane]:
            planes = [plane] if data is None else np.flatnonzero((data == entry.id).any(axis=(1, 2))).tolist()
            before = shown[np.newaxis] if data is None else data[planes]
            tidied = (fill_holes if what == "holes" else keep_largest)(swap_unsaid(before), entry.id)
            pairs = zip(planes, before, swap_unsaid(tidied), strict=True)
            return {p: after for p, old, after in pairs if not np.array_equal(old, after)}

        where = "all slices" if everywhere else f"slice {plane}"
        title = f"{entry.name} {'without holes' if what == 'holes' else 'as its largest component'}, {where}"
        self._compute(sheet, work, title, proposes=False)

    @told
    def apply(self, *, everywhere: bool = False) -> None:
        """Write the preview of the shown slice, or all of it, as one undo step."""
        sheet = self._sheet()
        if self.busy:
            raise InputError("The preview is being computed; wait a moment, or discard it.")
        if not self.planes:
            raise InputError("There is no preview to apply yet: fill between slices or tidy a class first.")
        chosen = dict(self.planes) if everywhere else {p: v for p, v in self.planes.items() if p == sheet.plane}
        if self._proposes:
            chosen = {plane: values for plane, values in chosen.items() if sheet.states[plane] in SILENT}
        if not chosen:
            raise InputError(f"The preview has nothing for slice {sheet.plane}; apply it everywhere, or show another.")
        painted, locked = {plane: sheet.annotation.data[plane].copy() for plane in chosen}, sheet.annotation.protected

        def work() -> dict[int, Writing]:
            return {plane: Writing.of(plane, painted[plane], chosen[plane], locked) for plane in chosen}

        if everywhere:
            self._in_background(sheet, work, lambda ready: self._apply(sheet, ready))
        else:
            self._apply(sheet, work())

    def _apply(self, sheet: Sheet, ready: dict[int, Writing]) -> None:
        left = {plane: values for plane, values in self.planes.items() if plane not in ready}
        self.planes = {}  # our own writing must not look like an edit that outdates it
        count = self._write(sheet, ready, self._proposes)
        self._show(sheet, left)
        what = "proposed; Shift-S confirms a slice" if self._proposes else "changed"
        self.desk.tell(f"{count} voxels on {len(ready)} slice{'s' * (len(ready) != 1)} {what}. Ctrl-Z takes it back.")

    def discard(self) -> None:
        """Drop the preview, and a computation under way."""
        self._generation += 1
        self.busy = False
        if self.desk.sheet is not None:
            self._show(self.desk.sheet, {})

    def why_not_apply(self, *, everywhere: bool = False) -> str | None:
        """Return why the preview cannot be applied, None if it can."""
        sheet = self.desk.sheet
        if sheet is None:
            return NO_VOLUME
        if self.desk.access.why_not:
            return self.desk.access.why_not
        if self.busy:
            return "The preview is being computed."
        if not self.planes:
            return "There is no preview yet: fill between slices or tidy a class first."
        if not everywhere and sheet.plane not in self.planes:
            return f"The preview has nothing for slice {sheet.plane}."
        return None

    # -- where ----------------------------------------------------------------------------------------------------

    def _sheet(self) -> Sheet:
        if self.desk.sheet is None:
            raise InputError(NO_VOLUME)
        if self.desk.access.why_not:
            raise InputError(self.desk.access.why_not)
        return self.desk.sheet

    def _check_silent(self, sheet: Sheet, plane: int) -> None:
        if sheet.states[plane] not in SILENT:
            raise InputError(f"Slice {plane} is annotated already; proposals are for slices that are not.")

    def _ends(self, sheet: Sheet) -> list[int]:
        """Return the annotated slices between which slices are filled."""
        usable = (*COMPLETE_STATES, SliceState.SCRIBBLED) if self.means == "walker" else COMPLETE_STATES
        ends = [plane for plane, state in enumerate(sheet.states) if state in usable]
        kind = "annotated" if self.means == "walker" else "complete"
        if not self.everywhere:
            plane = sheet.plane
            self._check_silent(sheet, plane)
            below, above = [p for p in ends if p < plane], [p for p in ends if p > plane]
            if not below or not above:
                raise InputError(
                    f"There is no {kind} slice {'before' if not below else 'after'} slice {plane}; "
                    "show a slice between two of them."
                )
            return [below[-1], above[0]]
        if len(ends) < 2 or ends[-1] - ends[0] < len(ends):
            raise InputError(f"Filling needs two {kind} slices with others between them.")
        return ends

    # -- preview and writing ----------------------------------------------------------------------------------------

    def _compute(self, sheet: Sheet, work: Callable[[], dict[int, Plane]], title: str, *, proposes: bool) -> None:
        """Have a preview computed and show it."""
        self.discard()
        self.title, self._proposes = title, proposes

        def with_changes() -> dict[int, tuple[Plane, Plane]]:
            planes = work()
            return {p: (values, _changes(sheet.annotation.data[p], values)) for p, values in planes.items()}

        def arrived(found: dict[int, tuple[Plane, Plane]]) -> None:
            self._shown = {plane: changes for plane, (_, changes) in found.items()}
            self._show(sheet, {plane: values for plane, (values, _) in found.items()})
            if not found:
                self.desk.tell(f"{title}: nothing would change.")

        self._in_background(sheet, with_changes, arrived)

    def _in_background(
        self, sheet: Sheet, work: Callable[[], dict[int, T]], then: Callable[[dict[int, T]], None]
    ) -> None:
        """Have planes computed; ``then`` gets those that nobody painted on meanwhile, unless they were discarded."""
        self._generation += 1
        generation = self._generation
        self.busy = True
        self._painted_meanwhile.clear()
        self.changed.emit()

        def arrived(planes: dict[int, T]) -> None:
            if generation != self._generation or self.desk.sheet is not sheet:
                return
            self.desk.keeper.look(planes)
            self.busy = False
            then({plane: found for plane, found in planes.items() if plane not in self._painted_meanwhile})

        def failed(error: BaseException) -> None:
            if generation == self._generation:
                self.busy = False
                self.changed.emit()
            self.desk.problem(error)

        self.desk.compute.run(work, arrived, failed)

    def _show(self, sheet: Sheet, planes: dict[int, Plane]) -> None:
        """Show what would change: new voxels in the colour of their class, those to go in that of background."""
        self.planes = planes
        self._shown = {plane: self._shown[plane] for plane in planes}
        sheet.overlays.put_all(KEY, self._shown)
        self.desk.show_overlay(KEY, bool(planes))
        self.changed.emit()

    def _write(self, sheet: Sheet, planes: dict[int, Writing], proposes: bool) -> int:
        """Write planes with their states as one undo step; return how many voxels changed."""
        for plane, writing in planes.items():
            sheet.remember(plane, writing.before)
        states = {p: SliceState.PROPOSED if proposes else sheet.states[p] for p in planes}
        sheet.annotation.write(writing.edit for writing in planes.values())
        self.desk.keeper.look(planes)
        for plane, state in states.items():
            self.desk.marks.put(plane, state)
            sheet.remember(plane, planes[plane].after)
        self.desk.slices_changed.emit()
        return sum(writing.edit.count for writing in planes.values())

    def _on_edited(self, planes: list[int]) -> None:
        """Drop what was computed from slices that are otherwise now."""
        self._painted_meanwhile.update(planes)
        left = {plane: values for plane, values in self.planes.items() if plane not in planes}
        if len(left) < len(self.planes) and self.desk.sheet is not None:
            self._show(self.desk.sheet, left)

    def _on_volume(self) -> None:
        self._generation += 1
        self.planes, self.busy, self.title = {}, False, ""
        self.changed.emit()


def _onto(painted: Plane, state: SliceState, proposed: Plane) -> Plane:
    """Put a proposal where nothing is painted; an earlier proposal is not paint."""
    return proposed if state is SliceState.PROPOSED else np.where(painted == 0, proposed, painted).astype(np.uint8)


def _changes(before: Plane, after: Plane) -> Plane:
    """Return the new value of voxels that change, 255 for those that are erased, 0 elsewhere."""
    return np.where(before == after, 0, np.where(after == 0, BACKGROUND_ID, after)).astype(np.uint8)
