"""Small images of every format, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def blob(shape: tuple[int, ...], dtype: type = np.int16, seed: int = 0) -> np.ndarray:
    """Return an array in which every voxel can be told from its neighbours."""
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Return a rotation about the three axes, angles in radians."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation(0.2, -0.15, 0.3) * (0.8, 0.9, 3.0)
OBLIQUE[:3, 3] = (-71.25, 33.5, 120.125)


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE, **header: object) -> Path:
    """Write a NIfTI file with nibabel; ``header`` sets fields."""
    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


def save_itk(path: Path, array: np.ndarray, *, compress: bool = False) -> Path:
    """Write an array (x, y, z) with SimpleITK on an oblique grid."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((0.8, 0.9, 3.0))
    image.SetOrigin((10.5, -20.25, 30.125))
    image.SetDirection(rotation(0.2, -0.15, 0.3).ravel().tolist())
    sitk.WriteImage(image, str(path), compress)
    return path


def save_dicom(
    folder: Path,
    array: np.ndarray,
    *,
    uid: str = "1.2.3.4",
    iop: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    step: tuple[float, float, float] = (0, 0, 2.5),
    origin: tuple[float, float, float] = (-10, -20, 30),
    names: list[str] | None = None,
    **elements: object,
) -> list[Path]:
    """Write the slices of (planes, rows, columns) int16 as CT files, in shuffled name order."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(exist_ok=True, parents=True)
    paths = []
    order = np.random.default_rng(5).permutation(len(array))
    for index, plane in enumerate(array):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(index), str(elements)])
        path = folder / (names[index] if names else f"IM{order[index]:03d}.dcm")
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.Modality, data.SeriesDescription = uid, "CT", f"series {uid}"
        data.Rows, data.Columns = plane.shape
        data.PixelSpacing = [0.5, 0.75]
        data.ImageOrientationPatient = list(iop)
        data.ImagePositionPatient = [float(o + index * s) for o, s in zip(origin, step, strict=True)]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.InstanceNumber = index + 1
        data.PixelData = plane.astype("<i2").tobytes()
        for name, value in elements.items():
            setattr(data, name, value)
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        paths.append(path)
    return paths
