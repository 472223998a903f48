"""Size of the brush in millimetres, and the range of intensities that it paints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_semiseg.gui.marks import NO_VOLUME
from napari_semiseg.gui.metadata import contrast
from napari_semiseg.gui.problems import told

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk
    from napari_semiseg.gui.sheet import Sheet

AIR = -300
"""Images whose darkest hundredth is below it are in Hounsfield units."""


class BrushSettings:
    """Follows the brush of the annotation layer and carries its settings to the next volume.

    Attributes
    ----------
    window : tuple of 2 floats
        Lowest and highest intensity that is painted.
    masked : bool
        Whether the window counts.
    unit : str
        ``"HU"``, or nothing where the units are arbitrary.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, desk: Desk):
        self.desk = desk
        self.window = (0.0, 1.0)
        self.masked = False
        self.unit = ""
        self._millimetres: float | None = None
        self._chosen = False

    @property
    def pixel(self) -> float:
        """Size of a pixel of the shown volume within slices, mm."""
        sheet = self.desk.sheet
        return 1.0 if sheet is None else float(np.min(np.abs(sheet.annotation.scale[-2:])))

    @property
    def millimetres(self) -> float:
        """Diameter of the brush on the shown volume."""
        sheet = self.desk.sheet
        return 0.0 if sheet is None else float(sheet.annotation.brush_size) * self.pixel

    def take(self, sheet: Sheet) -> None:
        """Serve the annotation layer of a newly shown volume: the brush is as large in millimetres as before."""
        layer = sheet.annotation
        if self._millimetres is not None:
            layer.brush_size = max(1, round(self._millimetres / self.pixel))
        self._millimetres = self._millimetres or self.millimetres
        layer.events.brush_size.connect(self._on_brush_size)
        low, high = contrast(sheet.image.data)
        self.unit = "HU" if low < AIR else ""
        if not self._chosen:
            self.window = (low, high)
        layer.window = self.window if self.masked else None
        self.changed.emit()

    def set_millimetres(self, size: float) -> None:
        """Change the diameter of the brush; it is rounded to whole pixels."""
        if self.desk.sheet is not None:
            self._millimetres = size
            self.desk.sheet.annotation.brush_size = max(1, round(size / self.pixel))

    def set_window(self, low: float, high: float) -> None:
        """Change the range of intensities; the bounds may come in either order."""
        self._chosen = True
        self.window = (min(low, high), max(low, high))
        self._apply()

    def set_masked(self, masked: bool) -> None:
        """Paint only within the range, or everywhere."""
        self.masked = masked
        self._apply()

    @told
    def toggle_range(self) -> None:
        """Switch the range mask on or off."""
        if self.desk.sheet is None:
            self.desk.tell(NO_VOLUME, "warning")
            return
        self.set_masked(not self.masked)
        low, high = (f"{bound:g}{f' {self.unit}' if self.unit else ''}" for bound in self.window)
        self.desk.tell(f"The brush paints {f'from {low} to {high} only' if self.masked else 'at any intensity'}.")

    def _apply(self) -> None:
        if self.desk.sheet is not None:
            self.desk.sheet.annotation.window = self.window if self.masked else None
        self.changed.emit()

    def _on_brush_size(self, event: Any = None) -> None:
        sheet = self.desk.sheet
        if sheet is None:
            return
        wanted = max(1, round((self._millimetres or 0) / self.pixel))
        if int(sheet.annotation.brush_size) != wanted:
            self._millimetres = self.millimetres  # changed by napari's keys or slider
        self.changed.emit()
