"""The overlays by name: what they show, in one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OverlayKind:
    """One overlay.

    Attributes
    ----------
    key : str
        Also the name of the stored map it shows, if it shows one.
    title : str
        Layer name and text of its toggle.
    legend : str
        One line for the panel.
    drawn_as : str
        ``"labels"`` in class colours, ``"map"`` from 0 to 1, ``"regions"`` computed for the shown slice.
    colormap : str
        Of maps.
    """

    key: str
    title: str
    legend: str
    drawn_as: Literal["labels", "map", "regions"]
    colormap: str = ""


KINDS = (
    OverlayKind("labels", "Prediction", "What the model would paint, in the class colours", "labels"),
    OverlayKind("entropy", "Entropy", "How undecided the model is: 0 sure, 1 all classes alike", "map", "inferno"),
    OverlayKind(
        "disagreement", "Disagreement", "Where the two networks differ: 0 they agree, 1 they contradict", "map", "magma"
    ),
    OverlayKind(
        "probabilities", "Probability", "How likely the selected class is there: 0 never, 1 certain", "map", "viridis"
    ),
    OverlayKind(
        "boundary", "Boundary regions", "Edge (bright) and interior (dark) that boundary methods learn from", "regions"
    ),
    OverlayKind(
        "superpixels", "Superpixels", "Outlines of patches of like intensity (Label tab sets their size)", "regions"
    ),
)

BY_KEY = {kind.key: kind for kind in KINDS}
