"""The layers of the shown volume: its image, its annotation, its overlays."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_semiseg.gui.annotation_layer import make_layer
from napari_semiseg.gui.metadata import KEY, image_attributes
from napari_semiseg.gui.overlays import Overlays
from napari_semiseg.gui.paint_layer import PaintLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_semiseg.gui.classes import ClassBook
    from napari_semiseg.gui.entries import Entry
    from napari_semiseg.session import SliceState


def transforms(layer: Layer) -> dict[str, Any]:
    """Return what places a layer in the world, to be copied to layers on the same grid."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def fingerprint(plane: NDArray[np.uint8]) -> bytes:
    """Return a short digest of what is painted on a plane, shape (rows, columns)."""
    return hashlib.blake2b(plane.tobytes(), digest_size=8).digest()


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Have napari's collections of garbage find nothing to look at: there is one for every layer that is removed.

    Each takes some tenths of a second. Whoever removes the layers collects once, afterwards.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Sheet:
    """Puts the layers of a volume into the viewer and takes them out again.

    Parameters
    ----------
    viewer : ViewerModel
    entry : Entry
        With its voxels at hand.
    image : Image, optional
        The layer that shows it already.
    values : ndarray of uint8, shape (planes, rows, columns)
        Annotation in layer values.
    states : list of SliceState
    classes : ClassBook
    """

    def __init__(
        self,
        viewer: ViewerModel,
        entry: Entry,
        image: Image | None,
        values: NDArray[np.uint8],
        states: Iterable[SliceState],
        classes: ClassBook,
    ):
        self.viewer = viewer
        self.entry = entry
        self.states = list(states)
        self.automatic: set[int] = set()
        """Planes whose state was set by painting on them."""
        self._known: dict[tuple[int, bytes], SliceState] = {}
        if image is None:
            assert entry.volume is not None
            image = Image(entry.volume.data, **image_attributes(entry.volume, axis=entry.axis, replaced=entry.replaced))
            viewer.layers.append(image)
        self.image: Image = image
        description = {
            "kind": "annotation",
            "geometry": entry.geometry.to_json(),
            "classes": {str(k): v for k, v in classes.names().items()},
        }
        placed = transforms(image)
        self.annotation: PaintLayer = make_layer(
            values, classes, name=f"{image.name} annotation", metadata={KEY: description}, **placed
        )
        self.annotation.image = image.data
        viewer.layers.append(self.annotation)
        self.overlays = Overlays(viewer.layers, self.annotation, values.shape, placed, classes.all)
        viewer.layers.selection.active = self.annotation
        self.annotation.mode = "paint"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        planes, rows, columns = self.annotation.data.shape
        return planes, rows, columns

    def remember(self, plane: int, known: bytes | None = None) -> None:
        """Note that a plane, painted as it is now, has the state that it has now: undo and redo bring both back.

        Parameters
        ----------
        plane : int
        known : bytes, optional
            Its `fingerprint`, if it is known already.
        """
        self._known[plane, fingerprint(self.annotation.data[plane]) if known is None else known] = self.states[plane]

    def remembered(self, plane: int) -> SliceState | None:
        """Return the state that belongs to a plane as it is painted now, None where nothing was noted."""
        return self._known.get((plane, fingerprint(self.annotation.data[plane]))) if self._known else None

    def owns(self, layer: Layer) -> bool:
        """Return whether a layer is one of this sheet's."""
        return layer in (self.image, self.annotation) or layer in self.overlays.made.values()

    @property
    def plane(self) -> int:
        """Index of the shown plane."""
        dims = self.viewer.dims
        return int(np.clip(dims.current_step[dims.ndim - 3], 0, self.shape[0] - 1))

    @property
    def shows_slices(self) -> bool:
        """Whether the canvas shows a slice along the slice axis; in 3D a click has no plane."""
        dims = self.viewer.dims
        return tuple(dims.displayed) == (dims.ndim - 2, dims.ndim - 1)

    def go_to(self, plane: int) -> None:
        """Show another plane."""
        dims = self.viewer.dims
        dims.set_current_step(dims.ndim - 3, int(np.clip(plane, 0, self.shape[0] - 1)))

    def relabel(self, classes: ClassBook) -> None:
        """Keep the class names in the layer's metadata, for napari's own File > Save."""
        self.annotation.metadata[KEY]["classes"] = {str(k): v for k, v in classes.names().items()}

    def belongs_to(self, session: Path) -> None:
        """Note the session in the image layer, so that a panel opened later finds it."""
        self.image.metadata.setdefault(KEY, {"kind": "image"})["session"] = str(session)

    def leave(self) -> None:
        """Take all but the image out of the viewer: the panel closes while the window stays."""
        with _collecting_nothing():
            self.overlays.remove()
            if self.annotation in self.viewer.layers:
                self.viewer.layers.remove(self.annotation)

    def remove(self) -> None:
        """Take the layers out of the viewer."""
        with _collecting_nothing():
            self.overlays.remove()
            for layer in (self.annotation, self.image):
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
