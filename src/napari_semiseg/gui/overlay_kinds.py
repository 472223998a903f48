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
    OverlayKind("labels", "Prediction", "What the model would paint", "labels"),
    OverlayKind("entropy", "Entropy", "0 the model is sure … 1 it cannot decide", "map", "inferno"),
    OverlayKind(
        "disagreement",
        "Disagreement",
        "0 networks (or network and walk) agree … 1 they contradict",
        "map",
        "magma",
    ),
    OverlayKind("probabilities", "Probability", "Of the selected class: 0 never … 1 certain", "map", "viridis"),
    OverlayKind("boundary", "Boundary regions", "Edge (bright) and interior of the selected class", "regions"),
    OverlayKind(
        "difference",
        "Difference",
        "Two rounds: the later one's class where they differ, white where it is gone",
        "regions",
    ),
    OverlayKind("superpixels", "Superpixels", "Patches of like intensity; size in the Label tab", "regions"),
)

PROPOSAL = OverlayKind("proposal", "Preview", "What a tool would paint; grey: what it would erase", "labels")
"""Shown and hidden by the tools themselves, so it is none of those that are switched on in the Review tab."""

SHORTCUT_OF = {kind.key: f"Control-{number}" for number, kind in enumerate(KINDS, 1)}
"""Keys that show and hide them, in the order of the Review tab."""

BY_KEY = {kind.key: kind for kind in (*KINDS, PROPOSAL)}
