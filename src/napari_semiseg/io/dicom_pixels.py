"""Decode the pixels of one DICOM file into the units of its rescale slope and intercept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io.dicom_files import number
from napari_semiseg.io.guard import quiet

# pydicom decodes these without further libraries and notices missing bytes; the others are GDCM's.
_PLAIN = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}


def decode(path: Path, header: Any) -> np.ndarray:
    """Return all frames of a file.

    Parameters
    ----------
    path : Path
        The file.
    header : pydicom.Dataset
        Its elements without pixels.

    Returns
    -------
    ndarray, shape (frames, rows, columns)
        Rescaled values; integers where slope and intercept are.

    Raises
    ------
    InputError
        If the pixels are missing, cut short or of a kind that cannot be decoded; the file is named.
    """
    syntax = str(getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", "") or "")
    try:
        with quiet():
            stored = _plain(path) if syntax in _PLAIN or not syntax else _compressed(path, header)
    except InputError:
        raise
    except Exception as error:  # both libraries raise many kinds on damaged pixels
        raise InputError(
            f"The pixels of '{path}' cannot be decoded: they are cut short, damaged, or packed in an unusual way "
            f"({' '.join(str(error).split())[-140:]}). Copy or export the file again."
        ) from error
    return stored.reshape((-1, *stored.shape[-2:]))


def joined(planes: list[np.ndarray]) -> np.ndarray:
    """Stack slices that may differ in type, as the rescale slope of PET differs from slice to slice.

    Returns
    -------
    ndarray, shape (slices, rows, columns)
        float32, or the smallest integer type among int16, uint16 and int32 that holds all values.
    """
    stacked = np.stack(planes)
    if stacked.dtype.kind == "f":
        return stacked.astype(np.float32)
    low, high = int(stacked.min()), int(stacked.max())
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        fits = np.iinfo(dtype)
        if stacked.dtype == dtype or (dtype is not np.uint8 and fits.min <= low and high <= fits.max):
            return stacked.astype(dtype)
    return stacked.astype(np.float64)


def _plain(path: Path) -> np.ndarray:
    import pydicom

    data = pydicom.dcmread(path, force=True)
    if "PixelData" not in data and "FloatPixelData" not in data:
        raise InputError(f"'{path}' has no pixels in it; copy or export it again.")
    if "TransferSyntaxUID" not in data.file_meta:
        guessed = pydicom.uid.ExplicitVRLittleEndian if data.original_encoding[0] is False else None
        data.file_meta.TransferSyntaxUID = guessed or pydicom.uid.ImplicitVRLittleEndian
    return _rescaled(np.asarray(data.pixel_array), data)


def _rescaled(stored: np.ndarray, data: Any) -> np.ndarray:
    """Apply slope and intercept, which an enhanced file may give per frame."""
    frames = stored.reshape((-1, *stored.shape[-2:]))
    groups = list(getattr(data, "PerFrameFunctionalGroupsSequence", None) or [])
    shared = list(getattr(data, "SharedFunctionalGroupsSequence", None) or [])
    done = []
    for index, frame in enumerate(frames):
        sources = [data, *groups[index : index + 1], *shared]
        sources += [s.PixelValueTransformationSequence[0] for s in sources if "PixelValueTransformationSequence" in s]
        slope = next((v for s in sources if (v := number(s, "RescaleSlope")) is not None), 1.0) or 1.0
        intercept = next((v for s in sources if (v := number(s, "RescaleIntercept")) is not None), 0.0)
        if (slope, intercept) == (1.0, 0.0):
            done.append(frame)
        elif slope.is_integer() and intercept.is_integer():
            done.append(frame.astype(np.int64) * int(slope) + int(intercept))
        else:
            done.append((frame.astype(np.float64) * slope + intercept).astype(np.float32))
    return np.stack(done)


def _compressed(path: Path, header: Any) -> np.ndarray:
    import SimpleITK as sitk

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    image = reader.Execute()
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"'{path}' is a colour (RGB) DICOM image; only greyscale volumes can be used.")
    pixels = sitk.GetArrayFromImage(image)  # GDCM has applied slope and intercept
    slope = number(header, "RescaleSlope")
    whole = slope is None or float(slope).is_integer()
    return pixels.astype(np.int64) if pixels.dtype.kind == "f" and whole and not (pixels % 1).any() else pixels
