"""The Labels layer that is painted on.

Its values are 0 for "not painted" and 255 for a background stroke, so that napari's brush, eraser and fill work as
everywhere. Its array is never replaced while it lives: napari's undo history would write old voxels into the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_semiseg.gui.classes import BACKGROUND_COLOUR, BACKGROUND_ID, BACKGROUND_KEY
from napari_semiseg.gui.paint_layer import PaintLayer, PlaneEdit

if TYPE_CHECKING:
    from napari_semiseg.session import LabelClass


def class_colours(classes: Iterable[LabelClass], *, background: bool) -> DirectLabelColormap:
    """Return the colours of labels: those of the classes, and for ``background`` that of background strokes."""
    colours: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    colours |= {entry.id: entry.colour for entry in classes}
    if background:
        colours[BACKGROUND_ID] = BACKGROUND_COLOUR
    return DirectLabelColormap(color_dict=colours)


def make_layer(values: NDArray[np.uint8], classes: Iterable[LabelClass], **attributes: Any) -> PaintLayer:
    """Return a layer ready to paint: 2D brush, contiguous fill, the first class selected.

    2D editing is the default because the undo history of large 3D strokes fills gigabytes.
    """
    classes = list(classes)
    layer = PaintLayer(values, opacity=0.6, **attributes)
    layer.protect([entry.id for entry in classes if entry.locked])
    layer.colormap = class_colours(classes, background=True)
    layer.n_edit_dimensions = 2
    layer.contiguous = True
    layer.selected_label = classes[0].id if classes else 1
    layer.brush_size = max(2, round(min(values.shape[1:]) / 32))
    return layer


def bind_keys(layer: Labels, keys: dict[str, Callable[[], Any]]) -> None:
    """Give keys a meaning while this layer is selected; they go before napari's own on this layer only."""
    for key, action in keys.items():

        def press(_: Labels, action: Callable[[], Any] = action) -> None:
            action()

        layer.bind_key(key, press, overwrite=True)


def class_keys(classes: Iterable[LabelClass], select: Callable[[int], Any]) -> dict[str, Callable[[], Any]]:
    """Return the actions of the class keys and of the background key."""
    keys: dict[str, Callable[[], Any]] = {BACKGROUND_KEY: lambda: select(BACKGROUND_ID)}
    return keys | {entry.key: partial(select, entry.id) for entry in classes if entry.key}


def set_plane(layer: PaintLayer, plane: int, values: NDArray[np.uint8]) -> int:
    """Write a plane as one undo step, locked classes excepted; return how many voxels changed."""
    edit = PlaneEdit.of(plane, layer.data[plane], values, layer.protected)
    layer.write([edit])
    return edit.count
