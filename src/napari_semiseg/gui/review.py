"""Reviewing a prediction: previews while it trains, where to look next, accepting a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.engine.suggest import Suggestion
from napari_semiseg.errors import InputError
from napari_semiseg.gui.annotation_layer import set_plane
from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.outlook import why_not_accept
from napari_semiseg.gui.problems import told
from napari_semiseg.session import SliceState, merge, swap_unsaid
from napari_semiseg.session.summaries import suggestions

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk


def accepted(painted: NDArray[np.uint8], predicted: NDArray[np.uint8], *, overwrite: bool) -> NDArray[np.uint8]:
    """Return a plane of layer values after its prediction was accepted; see `session.merge.accepted`."""
    return swap_unsaid(merge.accepted(swap_unsaid(painted), predicted, overwrite=overwrite))


class Review:
    """What the Review tab does.

    Signals
    -------
    changed()
        Another volume is shown, or a preview arrived.
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        desk.training.preview_ready.connect(self._on_preview)
        desk.training.prediction_ready.connect(self._on_prediction)
        desk.volume_changed.connect(self.changed.emit)

    @property
    def has_prediction(self) -> bool:
        """Whether there is a prediction of the shown volume, or of a slice of it."""
        return self.desk.sheet is not None and self.desk.sheet.overlays.available("labels")

    def why_not_show(self, overlay: str) -> str | None:
        """Return why an overlay cannot be shown, None if it can."""
        sheet, facts = self.desk.sheet, self.desk.runs.facts()
        if sheet is None:
            return NO_VOLUME
        if overlay == "difference" and self.desk.history.comparison is None:
            return "Compare two rounds first (list of rounds in the Train tab)."
        if sheet.overlays.available(overlay):
            return None
        if overlay == "disagreement" and facts.predicted:
            return "This round has one network and no random walk, so nothing to disagree with."
        return why_not_accept(facts) or "The latest prediction has no such map."

    @told
    def toggle_overlay(self, overlay: str) -> None:
        """Show an overlay that is hidden, hide one that is shown."""
        reason = self.why_not_show(overlay)
        if reason is not None:
            raise InputError(reason)
        assert self.desk.sheet is not None
        self.desk.show_overlay(overlay, not self.desk.sheet.overlays.visible(overlay))

    @told
    def go_to_most_uncertain(self) -> None:
        """Show the slice that is most worth annotating, and say why."""
        sheet, session = self.desk.sheet, self.desk.session
        if sheet is None or session is None or sheet.overlays.stored is None:
            raise InputError("There is no prediction of the whole volume yet: train first, or press “Predict now”.")
        stored = sheet.overlays.stored
        done, volume_id = self.desk.marks.annotated(), str(sheet.entry.id)

        def rank() -> list[Suggestion]:
            ranked, _ = suggestions(session, volume_id, annotated=done, prediction=stored, count=1)
            return ranked

        def arrived(found: list[Suggestion]) -> None:
            if self.desk.sheet is not sheet:
                return
            if not found:
                self.desk.tell("No slice that is not annotated yet has a predicted structure.", "warning")
                return
            sheet.go_to(found[0].plane)
            self.desk.tell(found[0].reason)

        self.desk.compute.run(rank, arrived)

    @told
    def accept(self, *, overwrite: bool = False) -> int:
        """Take the prediction of the shown slice into the annotation, as one undo step.

        Parameters
        ----------
        overwrite : bool
            Also where something was painted.

        Returns
        -------
        int
            How many voxels changed.
        """
        sheet = self.desk.sheet
        if sheet is None or not self.has_prediction:
            raise InputError("There is no prediction to accept yet: press Train first.")
        if self.desk.access.why_not:
            raise InputError(self.desk.access.why_not)
        plane = sheet.plane
        predicted = self.predicted(plane)
        # A proposal is no paint of the annotator's.
        overwrite = overwrite or sheet.states[plane] is SliceState.PROPOSED
        after = accepted(sheet.annotation.data[plane], predicted, overwrite=overwrite)
        reviewed = sheet.states[plane] is SliceState.REVIEWED
        state = SliceState.REVIEWED if reviewed else SliceState.COMPLETE
        return self.put(plane, after, state, "taken over from the prediction")

    def predicted(self, plane: int) -> NDArray[np.uint8]:
        """Return the shown prediction of a plane, without classes that were removed since."""
        sheet = self.desk.sheet
        assert sheet is not None
        return merge.known(np.asarray(sheet.overlays.stacks["labels"][plane]), [c.id for c in self.desk.classes])

    def put(self, plane: int, wanted: NDArray[np.uint8], state: SliceState, verb: str) -> int:
        """Write a plane as one undo step, which also brings back its state, and tell how many voxels changed.

        Voxels of locked classes stay.

        Parameters
        ----------
        plane : int
        wanted : ndarray of uint8, shape (rows, columns)
            Layer values.
        state : SliceState
            What the slice is now.
        verb : str
            What became of the voxels.
        """
        sheet = self.desk.sheet
        assert sheet is not None
        locked = sheet.annotation.count_locked(plane, wanted)
        sheet.remember(plane)
        changed = set_plane(sheet.annotation, plane, wanted)
        self.desk.keeper.look([plane])
        self.desk.marks.set(plane, state)
        sheet.remember(plane)
        stayed = f", {locked} of locked classes stayed" if locked else ""
        self.desk.tell(f"Slice {plane}: {changed} voxels were {verb}{stayed}; Ctrl-Z takes them back.")
        return changed

    def _on_preview(self, volume_id: str, plane: int) -> None:
        sheet, round_ = self.desk.sheet, self.desk.training.round
        if sheet is None or round_ is None or sheet.entry.id != volume_id:
            return

        def arrived(maps: dict[str, Any] | None) -> None:
            if maps is not None and self.desk.sheet is sheet:
                first = not sheet.overlays.available("labels")
                sheet.overlays.put_preview(plane, maps, maps.get("class_ids"))
                self.desk.regions.update()
                if first:
                    self.changed.emit()

        def read() -> dict[str, Any] | None:
            maps = round_.preview(volume_id, plane)
            return (
                None
                if maps is None
                else {**maps, "class_ids": (0, *sorted(entry["id"] for entry in round_.config["classes"]))}
            )

        self.desk.compute.run(read, arrived)

    def _on_prediction(self, volume_id: str) -> None:
        sheet, session = self.desk.sheet, self.desk.session
        if sheet is None or session is None or sheet.entry.id != volume_id:
            return

        def arrived(stored: Any) -> None:
            if self.desk.sheet is sheet:
                sheet.overlays.rest_on(stored)
                self.desk.prediction_changed.emit()
                self.desk.regions.update()

        self.desk.compute.run(lambda: session.latest_prediction(volume_id), arrived)
