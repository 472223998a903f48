"""Damaged files give a volume or a sentence, never another exception."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_files import OBLIQUE, blob, save_dicom, save_itk, save_nifti

from napari_semiseg.errors import InputError
from napari_semiseg.io import read_volume

SHAPE = (9, 8, 7)
NAMES = (
    "a.nii", "a.nii.gz", "a2.nii", "a.hdr", "a.mgz", "a.nrrd", "raw.nrrd", "a.nhdr", "a.mha", "raw.mha", "a.mhd",
    "a.tif", "z.tif", "ij.tif", "a.dcm",
)  # fmt: skip


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("valid")
    array = blob(SHAPE)
    save_nifti(folder / "a.nii", array)
    save_nifti(folder / "a.nii.gz", array)
    nibabel.save(nibabel.Nifti2Image(array, OBLIQUE), folder / "a2.nii")
    nibabel.save(nibabel.Nifti1Pair(array, OBLIQUE), folder / "a.hdr")
    nibabel.save(nibabel.MGHImage(array, OBLIQUE.astype(np.float32)), folder / "a.mgz")
    for name in ("a.nrrd", "a.nhdr", "a.mha", "a.mhd"):
        save_itk(folder / name, array, compress=name in ("a.nrrd", "a.mha"))
    save_itk(folder / "raw.nrrd", array)
    save_itk(folder / "raw.mha", array)
    tifffile.imwrite(folder / "a.tif", array)
    tifffile.imwrite(folder / "z.tif", array, compression="zlib")
    tifffile.imwrite(folder / "ij.tif", array, imagej=True, metadata={"axes": "ZYX"})
    save_dicom(folder, array[:1], names=["a.dcm"])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _opens_or_explains(folder, name: str, files: dict[str, bytes]) -> None:
    for beside in ("a.img", "a.raw"):
        (folder / beside).write_bytes(files[beside])
    path = folder / name
    path.write_bytes(files[name])
    sentence, volume = "", None
    try:
        volume = read_volume(path)
    except InputError as error:
        sentence = str(error)
    path.unlink()
    assert "\n" not in sentence
    if volume is not None:
        assert volume.data.shape == volume.geometry.shape
        assert np.isfinite(volume.data).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 1))
def test_cut_anywhere(tmp_path, valid, name, part):
    content = valid[name]
    _opens_or_explains(tmp_path, name, {**valid, name: content[: int(part * len(content))]})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6), early=st.booleans())
def test_bytes_changed_anywhere(tmp_path, valid, name, changes, early):
    content = bytearray(valid[name])
    # Half of the examples hit the header, where a byte matters most.
    reach = min(len(content), 400) if early else len(content)
    for place, value in changes:
        content[min(int(place * reach), len(content) - 1)] = value
    _opens_or_explains(tmp_path, name, {**valid, name: bytes(content)})
