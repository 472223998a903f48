from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from napari_semiseg import api
from napari_semiseg.errors import InputError


def test_results_are_never_written_over_images_or_each_other(tmp_path):
    image, mask = tmp_path / "heart.nii.gz", tmp_path / "mask.nii.gz"
    labels = np.zeros((40, 40, 4), np.uint8)
    labels[10:25, 10:25, 1:3] = 1
    noise = np.random.default_rng(0).normal(0, 5, labels.shape)
    nib.save(nib.Nifti1Image((100 * labels + noise).astype(np.float32), np.diag([1, 1, 5, 1])), image)
    nib.save(nib.Nifti1Image(labels, np.diag([1, 1, 5, 1])), mask)
    session = api.new(tmp_path / "s.semiseg", [api.Source(image, labels=mask)])
    settings = {"crop": 32, "longest_side": 64}
    list(api.train(session, method="supervised", steps=1, device="cpu", threads=1, settings=settings))
    before = image.read_bytes()
    for out in (tmp_path, image):
        with pytest.raises(InputError, match=r"labels would be written over the image .*heart\.nii\.gz"):
            api.predict(session, out=out, device="cpu")
    with pytest.raises(InputError, match="entropy would be written over the labels"):
        api.predict(session, out=tmp_path / "out", entropy=tmp_path / "out", device="cpu")
    assert image.read_bytes() == before
    (written,) = api.predict(session, out=tmp_path / "out", device="cpu")
    assert written.exists()
