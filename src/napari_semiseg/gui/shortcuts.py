"""Every key of the panel, in one place: what it does and where it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_semiseg.gui.accepting import KEY as ACCEPT_KEY
from napari_semiseg.gui.outline_tool import KEY as OUTLINE_KEY
from napari_semiseg.gui.overlay_kinds import BY_KEY, SHORTCUT_OF
from napari_semiseg.gui.survey import HOLD_OUT_KEY, STEP_KEYS

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk


@dataclass(frozen=True)
class Shortcut:
    """A key; all but those of the volumes work while the annotation layer is selected.

    Attributes
    ----------
    key : str
        As napari writes it.
    group : str
        Where the sheet of keys lists it.
    text : str
        What it does.
    run : callable, optional
        Gets the desk and does it; None for keys that are napari's own.
    """

    key: str
    group: str
    text: str
    run: Callable[[Any], Any] | None = None

    @property
    def shown(self) -> str:
        """The key as people read it."""
        return self.key.replace("Control", "Ctrl").replace("-", " + " if len(self.key) > 1 else "-")


def _stepping(kind: str, direction: int) -> Callable[[Any], Any]:
    """Return what shows the next slice of a kind."""
    return lambda desk: desk.survey.step(kind, direction)


_STEPS = tuple(
    Shortcut(
        f"{shift}{key}",
        "Slices",
        f"{title} {kind} slice",
        _stepping(kind, direction),
    )
    for kind, key in STEP_KEYS.items()
    for shift, title, direction in (("", "Next", 1), ("Shift-", "Previous", -1))
)


def _showing(overlay: str) -> Callable[[Any], Any]:
    """Return what shows or hides an overlay."""
    return lambda desk: desk.review.toggle_overlay(overlay)


_OVERLAYS = tuple(
    Shortcut(key, "Overlays", f"Show or hide: {BY_KEY[overlay].title}", _showing(overlay))
    for overlay, key in SHORTCUT_OF.items()
)

SHORTCUTS = (
    Shortcut("Control-PageDown", "Volumes", "Next volume"),
    Shortcut("Control-PageUp", "Volumes", "Previous volume"),
    *_STEPS,
    Shortcut("Shift-S", "Slices", "Next state of this slice; confirms a proposed one", lambda desk: desk.marks.cycle()),
    Shortcut("Shift-R", "Slices", "This slice is reviewed", lambda desk: desk.marks.review()),
    Shortcut(HOLD_OUT_KEY, "Slices", "Hold this slice out, or learn from it", lambda desk: desk.survey.hold_out()),
    Shortcut(
        "Y",
        "Prediction",
        "Accept the prediction of this slice",
        lambda desk: desk.review.accept(overwrite=desk.accepting.overwrite),
    ),
    Shortcut(ACCEPT_KEY, "Prediction", "Accept by clicks, on or off", lambda desk: desk.accepting.toggle()),
    *_OVERLAYS,
    Shortcut("Shift-T", "Training", "Train, with what the Train tab says", lambda desk: desk.training_wanted.emit()),
    Shortcut("Shift-Q", "Training", "Stop, and keep what was learned", lambda desk: desk.training.stop()),
    Shortcut("[", "Painting", "Smaller brush"),
    Shortcut("]", "Painting", "Larger brush"),
    Shortcut("X", "Painting", "Swap the selected class and the eraser"),
    Shortcut(OUTLINE_KEY, "Painting", "Outline tool on or off", lambda desk: desk.outline.toggle()),
    Shortcut("Shift-P", "Painting", "Superpixel brush on or off", lambda desk: desk.superpixel_brush.toggle()),
    Shortcut(
        "Shift-M", "Painting", "Range mask of the brush on or off", lambda desk: desk.brush_settings.toggle_range()
    ),
    Shortcut("Shift-L", "Painting", "Lock or unlock the selected class", lambda desk: desk.brush.toggle_lock()),
    Shortcut("Control-Z", "Painting", "Undo"),
    Shortcut("Control-Shift-Z", "Painting", "Redo"),
    Shortcut("Shift-I", "Proposals", "Preview: fill between annotated slices", lambda desk: desk.proposals.fill()),
    Shortcut("Shift-Left", "Proposals", "Copy the previous annotated slice", lambda desk: desk.proposals.copy(-1)),
    Shortcut("Shift-Right", "Proposals", "Copy the next annotated slice", lambda desk: desk.proposals.copy(1)),
    Shortcut("Shift-H", "Proposals", "Preview: fill the holes of the class", lambda desk: desk.proposals.tidy("holes")),
    Shortcut(
        "Shift-K", "Proposals", "Preview: keep its largest component", lambda desk: desk.proposals.tidy("largest")
    ),
    Shortcut("Shift-W", "Proposals", "Apply the preview on this slice", lambda desk: desk.proposals.apply()),
    Shortcut(
        "Shift-E", "Proposals", "Apply the preview everywhere", lambda desk: desk.proposals.apply(everywhere=True)
    ),
    Shortcut("Shift-D", "Proposals", "Discard the preview", lambda desk: desk.proposals.discard()),
    Shortcut("F1", "Help", "This sheet", lambda desk: desk.keys_wanted.emit()),
)


def actions(desk: Desk) -> dict[str, Callable[[], Any]]:
    """Return what the keys do, by key."""
    return {entry.key: partial(entry.run, desk) for entry in SHORTCUTS if entry.run is not None}
