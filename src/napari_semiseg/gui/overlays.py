"""The overlay layers of the shown volume: each is created once, when first wanted, and updated in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap
from numpy.typing import NDArray
from psygnal import Signal

from napari_semiseg.gui.annotation_layer import class_colours
from napari_semiseg.gui.metadata import KEY
from napari_semiseg.gui.overlay_kinds import BY_KEY, PROPOSAL, OverlayKind
from napari_semiseg.gui.planes import PlaneStack
from napari_semiseg.regions.comparison import GONE

if TYPE_CHECKING:
    from napari.components import LayerList

    from napari_semiseg.session import LabelClass

STORED = ("labels", "entropy", "disagreement", "probabilities")
OPAQUE_FROM = 0.25
"""Value of a map from which on its colour is as opaque as the layer."""
CONTOUR = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "#ffd60a"})


def over_image(name: str) -> Colormap:
    """Return a colormap of napari that is clear at 0: where a map says nothing, the image is as bright as ever."""
    values = np.linspace(0, 1, 256)
    colours = ensure_colormap(name).map(values)
    colours[:, 3] = np.minimum(1, values / OPAQUE_FROM)
    return Colormap(colours, name=f"{name}, clear at 0")


class Overlays:
    """Layers over one volume.

    Parameters
    ----------
    layers : LayerList
    below : Layer
        The annotation layer: overlays are put under it.
    shape : (planes, rows, columns)
    placement : mapping
        Scale, units, axis names and the like of the image layer, copied to every overlay. An overlay without units
        beside an image in millimetres would be drawn at a wrong scale.
    classes : callable
        Returns the present classes.

    Signals
    -------
    toggled(key)
        The visibility of an overlay changed, here or in napari's layer list.
    damaged(DamagedError)
        The stored prediction cannot be read.
    """

    toggled = Signal(str)
    damaged = Signal(object)

    def __init__(
        self,
        layers: LayerList,
        below: Layer,
        shape: tuple[int, int, int],
        placement: Mapping[str, Any],
        classes: Callable[[], Iterable[LabelClass]],
    ):
        self._layers = layers
        self._below = below
        self._placement = dict(placement)
        self._classes = classes
        self.stacks = {
            kind.key: PlaneStack(shape, divisor=255 if kind.drawn_as == "map" else None) for kind in BY_KEY.values()
        }
        for stack in self.stacks.values():
            stack.on_damage = self.damaged.emit
        self.made: dict[str, Layer] = {}
        self.stored: Any = None
        self._previews: dict[int, NDArray[np.uint8]] = {}
        self._class_ids: list[int] = []
        self._selected = 1

    def visible(self, key: str) -> bool:
        """Return whether an overlay is shown."""
        return key in self.made and self.made[key].visible

    def available(self, key: str) -> bool:
        """Return whether there is something to show."""
        if key not in STORED or self.stacks[key].has_planes:
            return True
        return self.stored is not None and getattr(self.stored, key, None) is not None

    def show(self, key: str, visible: bool = True) -> None:
        """Show or hide an overlay; its layer is created when it is first shown."""
        if key not in self.made and visible:
            self.made[key] = self._make(BY_KEY[key])
        if key in self.made:
            self.made[key].visible = visible

    def fetch(self, plane: int) -> None:
        """Read what is shown of a plane that will be shown soon; may run in another thread."""
        for key, layer in list(self.made.items()):
            if layer.visible:
                self.stacks[key].fetch(plane)

    def rest_on(self, stored: Any) -> None:
        """Show the stored prediction of a round, or none; previews of planes are forgotten.

        Parameters
        ----------
        stored : StoredPrediction or None
        """
        self.stored = stored
        self._previews = {}
        self._class_ids = [] if stored is None else list(stored.class_ids)
        for key in STORED:
            self._rest(key)

    def put_preview(
        self, plane: int, maps: Mapping[str, NDArray[np.uint8]], class_ids: Iterable[int] | None = None
    ) -> None:
        """Show newly predicted maps of one plane."""
        if class_ids is not None:
            self._class_ids = list(class_ids)
        for key in ("labels", "entropy", "disagreement"):
            if maps.get(key) is not None:
                self.stacks[key].put({plane: np.asarray(maps[key])})
                self.refresh(key)
        if maps.get("probabilities") is not None:
            self._previews[plane] = np.asarray(maps["probabilities"])
            self._put_probabilities()
            self.refresh("probabilities")

    def put(self, key: str, plane: int, values: NDArray[np.uint8]) -> None:
        """Show computed regions of one plane, and of no other."""
        self.stacks[key].drop()
        self.stacks[key].put({plane: values})
        self.refresh(key)

    def rest(self, key: str, base: Any) -> None:
        """Show an array-like of labels in an overlay of regions, or nothing for None.

        Parameters
        ----------
        key : str
        base : array-like of uint8, shape (planes, rows, columns), or None
        """
        self.stacks[key].rest_on(base)
        self.refresh(key)

    def put_all(self, key: str, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        """Show these planes, and no others."""
        self.stacks[key].drop()
        self.stacks[key].put(planes)
        self.refresh(key)

    def clear(self, key: str) -> None:
        """Show nothing in an overlay of computed regions."""
        self.stacks[key].drop()
        self.refresh(key)

    def select_class(self, class_id: int) -> None:
        """Show the probability of another class."""
        if class_id == self._selected:
            return
        self._selected = class_id
        self._rest("probabilities")

    def recolour(self) -> None:
        """Take over changed class colours."""
        for key, layer in self.made.items():
            if BY_KEY[key].drawn_as == "labels":
                layer.colormap = class_colours(self._classes(), background=key == PROPOSAL.key)
            elif key == "boundary":
                layer.colormap = self._boundary_colours()
            elif key == "difference":
                layer.colormap = self._difference_colours()

    def refresh(self, key: str) -> None:
        """Have the shown slice of an overlay drawn again, if it is visible."""
        layer = self.made.get(key)
        if layer is not None and layer.visible:
            # Its size and place stay: napari would measure the whole scene anew.
            layer.refresh(extent=False, highlight=False)

    def remove(self) -> None:
        """Remove all overlay layers."""
        for layer in self.made.values():
            if layer in self._layers:
                self._layers.remove(layer)
        self.made.clear()

    def forget(self, layer: Layer) -> None:
        """Take note that the user deleted a layer; toggling makes a new one."""
        self.made = {key: made for key, made in self.made.items() if made is not layer}

    def _rest(self, key: str) -> None:
        base = None if self.stored is None else getattr(self.stored, key, None)
        channel = None
        if key == "probabilities":
            channel = self._channel()
            base = None if channel is None else base
        self.stacks[key].rest_on(base, channel if base is not None else None)
        if key == "probabilities":
            self._put_probabilities()
        self.refresh(key)

    def _channel(self) -> int | None:
        return self._class_ids.index(self._selected) if self._selected in self._class_ids else None

    def _put_probabilities(self) -> None:
        channel = self._channel()
        if channel is not None:
            self.stacks["probabilities"].put({plane: maps[channel] for plane, maps in self._previews.items()})

    def _boundary_colours(self) -> DirectLabelColormap:
        chosen = next((entry for entry in self._classes() if entry.id == self._selected), None)
        colour = chosen.colour if chosen is not None else "#ffffff"
        dim = tuple(int(colour[i : i + 2], 16) / 255 * 0.5 for i in (1, 3, 5))
        return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: colour, 2: (*dim, 0.6)})

    def _difference_colours(self) -> DirectLabelColormap:
        colours: dict[int | None, Any] = {None: "transparent", 0: "transparent", GONE: "#ffffff"}
        return DirectLabelColormap(color_dict=colours | {entry.id: entry.colour for entry in self._classes()})

    def _make(self, kind: OverlayKind) -> Layer:
        stack = self.stacks[kind.key]
        metadata = {KEY: {"kind": "overlay", "overlay": kind.key}}
        layer: Layer
        if kind.drawn_as == "map":
            layer = Image(
                stack,
                name=kind.title,
                colormap=over_image(kind.colormap),
                contrast_limits=(0.0, 1.0),
                blending="translucent_no_depth",
                opacity=0.7,
                metadata=metadata,
                **self._placement,
            )
        else:
            layer = Labels(stack, name=kind.title, opacity=0.4, metadata=metadata, **self._placement)
            layer.editable = False
            if kind.drawn_as == "labels":
                layer.colormap = class_colours(self._classes(), background=kind is PROPOSAL)
            elif kind.key == "boundary":
                layer.colormap = self._boundary_colours()
            elif kind.key == "difference":
                layer.colormap = self._difference_colours()
                layer.opacity = 0.8
            else:
                layer.colormap = CONTOUR
                layer.opacity = 0.8
        selection = set(self._layers.selection)
        active = self._layers.selection.active
        self._layers.insert(self._place(kind), layer)
        # Adding a layer selects it; the annotator goes on painting on the layer that was selected.
        self._layers.selection = selection
        self._layers.selection.active = active
        layer.events.visible.connect(lambda: self.toggled.emit(kind.key))
        return layer

    def _place(self, kind: OverlayKind) -> int:
        """Return where a layer goes: under the annotation, maps under the prediction, regions over it."""
        order = ["entropy", "disagreement", "probabilities", "labels", "difference"]
        order += ["boundary", "superpixels", "proposal"]
        above = [self.made[key] for key in order[order.index(kind.key) + 1 :] if key in self.made]
        places = [self._layers.index(layer) for layer in [*above, self._below] if layer in self._layers]
        return min(places, default=len(self._layers))
