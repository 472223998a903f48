"""Estimate φ_{fixed→moving} with SimpleITK: translation, affine, and B-splines by choice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import SimpleITK as sitk
import torch

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.registration.images import Image
from napari_semiseg.registration.similarity import likeness

_LEAST_VOXELS = 8  # along every axis after shrinking, and for registration at all
_LEAST_IN_ALL = 3000
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
    best = _Best(fixed, moving)
    affine = sitk.AffineTransform(fixed.values.ndim)
    affine.SetCenter(_middle(fixed))
    affine.SetTranslation([b - a for a, b in zip(_middle(fixed), _middle(moving), strict=True)])
    affine = best.keep(affine)
    translation = sitk.TranslationTransform(fixed.values.ndim, affine.GetTranslation())
    stages = (4, 4, 2, 1)
    total = len(stages) + 2 * deformable
    try:
        for done, shrink in enumerate(stages):
            _optimise(pair, affine if done else translation, None, shrink, _feasible(fixed, moving, shrink), stopped)
            if not done:
                affine.SetTranslation(translation.GetOffset())
            affine = best.keep(affine)
            yield (done + 1) / total
        if not deformable:
            return _affine_map(affine)
        mesh = [max(1, round(n * s / _CONTROL_MM)) for n, s in _sizes(fixed)]
        splines = sitk.BSplineTransformInitializer(pair[0], mesh, order=3)
        for done, shrink in enumerate((4, 2), start=len(stages)):
            _optimise(pair, splines, affine, shrink, _feasible(fixed, moving, shrink), stopped)
            yield (done + 1) / total
    except RuntimeError:  # ITK: all samples map outside, or all are equal
        if stopped():
            raise Stopped from None
        return None
    bent = _deformable_map(affine, splines, fixed)
    return bent if likeness(fixed, moving, bent) >= best.value else _affine_map(affine)


class _Best:
    """The affine transform through which the whole images are most alike.

    On noisy or symmetric images an optimiser that sees some thousand samples may walk away from where it began.
    """

    def __init__(self, fixed: Image, moving: Image) -> None:
        self.fixed, self.moving = fixed, moving
        self.value = -1.0
        self.transform: sitk.AffineTransform | None = None

    def keep(self, affine: sitk.AffineTransform) -> sitk.AffineTransform:
        """Take a transform if it is the best so far; return a copy of the best one."""
        value = likeness(self.fixed, self.moving, _affine_map(affine))
        if self.transform is None or value > self.value:
            self.value, self.transform = value, sitk.AffineTransform(affine)
        return sitk.AffineTransform(self.transform)


def _optimise(
    pair: tuple[sitk.Image, sitk.Image],
    transform: sitk.Transform,
    before: sitk.Transform | None,
    coarseness: int,
    shrink: int,
    stopped: Callable[[], bool],
) -> None:
    """Improve a transform in place; ``before`` is applied to what it returns.

    Images are smoothed as suits ``coarseness`` and shrunk by ``shrink``, which may be less.
    """
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    voxels = pair[0].GetNumberOfPixels() / shrink ** pair[0].GetDimension()
    method.SetMetricSamplingStrategy(method.REGULAR)
    samples = _SAMPLES if before is None else _SAMPLES / 3  # a step of the splines takes far longer
    # Samples are moved a little within their voxels, by the same random numbers every time.
    method.SetMetricSamplingPercentage(min(1.0, samples / voxels), seed=1)
    method.SetShrinkFactorsPerLevel([shrink])
    # Images too small to be shrunk are smoothed all the same.
    method.SetSmoothingSigmasPerLevel([coarseness / 2 if coarseness > 1 else 0])
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
    """Return how far images can be shrunk: to 8 voxels along an axis and 3000 in all, which fill the 32² bins."""
    enough = min(fixed.values.size, moving.values.size) / _LEAST_IN_ALL
    thinnest = min(fixed.values.shape + moving.values.shape) // _LEAST_VOXELS
    return max(1, min(shrink, thinnest, int(enough ** (1 / fixed.values.ndim))))


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
