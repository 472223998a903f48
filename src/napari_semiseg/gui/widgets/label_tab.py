"""The Label tab: classes, tools, slices, superpixels."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.widgets.class_table import ClassTable
from napari_semiseg.gui.widgets.pieces import MARGIN, collapsible, column
from napari_semiseg.gui.widgets.slice_panel import SlicePanel
from napari_semiseg.gui.widgets.superpixel_controls import SuperpixelControls
from napari_semiseg.gui.widgets.tool_box import ToolBox


class LabelTab(QWidget):
    """Where the annotator says what is what."""

    def __init__(self, desk: Desk, parent: QWidget | None = None):
        super().__init__(parent)
        self.classes = ClassTable(desk)
        self.slices = SlicePanel(desk)
        self.tools = ToolBox(desk)
        self.tool_section = collapsible("Tools", self.tools)
        self.superpixels = SuperpixelControls(desk)
        self.section = collapsible("Superpixels", self.superpixels)
        layout = column(self.classes, self.tool_section, self.slices, self.section, margin=MARGIN)
        layout.addStretch(1)
        self.setLayout(layout)
