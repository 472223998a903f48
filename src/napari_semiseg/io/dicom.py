"""Put the slices of a DICOM series in order and decode them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import ChoiceNeeded, InputError
from napari_semiseg.io import orientation
from napari_semiseg.io.dicom_files import Scan, Series, Slice, is_dicom, number, read_header, scan, slices, text
from napari_semiseg.io.dicom_pixels import decode, joined
from napari_semiseg.io.guard import reading
from napari_semiseg.io.itk import LPS_TO_RAS
from napari_semiseg.io.volume import RawImage, SeriesInfo

_SAME_PLACE_MM = 0.01
_UNEVEN_NOTE = 0.01
_UNEVEN_LIMIT = 0.25
_MISSING_STEP = 1.5


def list_dicom(path: Path) -> list[SeriesInfo]:
    """List the image series of a folder, or of the folder of a DICOM file; none beside a file of another kind."""
    found: list[SeriesInfo] = []
    if path.is_file() and not is_dicom(path):
        return found
    with reading(path, "DICOM"):
        for series in scan(path).series:
            frames = sum(int(number(header, "NumberOfFrames") or 1) for header in series.headers.values())
            folder = next(iter(series.headers)).parent
            found.append(SeriesInfo(series.uid, series.description, series.modality, frames, folder))
    return found


def read_dicom(path: Path, series: str | None = None) -> RawImage:
    """Read the headers of a series and put its slices in order of their position.

    Parameters
    ----------
    path : Path
        A folder, or any file of the series.
    series : str, optional
        SeriesInstanceUID, needed if a folder holds several.

    Raises
    ------
    ChoiceNeeded
        If the folder holds several series and none was chosen.
    InputError
        If there is no image series, or slices are missing, unreadable, turned against each other or of several sizes.
    """
    found = scan(path)
    with reading(path, "DICOM"):
        chosen = _choose(path, found, series)
        planes, notes = _planes(path, chosen)
        notes += _unreadable_beside(path, found, chosen, len({plane.file for plane in planes}))
        stacks, step, geometry_notes = _stack(chosen, planes)
        first = stacks[0][0]
        affine = np.eye(4)
        affine[:3, 0] = np.array(first.row_direction) * first.spacing[1]
        affine[:3, 1] = np.array(first.column_direction) * first.spacing[0]
        affine[:3, 2] = step
        affine[:3, 3] = first.position
        headers = chosen.headers
        if text(headers[first.file], "PhotometricInterpretation") == "MONOCHROME1":
            notes.append("The images are meant to be shown with low values bright; their numbers are used as they are.")
        return RawImage(
            format="dicom",
            shape=(first.shape[1], first.shape[0], len(stacks[0])),
            affine=LPS_TO_RAS @ affine,
            load=_loader(stacks),
            frames=[_describe_frame(index, stack, headers) for index, stack in enumerate(stacks)],
            header={"modality": chosen.modality, "oriented": first.placed},
            notes=notes + geometry_notes,
            files=sorted({plane.file for plane in planes}),
            series=chosen.uid,
        )


def _choose(path: Path, found: Scan, wanted: str | None) -> Series:
    if wanted is not None:
        chosen = [s for s in found.series if s.uid == wanted]
        if not chosen:
            known = ", ".join(s.uid for s in found.series) or "none"
            raise InputError(f"'{path}' has no DICOM series '{wanted}'; it has {known}.")
        return chosen[0]
    if path.is_file():
        if path in found.others:
            raise InputError(_not_image_sentence(path, found.others[path]))
        if path in found.unreadable:
            raise InputError(f"'{path}' cannot be read as DICOM ({found.unreadable[path]}); copy or export it again.")
        return next(s for s in found.series if path in s.headers)
    if not found.series:
        if found.others:
            file, kind = next(iter(found.others.items()))
            raise InputError(_not_image_sentence(file, kind))
        if found.unreadable:
            file, reason = next(iter(found.unreadable.items()))
            raise InputError(f"The folder '{path}' holds no readable DICOM image; '{file.name}': {reason}.")
        raise InputError(_no_images_sentence(path))
    if len(found.series) > 1:
        choices = [(s.uid, _describe_series(s)) for s in found.series]
        listed = "; ".join(f"{uid} ({label})" for uid, label in choices)
        raise ChoiceNeeded(
            f"The folder '{path}' holds {len(choices)} DICOM series; choose one by its SeriesInstanceUID: {listed}.",
            "series",
            list(choices),
        )
    return found.series[0]


def _not_image_sentence(file: Path, kind: str) -> str:
    return (
        f"'{file}' is {kind}, not an image; open the image series it belongs to, or convert it to a NIfTI mask with "
        "3D Slicer or dcmqi."
    )


def _no_images_sentence(path: Path) -> str:
    names = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if not names:
        return f"The folder '{path}' is empty; give an image file or a folder with a DICOM series."
    return (
        f"The folder '{path}' holds no DICOM images (its first entry is '{names[0]}'); give a folder with a DICOM "
        "series, or an image file itself."
    )


def _describe_series(series: Series) -> str:
    return f"{series.modality or 'unknown modality'} {series.description}".strip() + f", {len(series.headers)} files"


def _describe_frame(index: int, stack: list[Slice], headers: dict[Path, Any]) -> str:
    parts = [f"image {index} at each position"]
    header = headers[stack[0].file]
    for name, label in (("EchoTime", "echo time {} ms"), ("TriggerTime", "trigger time {} ms")):
        value = number(header, name)
        if value is not None:
            parts.append(label.format(f"{value:g}"))
    return ", ".join(parts)


def _unreadable_beside(path: Path, found: Scan, chosen: Series, files: int) -> list[str]:
    """Return notes on damaged files among the slices of a series.

    Raises
    ------
    InputError
        If the folder has one series only: the damaged file is most likely one of its slices, which the volume would
        silently lack.
    """
    folders = {file.parent for file in chosen.headers}
    beside = [(file, why) for file, why in found.unreadable.items() if file.parent in folders]
    if not beside or (path.is_file() and files == 1):
        return []
    file, why = beside[0]
    alone = all(series is chosen or folders.isdisjoint(f.parent for f in series.headers) for series in found.series)
    if alone:
        raise InputError(
            f"'{file}' cannot be read ({why}); it lies among the slices of the series and may be one of them. Copy or "
            "export it again, or move it out of the folder."
        )
    return [f"'{file.name}' in the same folder cannot be read ({why}) and was left out."]


def _planes(path: Path, series: Series) -> tuple[list[Slice], list[str]]:
    """Return every plane once; a second file of the same instance is left out.

    Careless anonymisers give all slices one instance UID, so the position must be the same as well.
    """
    notes: list[str] = []
    seen: dict[tuple[str, str], Path] = {}
    planes: list[Slice] = []
    # The file that was asked for comes first, so that it is the one kept of two copies.
    for file in sorted(series.headers, key=lambda f: f != path):
        header = series.headers[file]
        instance = text(header, "SOPInstanceUID"), text(header, "ImagePositionPatient")
        if instance[0] and instance in seen:
            notes.append(f"'{file.name}' is a copy of '{seen[instance].name}' and was left out.")
            continue
        seen[instance] = file
        planes += slices(file, series.headers[file], lone=len(series.headers) == 1)
    return planes, notes


def _stack(series: Series, planes: list[Slice]) -> tuple[list[list[Slice]], np.ndarray, list[str]]:
    """Order planes along their normal.

    Returns
    -------
    stacks : list of list of Slice
        One stack per image that each position has (time points, echoes).
    step : ndarray, shape (3,)
        From one plane to the next, LPS mm.
    notes : list of str
        Sentences for the user.
    """
    first = planes[0]
    _refuse_mixture(planes)
    normal = np.cross(first.row_direction, first.column_direction)
    heights = np.array([float(normal @ np.array(p.position)) for p in planes])
    groups: list[list[Slice]] = []
    levels: list[float] = []
    for index in np.argsort(heights, kind="stable"):
        if levels and heights[index] - levels[-1] < _SAME_PLACE_MM:
            groups[-1].append(planes[index])
        else:
            groups.append([planes[index]])
            levels.append(float(heights[index]))
    counts = {len(group) for group in groups}
    if len(counts) > 1:
        usual = max(counts, key=lambda n: sum(len(g) == n for g in groups))
        odd = [f"{level:.2f}" for level, group in zip(levels, groups, strict=True) if len(group) != usual]
        raise InputError(
            f"The DICOM series has {usual} image(s) at most positions but another number at {_enumerate(odd)} mm "
            "along its normal; slices are missing or several series are mixed. Export the series again."
        )
    stacks = [list(stack) for stack in zip(*(sorted(g, key=lambda p: p.order) for g in groups), strict=True)]
    step, notes = _step(stacks[0], normal, np.array(levels))
    return stacks, step, notes


def _refuse_mixture(planes: list[Slice]) -> None:
    first = planes[0]
    for plane in planes:
        same = np.allclose(plane.row_direction, first.row_direction, atol=5e-3) and np.allclose(
            plane.column_direction, first.column_direction, atol=5e-3
        )
        if not same:
            raise InputError(
                f"The DICOM series mixes slices of different orientation ('{first.file.name}' and '{plane.file.name}' "
                "are turned against each other), so they are no volume. Keep the files of one orientation in a folder."
            )
        if plane.shape != first.shape:
            raise InputError(
                f"The DICOM series mixes slices of different size: '{first.file.name}' has {first.shape} rows and "
                f"columns, '{plane.file.name}' {plane.shape}. Keep the files of one size in a folder."
            )
        if not np.allclose(plane.spacing, first.spacing, rtol=1e-3):
            raise InputError(
                f"The DICOM series mixes pixel spacings: '{first.file.name}' has {first.spacing} mm, "
                f"'{plane.file.name}' {plane.spacing} mm. Keep the files of one spacing in a folder."
            )


def _regular(levels: np.ndarray) -> tuple[float, float, list[str]]:
    """Return the usual gap between slices in mm, the largest relative deviation from it, and what to note about it.

    Raises
    ------
    InputError
        If slices are missing, or too unevenly spaced.
    """
    gaps = np.diff(levels)
    usual = float(np.median(gaps)) if len(gaps) > 2 else float(gaps.min())
    missing: list[str] = []
    for level, gap in zip(levels, gaps, strict=False):
        if gap > _MISSING_STEP * usual:
            missing += [f"{level + n * usual:.2f}" for n in range(1, round(gap / usual))]
    if missing:
        raise InputError(
            f"The DICOM series lacks {len(missing)} slice(s): with {usual:g} mm between slices, nothing is at "
            f"{_enumerate(missing)} mm along its normal. Export the whole series again."
        )
    uneven = float(np.abs(gaps / usual - 1).max())
    if uneven > _UNEVEN_LIMIT:
        raise InputError(
            f"The slices of the DICOM series are unevenly spaced, from {gaps.min():.3g} to {gaps.max():.3g} mm; "
            "resample it to even spacing (for instance in 3D Slicer) and open that."
        )
    notes = []
    if uneven > _UNEVEN_NOTE:
        notes.append(
            f"The distance between slices varies from {gaps.min():.3f} to {gaps.max():.3f} mm; its mean is used."
        )
    return usual, uneven, notes


def _step(stack: list[Slice], normal: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    if not stack[0].placed:
        note = "The file does not say where it lies in the patient; its pixels are taken as an axial plane"
        return normal.copy(), [f"{note}, {stack[0].spacing[0]:g} x {stack[0].spacing[1]:g} mm each."]
    if len(stack) == 1:
        if stack[0].thickness is not None:
            return normal * stack[0].thickness, []
        return normal.copy(), ["The file gives no slice thickness; 1 mm was taken."]
    usual, uneven, notes = _regular(levels)
    positions = np.array([plane.position for plane in stack])
    step = (positions[-1] - positions[0]) / (len(stack) - 1)
    tilt = orientation.angle_between_vectors(step, normal)
    straight = positions[0] + np.arange(len(stack))[:, None] * step
    if np.abs(positions - straight).max() > max(0.5 * min(stack[0].spacing), 0.1 * usual) and uneven <= _UNEVEN_NOTE:
        raise InputError(
            "The slices of the DICOM series are shifted sideways against each other, so they form no regular volume; "
            "several series may be mixed."
        )
    if tilt > 0.5:
        notes.append(
            f"The gantry was tilted by {tilt:.1f} degrees, so each slice is shifted against the last; "
            "slices are shown as "
            "if they were straight, and exports keep the shear."
        )
    return step, notes


def _loader(stacks: list[list[Slice]]) -> Callable[[int], np.ndarray]:
    def load(frame: int) -> np.ndarray:
        headers: dict[Path, Any] = {}
        planes = []
        for plane in stacks[frame]:
            if plane.file not in headers:
                headers[plane.file] = decode(plane.file, read_header(plane.file))
            pixels = headers[plane.file][plane.frame]
            if pixels.shape != plane.shape:
                raise InputError(f"'{plane.file}' has {pixels.shape} pixels, but its header says {plane.shape}.")
            planes.append(pixels)
        return joined(planes).transpose(2, 1, 0)

    return load


def _enumerate(words: list[str], most: int = 8) -> str:
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
