"""Estimate φ_{fixed→moving} with SimpleITK: translation, affine, and B-splines by choice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import SimpleITK as sitk
import torch

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.registration.images import Image

_LEAST_VOXELS = 8  # along every axis after shrinking, and for registration at all
_SAMPLES = 60_000  # voxels that the metric looks at
_CONTROL_MM = 40.0  # distance of the B-splines' control points
_FIELD_STEPS = 2  # voxels between the nodes at which the B-splines' displacement is kept


class Stopped(Exception):
    """Somebody asked for a stop in the middle."""


def estimate(
    fixed: Image, moving: Image, *, deformable: bool, stopped: Callable[[], bool]
) -> Generator[float, None, PointMap | None]:
    """Register two volumes or two slices.

    Mutual information of 32 bins; from coarse to fine: translation, affine, then B-splines with control points every
    40 mm if ``deformable``. The centres of the images lie on each other at first.

    Parameters
    ----------
    fixed, moving : Image
    deformable : bool
    stopped : callable
        Looked at in every iteration.

    Yields
    ------
    float
        Part done, 0…1.

    Returns
    -------
    PointMap or None
        φ_{fixed→moving}, mm; None where the images cannot be registered: constant, too thin, or without overlap.

    Raises
    ------
    Stopped
    """
    if min(fixed.values.shape + moving.values.shape) < _LEAST_VOXELS or not (
        fixed.values.std() and moving.values.std()
    ):
        return None
    pair = _to_itk(fixed), _to_itk(moving)
    affine = sitk.AffineTransform(fixed.values.ndim)
    affine.SetCenter(_middle(fixed))
    affine.SetTranslation([b - a for a, b in zip(_middle(fixed), _middle(moving), strict=True)])
    translation = sitk.TranslationTransform(fixed.values.ndim, affine.GetTranslation())
    stages = [(translation, 4), (affine, 4), (affine, 2), (affine, 1)]
    total = len(stages) + 2 * deformable
    try:
        for done, (transform, shrink) in enumerate(stages):
            _optimise(pair, transform, None, _feasible(fixed, moving, shrink), stopped)
            if transform is translation:
                affine.SetTranslation(translation.GetOffset())
            yield (done + 1) / total
        if not deformable:
            return _affine_map(affine)
        mesh = [max(1, round(n * s / _CONTROL_MM)) for n, s in _sizes(fixed)]
        splines = sitk.BSplineTransformInitializer(pair[0], mesh, order=3)
        for done, shrink in enumerate((4, 2), start=len(stages)):
            _optimise(pair, splines, affine, _feasible(fixed, moving, shrink), stopped)
            yield (done + 1) / total
    except RuntimeError:  # ITK: all samples map outside, or all are equal
        if stopped():
            raise Stopped from None
        return None
    return _deformable_map(affine, splines, fixed)


def _optimise(
    pair: tuple[sitk.Image, sitk.Image],
    transform: sitk.Transform,
    before: sitk.Transform | None,
    shrink: int,
    stopped: Callable[[], bool],
) -> None:
    """Improve a transform in place; ``before`` is applied to what it returns."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    voxels = pair[0].GetNumberOfPixels() / shrink ** pair[0].GetDimension()
    method.SetMetricSamplingStrategy(method.REGULAR)  # unlike random samples, the same every time
    samples = _SAMPLES if before is None else _SAMPLES / 3  # a step of the splines takes far longer
    method.SetMetricSamplingPercentage(min(1.0, samples / voxels))
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([shrink / 2 if shrink > 1 else 0])
    method.SetInterpolator(sitk.sitkLinear)
    spacing = max(pair[0].GetSpacing())
    method.SetInitialTransform(transform, inPlace=True)
    if before is not None:
        method.SetMovingInitialTransform(before)
        method.SetOptimizerAsLBFGSB(numberOfIterations=30, maximumNumberOfFunctionEvaluations=40)
    else:
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=shrink * spacing,
            minStep=0.01 * spacing,
            numberOfIterations=100,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-6,
        )
    method.AddCommand(sitk.sitkIterationEvent, lambda: method.StopRegistration() if stopped() else None)
    method.Execute(*pair)
    if stopped():
        raise Stopped


def _feasible(fixed: Image, moving: Image, shrink: int) -> int:
    return max(1, min(shrink, min(fixed.values.shape + moving.values.shape) // _LEAST_VOXELS))


def _to_itk(image: Image) -> sitk.Image:
    made = sitk.GetImageFromArray(image.values)
    made.SetSpacing(image.spacing[::-1])
    made.SetOrigin([s / 2 for s in image.spacing[::-1]])  # points count from the outer corner
    return made


def _sizes(image: Image) -> list[tuple[int, float]]:
    """Return voxels and spacing per axis in ITK's order."""
    return list(zip(image.values.shape[::-1], image.spacing[::-1], strict=True))


def _middle(image: Image) -> list[float]:
    return [n * s / 2 for n, s in _sizes(image)]


def _affine_map(affine: sitk.AffineTransform) -> PointMap:
    """Turn ITK's x, y, z and its centre into rows and columns and an offset."""
    axes = affine.GetDimension()
    matrix = np.array(affine.GetMatrix()).reshape(axes, axes)
    centre = np.array(affine.GetCenter())
    offset = np.array(affine.GetTranslation()) + centre - matrix @ centre
    return PointMap(_tensor(matrix[::-1, ::-1]), _tensor(offset[::-1]))


def _deformable_map(affine: sitk.AffineTransform, splines: sitk.Transform, fixed: Image) -> PointMap:
    """Return affine(splines(x)) as the affine map and a displacement after it."""
    whole = sitk.CompositeTransform([affine, splines])  # the last one is applied first
    sizes = [max(2, n // _FIELD_STEPS) for n, _ in _sizes(fixed)]
    step = [n * s / size for (n, s), size in zip(_sizes(fixed), sizes, strict=True)]
    field = sitk.TransformToDisplacementField(whole, sitk.sitkVectorFloat64, sizes, [s / 2 for s in step], step)
    rest = sitk.TransformToDisplacementField(affine, sitk.sitkVectorFloat64, sizes, [s / 2 for s in step], step)
    moved = sitk.GetArrayFromImage(field) - sitk.GetArrayFromImage(rest)
    plain = _affine_map(affine)
    return PointMap(plain.matrix, plain.offset, _tensor(np.moveaxis(moved[..., ::-1], -1, 0)), tuple(step[::-1]))


def _tensor(values: np.ndarray | Sequence[float]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
