"""Built-in sample volumes: a cardiac MRI and an abdominal CT, another patient for every seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_semiseg.data import phantom_abdomen, phantom_cardiac


@dataclass(frozen=True)
class Phantom:
    """A made-up volume with its true segmentation.

    Attributes
    ----------
    image : ndarray of int16, shape (planes, rows, columns)
        Arbitrary units (MRI) or HU (CT). Planes run to superior, rows to posterior, columns to the patient's left.
    labels : ndarray of uint8, same shape
        Class ids, 0 background.
    spacing : tuple of 3 floats
        mm; plane, row, column.
    class_names : dict of int to str
    name : str
    """

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    class_names: dict[int, str]
    name: str


def cardiac(seed: int = 0, planes: int = 12) -> Phantom:
    """Return a short-axis cardiac MRI: right ventricle 1, myocardium 2, left ventricle 3.

    Papillary muscles and trabeculae look like myocardium and belong to the cavity, vessels and chambers nearby are as
    bright as the ventricles, liver and muscle as dark as the myocardium: no threshold finds any of the three.

    Parameters
    ----------
    seed : int
        The patient: place, size, wall thickness, contrast, noise.
    planes : int
        Planes of 8 mm, at least 6.
    """
    image, labels = phantom_cardiac.image_and_labels(np.random.default_rng(seed), max(6, planes))
    return Phantom(image, labels, phantom_cardiac.SPACING, dict(phantom_cardiac.CLASS_NAMES), f"cardiac-mri-{seed}")


def abdomen(seed: int = 0) -> Phantom:
    """Return an abdominal CT in HU: liver 1, spleen 2, right kidney 3, left kidney 4, aorta 5.

    Stomach wall, bowel, muscles, vena cava and pancreas lie within a few HU of their neighbours.

    Parameters
    ----------
    seed : int
        The patient: size, place of the organs, attenuation, noise.
    """
    image, labels = phantom_abdomen.image_and_labels(np.random.default_rng(seed))
    return Phantom(image, labels, phantom_abdomen.SPACING, dict(phantom_abdomen.CLASS_NAMES), f"abdominal-ct-{seed}")
