"""Every odd file opens rightly or gets its sentence. A file that is not in the table fails the test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_semiseg.errors import ChoiceNeeded, InputError
from napari_semiseg.io import read_volume

# Name below the data folder -> shape as (planes, rows, columns), or what the sentence must say.
EXPECTED: dict[str, tuple[int, int, int] | str] = {
    "odd/derived/4d_single_volume.nii.gz": (38, 52, 36),
    "odd/derived/bigendian_int16_slope.nii": (38, 52, 36),
    "odd/derived/compressed.mha": (38, 52, 36),
    "odd/derived/detached.mhd": (38, 52, 36),
    "odd/derived/detached.nhdr": (38, 52, 36),
    "odd/derived/detached.raw.gz": "holds only voxel data; open its header 'detached.nhdr'",
    "odd/derived/detached.zraw": "holds only voxel data; open its header",
    "odd/derived/empty_file.nii.gz": "is empty",
    "odd/derived/image_nan_inf.nii.gz": "27 NaN voxels and 2 infinite voxels.*can be replaced",
    "odd/derived/label_affine_shifted_3mm.nii.gz": (38, 52, 36),
    "odd/derived/label_float_0.9999999.nii.gz": (38, 52, 36),
    "odd/derived/label_one_slice_short.nii.gz": (37, 52, 36),
    "odd/derived/label_x_reversed_same_space.nii.gz": (38, 52, 36),
    "odd/derived/no_forms_pixdim_1_2_3.nii.gz": (38, 52, 36),
    "odd/derived/plain_but_named_gz.nii.gz": (38, 52, 36),
    "odd/derived/qform_sform_disagree.nii.gz": (38, 52, 36),
    "odd/derived/space_LSA_image.nii.gz": (52, 38, 36),
    "odd/derived/space_LSA_label.nii.gz": (52, 38, 36),
    "odd/derived/space_PIR_image.nii.gz": (36, 38, 52),
    "odd/derived/space_PIR_label.nii.gz": (36, 38, 52),
    "odd/derived/truncated.nii.gz": "cut short",
    "odd/dicom/CT_small.dcm": (1, 128, 128),
    "odd/dicom/MR_small_bigendian.dcm": (1, 64, 64),
    "odd/dicom/MR_truncated.dcm": "pixels of .*MR_truncated.dcm' cannot be decoded.*cut short",
    "odd/dicom/badVR.dcm": "'1A' frames, which is not a number",
    "odd/dicom/decimal_rescale.dcm": "value -4096 in every voxel",
    "odd/dicom/dicom2nifti_failing_gantrytilting_001": (4, 512, 512),
    "odd/dicom/dicom2nifti_failing_slicecount_001": (2, 256, 256),
    "odd/dicom/dicom2nifti_failing_sliceorientation_001": "mixes slices of different orientation",
    "odd/dicom/dicom2nifti_ge_anatomical_001_single_slice": (1, 256, 256),
    "odd/dicom/dicom2nifti_generic_compressed_j2k_001": (4, 256, 256),
    "odd/dicom/dicom2nifti_generic_compressed_jpegls_001": (4, 256, 256),
    "odd/dicom/dicom2nifti_generic_compressed_rle_001": (4, 256, 256),
    "odd/dicom/dicom2nifti_generic_rgb_001": "colour",
    "odd/dicom/enh.dcm": (6, 64, 64),
    "odd/dicom/image_dfl.dcm": (1, 512, 512),
    "odd/dicom/liver_1frame.dcm": "DICOM segmentation, not an image",
    "odd/dicom/no_meta.dcm": "does not begin like one",
    "odd/dicom/rtstruct.dcm": "RT structure set",
    "odd/dicom/slicethickness_empty_string.dcm": (1, 384, 384),
    "odd/nifti/adi_slice.nii.gz": (1, 192, 192),
    "odd/nifti/analyze.hdr": "'analyze.img', which is missing",
    "odd/nifti/anatomical.nii": (25, 41, 33),
    "odd/nifti/complex_image.nii.gz": "complex numbers",
    "odd/nifti/ct_perfusion.nii.gz": "colour",
    "odd/nifti/disconnected_mask.nii.gz": (8, 8, 8),
    "odd/nifti/empty_mask.nii.gz": "value 0 in every voxel",
    "odd/nifti/example4d.nii.gz": "holds 2 volumes",
    "odd/nifti/example_nifti2.nii.gz": "holds 2 volumes",
    "odd/nifti/full_mask.nii.gz": "value 1 in every voxel",
    "odd/nifti/functional.nii": "holds 20 volumes",
    "odd/nifti/minimal.nii.gz": (10, 64, 64),
    "odd/nifti/mscmr_01_label_original_ids.nii.gz": (19, 256, 256),
    "odd/nifti/one_voxel_mask.nii.gz": (8, 8, 8),
    "odd/nifti/ras.hdr": (34, 41, 62),
    "odd/nifti/ras.img": (34, 41, 62),
    "odd/nifti/rgb_test_file.nii.gz": "colour",
    "odd/nifti/series.nii.gz": "holds 10 volumes",
    "odd/nifti/shear.nii.gz": (54, 422, 306),
    "odd/nifti/someones_epi.nii.gz": (33, 61, 53),
    "odd/nifti/space_ASR.nii.gz": (64, 67, 79),
    "odd/nifti/space_LIA.nii.gz": (79, 67, 64),
    "odd/nifti/space_LPS.nii.gz": (67, 79, 64),
    "odd/nifti/space_PIR.nii.gz": (64, 67, 79),
    "odd/nifti/space_RAS.nii.gz": (67, 79, 64),
    "odd/nifti/space_SAL.nii.gz": (64, 67, 79),
    "odd/nifti/spine_report.nii.gz": "colour",
    "odd/nifti/uninformative.nii.gz": "value 1 in every voxel",
    "odd/other_formats/3DCT_lung_baseline_small.mha": (64, 78, 57),
    "odd/other_formats/3DCT_lung_followup_segmentation.mha": (131, 166, 115),
    "odd/other_formats/HeadMRVolume.mhd": (42, 62, 48),
    "odd/other_formats/HeadMRVolume.raw": "open its header 'HeadMRVolume.mhd'",
    "odd/other_formats/adi_slice.nrrd": (1, 192, 192),
    "odd/other_formats/mha.mha": (37, 64, 64),
    "odd/other_formats/prostate_phantom_subvolume-label.nrrd": (13, 67, 82),
    "odd/other_formats/prostate_phantom_subvolume.nrrd": (13, 67, 82),
    "odd/other_formats/test.mgz": "holds 2 volumes",
    "dicom/ct_3slice_seg/label_liver.nii.gz": (3, 512, 512),
    "dicom/ct_3slice_seg/liver.dcm": "DICOM segmentation, not an image",
    "dicom/ct_3slice_seg/liver_seg.nrrd": (3, 512, 512),
    "dicom/ct_3slice_seg/partial_overlaps.dcm": "DICOM segmentation, not an image",
    "dicom/ct_3slice_seg/series": (3, 512, 512),
    "dicom/ibsi_lung_ct/image.nii.gz": (60, 201, 204),
    "dicom/ibsi_lung_ct/label.nii.gz": (60, 201, 204),
    "dicom/ibsi_lung_ct/rtstruct.dcm": "RT structure set",
    "dicom/ibsi_lung_ct/series": (60, 201, 204),
    "dicom/qin_headneck_0024_pet/label.nii.gz": (72, 128, 128),
    "dicom/qin_headneck_0024_pet/seg.dcm": "DICOM segmentation, not an image",
    "dicom/qin_headneck_0024_pet/series": (72, 128, 128),
    "dicom/totalseg_ct_dicom/label.nii.gz": (20, 512, 512),
    "dicom/totalseg_ct_dicom/series": (20, 512, 512),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_opens_or_says_why(shared_data, name, capfd):
    path, expected = shared_data / name, EXPECTED[name]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as caught:
            read_volume(path)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert re.search(r"[.]$", sentence)
        if isinstance(caught.value, ChoiceNeeded):
            value, _ = caught.value.choices[-1]
            assert read_volume(path, **{caught.value.parameter: value}).data.ndim == 3
    else:
        volume = read_volume(path)
        assert volume.data.shape == expected
        assert volume.geometry.shape == expected
    said = capfd.readouterr()
    assert said.err == "", "the libraries' chatter must not reach the screen"
    assert said.out == ""


def test_the_table_is_complete(shared_data):
    def items(folder: Path) -> set[str]:
        return {str(path.relative_to(shared_data)) for path in folder.iterdir()}

    present = set().union(*(items(folder) for root in ("odd", "dicom") for folder in (shared_data / root).iterdir()))
    assert present == set(EXPECTED)


def test_scaled_values_of_the_big_endian_file(shared_data):
    """README: values equal the source within 0.25."""
    source = read_volume(shared_data / "hippocampus_mri" / "hippocampus_004_image.nii.gz")
    odd = read_volume(shared_data / "odd" / "derived" / "bigendian_int16_slope.nii")
    assert abs(source.data.astype(float) - odd.data).max() <= 0.2501
    assert odd.geometry.same_grid(source.geometry)


def test_the_sform_is_taken_and_the_difference_is_said(shared_data):
    source = read_volume(shared_data / "hippocampus_mri" / "hippocampus_004_image.nii.gz")
    odd = read_volume(shared_data / "odd" / "derived" / "qform_sform_disagree.nii.gz")
    assert odd.geometry.same_grid(source.geometry)
    # Moved by (10, -5, 3) mm: 11.6 mm.
    assert re.search(r"sform was taken.*15\.0 degrees.*11\.6 mm", odd.notes[0])
