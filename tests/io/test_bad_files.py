"""Every kind of bad input gets one sentence that names the file and what would work."""

from __future__ import annotations

import os
import zipfile

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from small_files import OBLIQUE, blob, save_itk, save_nifti

from napari_semiseg.errors import InputError
from napari_semiseg.io import content_hash, describe, list_series, read_volume

SHAPE = (7, 6, 5)


def _sentence(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.nii.gz", b"", "empty"),
        ("a.nii", b"Dear doctor, here is the volume.\n", "text file"),
        ("a.nii.gz", b"hello", "text file"),
        ("a.dcm", b"hello", "does not begin like one"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(90), "PNG picture"),
        ("a.nii", b"\xff\xd8\xff" + bytes(90), "JPEG picture"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
        ("a.npy", b"\x93NUMPY" + bytes(90), "NumPy"),
        ("a.bin", bytes(range(256)) * 9, "not an image"),
        ("a.nii", bytes(400), "not an image"),
        ("a.nrrd", b"NRRD0004\ntype: short\n", "lacks 'dimension'"),
        ("a.mha", b"ObjectType = Image\nNDims = 3\n", "lacks 'ElementDataFile'"),
        ("a.tif", b"II*\0" + bytes(4), "TIFF"),
        ("a.nii.gz", b"\x1f\x8b\x08\0" + bytes(30), "."),
    ],
)
def test_strangers(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    sentence = _sentence(path)
    assert words in sentence
    assert name in sentence


def test_paths(tmp_path):
    assert "no file or folder 'gone.nii'" in _sentence(tmp_path / "gone.nii")
    assert "no file or folder" in _sentence(tmp_path / "no" / "where.nii")
    (tmp_path / "empty").mkdir()
    assert "is empty" in _sentence(tmp_path / "empty")
    (tmp_path / "empty" / "letter.txt").write_text("no images here")
    assert "no DICOM images (its first entry is 'letter.txt')" in _sentence(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "b")
    assert "is a ZIP archive, not a volume. Unpack it" in _sentence(tmp_path / "a.zip")
    assert "not a DICOM file" in _sentence(save_nifti(tmp_path / "a.nii", blob(SHAPE)), series="1.2")
    assert "0, 1 or 2" in _sentence(tmp_path / "a.nii", axis=4)


@pytest.mark.parametrize("what", [read_volume, content_hash, describe, list_series])
def test_no_permission(tmp_path, what, monkeypatch):
    path = save_nifti(tmp_path / "secret.nii", blob(SHAPE))
    path.chmod(0)
    if os.access(path, os.R_OK):  # an administrator reads everything: let the system refuse in another way
        original = type(path).open

        def refuse(self, *args, **options):
            if self.name == "secret.nii":
                raise PermissionError(13, "Permission denied", str(self))
            return original(self, *args, **options)

        monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(InputError, match="permission is denied"):
        what(path)


class TestCutShort:
    """SimpleITK shows a truncated file as a volume that is dark at the end; nobody would notice."""

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    @pytest.mark.parametrize("part", [0.2, 0.6, 0.99])
    def test_nifti(self, tmp_path, name, part):
        path = save_nifti(tmp_path / name, blob((20, 20, 20)))
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        assert "cut short" in _sentence(path)

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("part", [0.5, 0.95])
    def test_one_file(self, tmp_path, name, compress, part):
        path = save_itk(tmp_path / name, blob((20, 20, 20)), compress=compress)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        assert "cut short" in _sentence(path)

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
    def test_detached(self, tmp_path, name, compress):
        path = save_itk(tmp_path / name, blob((20, 20, 20)), compress=compress)
        (data,) = [p for p in tmp_path.iterdir() if p != path]
        data.write_bytes(data.read_bytes()[:-400])
        assert "cut short" in _sentence(path)
        data.unlink()
        assert "not beside it" in _sentence(path)


@pytest.mark.parametrize(
    "place", ["../secret.raw", "/etc/passwd", "..\\secret.raw", "C:\\secret.raw", "sub/../../secret.raw"]
)
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_data_outside_of_the_folder_are_not_followed(tmp_path, place, kind):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(2 * 24))
    path = save_itk(folder / f"a.{kind}", blob((4, 3, 2)))
    path.write_text(path.read_text().replace("a.raw", place))
    assert "outside of its own folder" in _sentence(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    path = save_itk(folder / "a.mhd", blob((4, 3, 2)))
    (folder / "a.raw").rename(tmp_path / "a.raw")
    (folder / "a.raw").symlink_to(tmp_path / "a.raw")
    assert "outside of its own folder" in _sentence(path)


class TestSpacing:
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_nifti(self, tmp_path, value):
        path = save_nifti(tmp_path / "a.nii", blob(SHAPE))
        raw = bytearray(path.read_bytes())
        raw[80:84] = np.float32(value).tobytes()
        path.write_bytes(raw)
        assert "every spacing must be above 0" in _sentence(path)

    # A negative component of a direction in NRRD is a flip, not a spacing.
    @pytest.mark.parametrize(
        ("name", "value"), [("a.mha", "0"), ("a.mha", "-1"), ("a.mha", "inf"), ("a.nrrd", "0"), ("a.nrrd", "inf")]
    )
    def test_text_headers(self, tmp_path, name, value):
        sitk.WriteImage(sitk.GetImageFromArray(blob((5, 6, 7))), str(tmp_path / name))
        raw = (tmp_path / name).read_bytes()
        if name == "a.mha":
            raw = raw.replace(b"ElementSpacing = 1 1 1", f"ElementSpacing = 1 {value} 1".encode())
        else:
            raw = raw.replace(b"(0,1,0)", f"(0,{value},0)".encode())
        (tmp_path / name).write_bytes(raw)
        assert "above 0" in _sentence(tmp_path / name)

    def test_nrrd_spacings(self, tmp_path):
        header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nspacings: 1 0 2\n\n"
        (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(range(24)))
        assert "above 0" in _sentence(tmp_path / "a.nrrd")

    def test_axes_that_do_not_span_a_volume(self, tmp_path):
        flat = np.eye(4)
        flat[2, 2] = 0
        image = nibabel.Nifti1Image(blob(SHAPE), np.eye(4))
        image.header.set_sform(flat, 1)
        (tmp_path / "a.nii").write_bytes(image.header.binaryblock)
        raw = bytearray(save_nifti(tmp_path / "a.nii", blob(SHAPE), np.eye(4)).read_bytes())
        raw[312:328] = bytes(16)  # srow_z
        raw[252:254] = bytes(2)  # qform_code
        (tmp_path / "a.nii").write_bytes(raw)
        assert "does not span a volume" in _sentence(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha"])
def test_constant_images(tmp_path, name, value):
    array = np.full(SHAPE, value, np.int16)
    path = save_nifti(tmp_path / name, array) if name == "a.nii" else save_itk(tmp_path / name, array)
    assert f"has the value {value} in every voxel" in _sentence(path)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_colour_and_complex(tmp_path, name):
    rgb = blob((5, 6, 7, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / name))
    assert "colour" in _sentence(tmp_path / name)
    nibabel.save(nibabel.Nifti1Image(blob(SHAPE).astype(np.complex64), OBLIQUE), tmp_path / "c.nii")
    assert "complex" in _sentence(tmp_path / "c.nii")


def test_a_header_that_claims_terabytes(tmp_path):
    path = save_nifti(tmp_path / "a.nii", blob(SHAPE))
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([32000] * 3, "<i2").tobytes()
    path.write_bytes(raw)
    assert "cut short" in _sentence(path)
    header = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 90000 90000 90000\nencoding: raw\n\nabcd"
    (tmp_path / "a.nrrd").write_bytes(header)
    assert "cut short" in _sentence(tmp_path / "a.nrrd")


def test_a_gzip_file_of_garbage(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", blob(SHAPE))
    raw = bytearray(path.read_bytes())
    raw[3] = 0xFF  # flags that no gzip has
    path.write_bytes(raw)
    assert "a.nii.gz" in _sentence(path)
    assert "a.nii.gz" in _sentence(save_short(path))


def save_short(path):
    """Cut a file within its first bytes."""
    path.write_bytes(path.read_bytes()[:40])
    return path
