"""What a mask says when it is taken into a session."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.session.schema import SliceState


def from_mask(
    mask: np.ndarray | None, shape: tuple[int, int, int], complete_slices: Collection[int]
) -> tuple[np.ndarray, list[SliceState]]:
    """Turn a mask into said values and slice states.

    With 255 in the mask, planes without any 255 are complete and planes that say something are scribbled; without any
    255, planes that carry a label are complete and the others unlabelled.

    Parameters
    ----------
    mask : ndarray of uint8, shape (planes, rows, columns), or None
        Class ids, 0 background, 255 not said.
    shape : tuple of 3 ints
    complete_slices : collection of int
        Planes that are complete whatever the mask carries there.

    Returns
    -------
    said : ndarray of uint8, shape (planes, rows, columns)
        255 not painted, 0 a background stroke.
    states : list of SliceState
        One per plane.
    """
    said = np.full(shape, UNSAID, np.uint8)
    states = [SliceState.UNLABELLED] * shape[0]
    if mask is not None:
        unsaid = mask == UNSAID
        partial = bool(unsaid.any())
        for plane in range(shape[0]):
            if partial and unsaid[plane].all():
                continue
            if not partial and not mask[plane].any():
                continue
            whole = not unsaid[plane].any()
            states[plane] = SliceState.COMPLETE if whole else SliceState.SCRIBBLED
            # What is background on a complete plane need not be painted.
            said[plane] = np.where(mask[plane] == 0, UNSAID, mask[plane]) if whole else mask[plane]
    for plane in complete_slices:
        states[plane] = SliceState.COMPLETE
    return said, states
