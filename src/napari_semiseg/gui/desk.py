"""The controller behind the panel: session, viewer, layers. Widgets ask it and listen to its signals."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_semiseg.errors import DamagedError, InputError
from napari_semiseg.gui import intake
from napari_semiseg.gui.accepting import Accepting
from napari_semiseg.gui.access import Access
from napari_semiseg.gui.ahead import Ahead
from napari_semiseg.gui.background import Lane
from napari_semiseg.gui.binder import Binder
from napari_semiseg.gui.brush import Brush
from napari_semiseg.gui.brush_settings import BrushSettings
from napari_semiseg.gui.choices import read_asking
from napari_semiseg.gui.classes import ClassBook
from napari_semiseg.gui.entries import Entry
from napari_semiseg.gui.exporting import Exporter
from napari_semiseg.gui.history import History
from napari_semiseg.gui.keeper import Keeper
from napari_semiseg.gui.loading import Loaded, load
from napari_semiseg.gui.marks import Marks
from napari_semiseg.gui.metadata import KEY, image_attributes
from napari_semiseg.gui.outline_tool import OutlineTool
from napari_semiseg.gui.problems import explain, told
from napari_semiseg.gui.proposals import Proposals
from napari_semiseg.gui.reader import is_session
from napari_semiseg.gui.regions import Regions
from napari_semiseg.gui.removal import Removal
from napari_semiseg.gui.review import Review
from napari_semiseg.gui.runs import Runs
from napari_semiseg.gui.sheet import Sheet
from napari_semiseg.gui.shelf import Shelf
from napari_semiseg.gui.sizes import Sizes
from napari_semiseg.gui.slices import annotated
from napari_semiseg.gui.superpixel_brush import SuperpixelBrush
from napari_semiseg.gui.survey import Survey
from napari_semiseg.gui.training import Training
from napari_semiseg.session import Session, StoredPrediction, default_path
from napari_semiseg.session.damage import set_aside
from napari_semiseg.session.supervisor import Supervisor

if TYPE_CHECKING:
    from napari.components import ViewerModel

COLLECT_MS = 500


class Desk:
    """What the annotator has on the desk.

    Signals
    -------
    message(text, severity)
        One sentence for the message line; ``"info"``, ``"warning"`` or ``"error"``.
    outdated(text)
        A sentence that does not hold any more.
    offer(text, action title, action)
        A sentence with something that can be done about it.
    volumes_changed(), volume_changed()
        The list of volumes; which one is shown.
    plane_changed(plane), slices_changed()
        The shown slice; states of slices.
    session_changed()
        Another session, or another place or name of it.
    class_selected(class id), overlay_toggled(key), prediction_changed()
    place_wanted()
        The user wants to choose another place for the session.
    keys_wanted(), training_wanted()
        The list of keys is to be shown; a round is to begin with what the Train tab says.
    """

    message = Signal(str, str)
    outdated = Signal(str)
    offer = Signal(str, str, object)
    volumes_changed = Signal()
    volume_changed = Signal()
    plane_changed = Signal(int)
    slices_changed = Signal()
    session_changed = Signal()
    class_selected = Signal(int)
    overlay_toggled = Signal(str)
    prediction_changed = Signal()
    place_wanted = Signal()
    keys_wanted = Signal()
    training_wanted = Signal()

    def __init__(self, viewer: ViewerModel):
        self.viewer = viewer
        self.session: Session | None = None
        self.entries: list[Entry] = []
        self.sheet: Sheet | None = None
        self.place: Path | None = None
        self.classes = ClassBook()
        self.disk = Lane("semiseg-disk", self.problem)
        self.reading = Lane("semiseg-reading", self.problem)
        self.compute = Lane("semiseg-compute", self.problem)
        self.keeper = Keeper(self.disk, lambda: self.sheet.plane if self.sheet is not None else 0)
        self.training = Training(Lane("semiseg-training", self.problem), Supervisor)
        self.closed = False
        self.farewell: list[str] = []
        """What is to be said when the window closes: what is kept elsewhere, what could not be saved."""
        self._moving_layers = False
        self._generation = 0
        self.binder = Binder(self)
        self.removal = Removal(self)
        self.marks = Marks(self)
        self.runs = Runs(self)
        self.brush = Brush(self)
        self.brush_settings = BrushSettings(self)
        self.proposals = Proposals(self)
        self.review = Review(self)
        self.survey = Survey(self)
        self.regions = Regions(self)
        self.accepting = Accepting(self)
        self.superpixel_brush = SuperpixelBrush(self)
        self.outline = OutlineTool(self)
        self.canvas_tools = (self.superpixel_brush, self.outline)
        self.exporter = Exporter(self)
        self.shelf = Shelf(self)
        self.ahead = Ahead(self)
        self.access = Access(self)
        self._told_not_saved = False
        self.history = History(self)
        self.sizes = Sizes(self)
        self.keeper.failed.connect(self.not_saved)
        self.keeper.saved.connect(self._saved_again)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)

    # -- telling ------------------------------------------------------------------------------------------------

    def tell(self, text: str, severity: str = "info") -> None:
        """Show one sentence in the message line."""
        self.message.emit(text, severity)

    def no_longer(self, text: str) -> None:
        """Take a sentence back that does not hold any more, unless another has taken its place."""
        self.outdated.emit(text)

    def problem(self, error: BaseException) -> None:
        """Show an error as a sentence."""
        self.tell(explain(error), "error")

    def not_saved(self, error: BaseException, name: str = "") -> None:
        """Say that edits, maybe those of one volume, are not on disk yet, and offer another place."""
        self.tell(f"Not saved yet, trying again: {name and f'{name}: '}{explain(error)}", "error")
        if not self._told_not_saved:
            self._told_not_saved = True
            self.offer.emit("What you painted is kept in memory meanwhile.", "Save as…", self.place_wanted.emit)

    def _saved_again(self) -> None:
        if self._told_not_saved:
            self._told_not_saved = False
            self.tell("Everything that you painted is saved now.")

    # -- volumes ------------------------------------------------------------------------------------------------

    def take_present_layers(self) -> None:
        """Take the image layers that are in the viewer already: the first suitable one is shown.

        A layer that an earlier panel left behind leads back to its session.
        """
        for layer in list(self.viewer.layers):
            place = layer.metadata.get(KEY, {}).get("session")
            if place and is_session(Path(place)):
                self._without_listening(partial(self.viewer.layers.remove, layer))
                self.binder.open(Path(place))
                return
        for layer in list(self.viewer.layers):
            if intake.why_not(layer) is None and (self.sheet is None or intake.is_ours(layer)):
                self.take_layer(layer)

    @told
    def take_layer(self, layer: Image) -> None:
        """Make an image layer the shown volume, and another volume of the session if there is one."""
        reason = intake.why_not(layer) or self.removal.why_wait
        if reason is not None:
            raise InputError(reason)
        entry = intake.entry_of(layer)
        names = {int(k): v for k, v in layer.metadata.get(KEY, {}).get("class_names", {}).items()}
        self.classes.suggest(names)
        self.entries.append(entry)
        usable = layer if layer.ndim == 3 else None
        if usable is None:
            self._without_listening(lambda: self.viewer.layers.remove(layer))
        self._put(entry, Loaded.empty(entry), usable)
        self.volumes_changed.emit()
        for note in entry.volume.notes if entry.volume is not None else ():
            self.tell(note)
        self.binder.join(entry)

    @told
    def show(self, entry: Entry) -> None:
        """Show another volume; only its layers stay in the viewer."""
        if self.sheet is not None and self.sheet.entry is entry:
            return
        self.removal.refuse_meanwhile()
        self.close_sheet()
        self._show(entry, None)
        # What was shown before leaves the memory once the next one is on the screen.
        QTimer.singleShot(COLLECT_MS, gc.collect)

    def step(self, by: int) -> None:
        """Show the volume that is ``by`` places further in the list."""
        if self.sheet is None or self.sheet.entry not in self.entries:
            return
        at = self.entries.index(self.sheet.entry) + by
        if 0 <= at < len(self.entries):
            self.show(self.entries[at])
        else:
            self.tell("This is the last volume." if by > 0 else "This is the first volume.")

    @told
    def look_for(self, entry: Entry, class_ids: tuple[int, ...] | None) -> None:
        """Say which classes are looked for in a volume, None for all."""
        if self.training.phase.active:
            raise InputError("Wait until the training is over before you change what is looked for.")
        if self.session is not None and entry.id is not None:
            self.session.look_for(entry.id, class_ids)
        elif class_ids is not None and not class_ids:
            raise InputError("At least one class must be looked for.")
        entry.looked_for = class_ids
        self.volumes_changed.emit()

    def renew(self) -> None:
        """Show the present volume with a fresh annotation layer, read from the disk; its image layer stays."""
        assert self.sheet is not None
        entry, image = self.sheet.entry, self.sheet.image
        self.close_sheet(keep_image=True)
        self.show_again(entry, image)

    def show_again(self, entry: Entry, image: Image) -> None:
        """Show a volume of which only the image layer was left, if the user has not taken it away meanwhile."""
        self._show(entry, image if image in self.viewer.layers else None)

    def _show(self, entry: Entry, image: Image | None) -> None:
        self._generation += 1
        generation = self._generation
        if entry.id is None or self.session is None:
            self._put(entry, Loaded.empty(entry), image)
            return
        session, volume_id = self.session, entry.id
        opening = f"Opening {entry.name} …"
        self.tell(opening)

        def arrived(loaded: Loaded) -> None:
            if generation == self._generation:
                entry.volume = loaded.volume
                self._put(entry, loaded, image)
                self.no_longer(opening)

        def failed(error: BaseException) -> None:
            self.no_longer(opening)
            self.problem(error)

        def read(volume: Any) -> None:
            if generation == self._generation:
                # After what was painted before it was closed.
                self.disk.run(lambda: load(session, entry, volume), arrived, failed)

        self.reading.run(lambda: session.load_volume(volume_id), read, failed)

    def _put(self, entry: Entry, loaded: Loaded, image: Image | None) -> None:
        """Show a volume with what was loaded of it."""
        self.close_sheet()

        def build() -> None:
            self.sheet = Sheet(self.viewer, entry, image, loaded.values, loaded.states, self.classes)

        self._without_listening(build)
        sheet = self.sheet
        assert sheet is not None
        if self.session is not None:
            sheet.belongs_to(self.session.path)
        for tool in (self.brush, self.brush_settings, *self.canvas_tools):
            tool.take(sheet)
        sheet.annotation.events.paint.connect(self._on_paint)
        sheet.overlays.damaged.connect(self._on_damage)
        self.keeper.watch(entry, sheet.annotation.data)
        if loaded.prediction is not None:
            sheet.overlays.rest_on(loaded.prediction)
            self.show_overlay("labels")
        if self.place is None:
            self.place = default_path(entry.name)
            self.session_changed.emit()
        if image is None and self.session is not None and annotated(sheet.states):
            sheet.go_to(annotated(sheet.states)[0])
        self.volume_changed.emit()
        self.slices_changed.emit()
        self.plane_changed.emit(sheet.plane)

    def close_sheet(self, *, keep_image: bool = False) -> None:
        """Take the shown volume's layers out of the viewer, with everything that was painted on its way to the disk."""
        if self.sheet is None:
            return
        sheet = self.sheet
        self.keeper.flush()
        self.keeper.watch(None, None)
        self._without_listening(sheet.leave if keep_image else sheet.remove)
        sheet.entry.states = list(sheet.states)
        if sheet.entry.id is not None:
            sheet.entry.volume = None
            if self.session is not None and not keep_image:
                # After the writes that are queued before it. What cannot be written is kept and tried again.
                self.disk.run(partial(self.session.release, sheet.entry.id), failed=lambda _: None)
        elif self.keeper.pending:
            sheet.entry.painted = sheet.annotation.data, sheet.states
        self.sheet = None
        self.volume_changed.emit()

    def _without_listening(self, action: Callable[[], Any]) -> None:
        """Change layers ourselves, without taking it for the user's doing."""
        self._moving_layers = True
        try:
            action()
        finally:
            self._moving_layers = False

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if self._moving_layers or self.closed or intake.why_not(layer) is not None:
            return
        # The viewer is still busy inserting it, and would select it after us.
        QTimer.singleShot(0, lambda: self._welcome(layer))

    def _welcome(self, layer: Layer) -> None:
        """Take or offer a layer that was just added."""
        if self.closed or layer not in self.viewer.layers:
            return
        if self.sheet is None or intake.is_ours(layer):
            self.take_layer(layer)
        elif not layer.metadata.get(KEY):
            self.offer.emit(f"{layer.name} can be annotated, too.", "Add as volume", lambda: self.take_layer(layer))

    def _on_removed(self, event: Any) -> None:
        layer: Layer = event.value
        sheet = self.sheet
        if self._moving_layers or self.closed or sheet is None or not sheet.owns(layer):
            return
        if layer in (sheet.image, sheet.annotation):
            self.close_sheet()
            if sheet.entry.id is None and not self.binder.creating and not self.keeper.holds(sheet.entry):
                self.entries.remove(sheet.entry)
                self.volumes_changed.emit()
            self.tell(f"{sheet.entry.name} was closed; what was painted is kept in the session.")
        else:
            sheet.overlays.forget(layer)

    @told
    def open_files(self, paths: list[Path]) -> None:
        """Read image files, asking where they leave something open, and show the last of them."""
        for path in paths:
            answer = read_asking(path)
            if answer is not None:
                volume, replaced = answer
                attributes = image_attributes(volume, replaced=replaced)
                self.viewer.layers.append(Image(volume.data, **attributes))

    def show_overlay(self, key: str, visible: bool = True) -> None:
        """Show or hide an overlay of the shown volume."""
        sheet = self.sheet
        if sheet is not None:
            self._without_listening(lambda: sheet.overlays.show(key, visible))
            self.overlay_toggled.emit(key)

    def _on_damage(self, error: DamagedError) -> None:
        """Set a prediction aside that cannot be read, and show an earlier one, if there is one."""
        self.problem(error)
        sheet, session = self.sheet, self.session
        if sheet is None or session is None or session.why_read_only or sheet.entry.id is None:
            return
        volume_id = sheet.entry.id

        def earlier() -> StoredPrediction | None:
            set_aside(session.path, error.place)
            return session.latest_prediction(volume_id)

        def shown(stored: StoredPrediction | None) -> None:
            if self.sheet is sheet:
                sheet.overlays.rest_on(stored)
                self.prediction_changed.emit()

        self.disk.run(earlier, shown)

    # -- what the viewer tells ----------------------------------------------------------------------------------

    def _on_paint(self, event: Any = None) -> None:
        self.keeper.hint()

    def _on_step(self, event: Any = None) -> None:
        if self.sheet is not None:
            self.plane_changed.emit(self.sheet.plane)
            self.runs.show_plane()

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is left and let go of everything; a training run goes on by itself."""
        if self.closed:
            return
        self.closed = True
        self.access.close()
        self.training.close()
        self.compute.close(wait=False)
        for part in (self.shelf, self.survey, self.ahead):
            part.close()
        self.training.lane.close(wait=False)
        self.exporter.lane.close(wait=False)
        self.reading.close(wait=True)
        self.farewell = self.binder.at_last()
        if self.sheet is not None:
            self._without_listening(self.sheet.leave)
            self.sheet = None
