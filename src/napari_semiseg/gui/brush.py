"""Painting with a class: by the table, by a key, by napari's own picker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_semiseg.errors import InputError
from napari_semiseg.gui import annotation_layer
from napari_semiseg.gui.classes import BACKGROUND_ID
from napari_semiseg.gui.problems import told
from napari_semiseg.gui.shortcuts import actions

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.sheet import Sheet

PAINTING = ("paint", "polygon", "fill")


class Brush:
    """Keeps the annotation layer's selected label, colours and keys in step with the classes."""

    def __init__(self, desk: Desk):
        self.desk = desk
        desk.classes.changed.connect(self._on_classes)

    @property
    def selected(self) -> int:
        """The class that is painted with; 255 for background strokes, 0 for erasing."""
        sheet = self.desk.sheet
        return self.desk.classes.all()[0].id if sheet is None else int(sheet.annotation.selected_label)

    @told
    def select(self, class_id: int) -> None:
        """Paint with a class, or with 255 for background strokes."""
        if self.desk.sheet is None:
            return
        layer = self.desk.sheet.annotation
        layer.selected_label = class_id
        if str(layer.mode) not in PAINTING and not any(tool.active for tool in self.desk.canvas_tools):
            layer.mode = "paint"

    @told
    def toggle_lock(self, class_id: int | None = None) -> None:
        """Lock or unlock a class, by default the selected one: nothing overwrites or erases a locked class."""
        entry = self.desk.classes.get(self.selected if class_id is None else class_id)
        if entry is None:
            raise InputError("Select the class to lock first; background strokes cannot be locked.")
        self.desk.classes.update(entry.id, locked=not entry.locked)
        self.desk.tell(f"{entry.name} is {'unlocked' if entry.locked else 'locked: nothing overwrites or erases it'}.")

    def take(self, sheet: Sheet) -> None:
        """Serve the annotation layer of a newly shown volume."""
        sheet.annotation.events.selected_label.connect(self._on_selected_label)
        sheet.annotation.refused.connect(lambda text: self.desk.tell(text, "warning"))
        self._bind_keys(sheet)
        sheet.overlays.select_class(int(sheet.annotation.selected_label))

    def _bind_keys(self, sheet: Sheet) -> None:
        keys = annotation_layer.class_keys(self.desk.classes, self.select)
        annotation_layer.bind_keys(sheet.annotation, {**actions(self.desk), **keys})

    def _on_selected_label(self, event: Any = None) -> None:
        sheet = self.desk.sheet
        if sheet is None:
            return
        layer = sheet.annotation
        chosen = int(layer.selected_label)
        known = {entry.id for entry in self.desk.classes}
        if chosen not in known | {0, BACKGROUND_ID}:
            layer.selected_label = min(known)
            self.desk.tell(f"Label {chosen} has no class yet; add one in the table first.", "warning")
            return
        if chosen in known:
            sheet.overlays.select_class(chosen)
            sheet.overlays.recolour()
        self.desk.class_selected.emit(chosen)

    def _on_classes(self) -> None:
        sheet = self.desk.sheet
        if sheet is None:
            return
        layer = sheet.annotation
        layer.colormap = annotation_layer.class_colours(self.desk.classes, background=True)
        layer.protect([entry.id for entry in self.desk.classes if entry.locked])
        self._bind_keys(sheet)
        sheet.relabel(self.desk.classes)
        sheet.overlays.recolour()
        if int(layer.selected_label) not in {entry.id for entry in self.desk.classes} | {0, BACKGROUND_ID}:
            layer.selected_label = self.desk.classes.all()[0].id
