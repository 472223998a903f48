"""What the panel says about slices: states, how painting changes them, what is listed. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_semiseg.session import SliceState
from napari_semiseg.session.annotation import SILENT

TITLES = {
    SliceState.UNLABELLED: "Unlabelled",
    SliceState.PROPOSED: "Proposed",
    SliceState.SCRIBBLED: "Scribbled",
    SliceState.COMPLETE: "Complete",
    SliceState.REVIEWED: "Reviewed",
}

MEANINGS = {
    SliceState.UNLABELLED: "Nothing is said about this slice; the model learns from its image only.",
    SliceState.PROPOSED: "Filled in by a tool, not learned from: paint on it, or confirm it as complete (Shift-S).",
    SliceState.SCRIBBLED: "Only what is painted counts; background needs strokes too (key B).",
    SliceState.COMPLETE: "What is not painted is background.",
    SliceState.REVIEWED: "Complete, and looked at by you.",
}

COMPLETE_STATES = (SliceState.COMPLETE, SliceState.REVIEWED)
"""States in which what is not painted is background."""

CHOICES = (SliceState.UNLABELLED, SliceState.SCRIBBLED, SliceState.COMPLETE, SliceState.REVIEWED)


def next_state(state: SliceState) -> SliceState:
    """Return the state that the key turns a slice into; it confirms a proposed one as complete."""
    if state is SliceState.PROPOSED:
        return SliceState.COMPLETE
    return CHOICES[(CHOICES.index(state) + 1) % len(CHOICES)]


def state_after_edit(state: SliceState, plane: NDArray[np.uint8], mode: SliceState, *, automatic: bool) -> SliceState:
    """Return the state of a slice after its voxels changed.

    Parameters
    ----------
    state : SliceState
        The state before.
    plane : ndarray, shape (rows, columns)
        Layer values, 0 where nothing is painted.
    mode : SliceState
        What painting on an unlabelled or proposed slice makes of it: `COMPLETE` or `SCRIBBLED`.
    automatic : bool
        The state before was set by painting, not by the user, so undoing the painting takes it back.
    """
    painted = bool(plane.any())
    if painted and state in SILENT:
        return mode
    if not painted and (state in (SliceState.SCRIBBLED, SliceState.PROPOSED) or automatic):
        return SliceState.UNLABELLED
    return state


def annotated(states: Sequence[SliceState]) -> list[int]:
    """Return the planes about which something is said, in order."""
    return [plane for plane, state in enumerate(states) if state not in SILENT]


def summary(states: Sequence[SliceState]) -> str:
    """Return one short sentence such as "5 of 88 slices annotated (2 by scribbles)"."""
    count = len(annotated(states))
    scribbled = sum(state is SliceState.SCRIBBLED for state in states)
    proposed = sum(state is SliceState.PROPOSED for state in states)
    text = f"{count} of {len(states)} slices annotated"
    text += f" ({scribbled} by scribbles)" if scribbled else ""
    return f"{text}, {proposed} proposed" if proposed else text
