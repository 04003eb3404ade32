"""Masks beside images whose files allow several readings of their place: placed rightly, or refused in a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("nibabel")

from cfcam.clinical.checks.masks import CtLungs, laid_over, read_mask
from cfcam.errors import CfcamError, InputError
from cfcam.imaging import Image, read_volume
from cfcam.imaging.volume import Source, Volume
from cfcam.jobs.inputs.ground_truth import read_volume_masks
from tests.imaging.test_nifti_space import SIZE, S, flipped, moved, turned, written

PLANTED = np.zeros(SIZE, np.uint8)
PLANTED[1:3, 4:7, 2:5] = 1


def by_check(path, volume):
    mask, notices = read_mask(path, volume)
    return mask.numpy(), list(notices)


def by_evaluate(path, volume):
    notices = []
    return read_volume_masks([path], volume, notices.append).numpy(), notices


both = pytest.mark.parametrize("read", [by_check, by_evaluate])


def as_itk_draws(source, path, array=PLANTED):
    """A mask drawn in ITK-SNAP: ITK reads the image, marks voxels by their index, and writes what it has read."""
    sitk = pytest.importorskip("SimpleITK")
    mask = sitk.GetImageFromArray(array.T)
    mask.CopyInformation(sitk.ReadImage(str(source)))
    sitk.WriteImage(mask, str(path))
    return path


@both
@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 2), (0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("other", [S, moved(S), moved(S, 2 * 1.5), turned(S), flipped(S), S @ np.diag([2, 2, 2, 1.0])])
def test_a_mask_drawn_in_itk_snap_lies_on_the_voxels_it_was_drawn_on(tmp_path, read, codes, other):
    source = written(tmp_path / "a.nii", S, other, codes)
    volume = read_volume(source)
    found, _ = read(as_itk_draws(source, tmp_path / "m.nii"), volume)
    np.testing.assert_array_equal(found, PLANTED > 0)


@both
@pytest.mark.parametrize("units", ["micron", "meter", "unknown"])
@pytest.mark.parametrize("how", ["itk", "nibabel"])
def test_a_mask_of_a_source_in_another_unit(tmp_path, read, units, how):
    import nibabel as nib

    source = written(tmp_path / "a.nii", S, S, units=units)
    path = tmp_path / "m.nii"
    if how == "itk":
        as_itk_draws(source, path)
    else:
        nib.save(nib.Nifti1Image(PLANTED, nib.load(source).affine), path)  # nibabel names no unit
    np.testing.assert_array_equal(read(path, read_volume(source))[0], PLANTED > 0)


@both
def test_a_choice_is_told(tmp_path, read):
    volume = read_volume(written(tmp_path / "a.nii", S, moved(S), (2, 1)))
    found, notices = read(written(tmp_path / "m.nii", moved(S), moved(S), array=PLANTED), volume)
    assert any("the image by its qform (as ITK takes it): it was laid on it voxel by voxel" in n for n in notices)
    np.testing.assert_array_equal(found, PLANTED > 0)
    found, notices = read(written(tmp_path / "m.nii", S, S, array=PLANTED), volume)
    assert notices == []
    np.testing.assert_array_equal(found, PLANTED > 0)


@both
def test_a_crop_that_fits_one_of_two_transforms_is_laid_by_it(tmp_path, read):
    other = moved(S, 0.7)
    volume = read_volume(written(tmp_path / "a.nii", S, other, (2, 1)))
    for affine in (S, other):
        crop = affine.copy()
        crop[:3, 3] = (affine @ [1, 4, 2, 1])[:3]
        part = np.ones((2, 3, 3), np.uint8)
        found, _ = read(written(tmp_path / "m.nii", crop, crop, array=part), volume)
        np.testing.assert_array_equal(found, PLANTED > 0)


@both
def test_a_mask_on_another_grid_whose_transform_cannot_be_told_is_refused(tmp_path, read):
    finer = S @ np.diag([0.5, 0.5, 0.5, 1])
    mask = written(tmp_path / "m.nii", finer, finer, array=np.ones((8, 8, 8), np.uint8))
    whole_voxels_apart = moved(S, 2 * 1.5)
    crop = written(tmp_path / "c.nii", S, S, array=np.ones((2, 3, 3), np.uint8))
    volume = read_volume(written(tmp_path / "a.nii", S, whole_voxels_apart, (2, 1)))
    for path in (mask, crop):
        with pytest.raises(CfcamError, match="to which of them it belongs cannot be told"):
            read(path, volume)
    slight = read_volume(written(tmp_path / "b.nii", S, moved(S, 0.2), (2, 1)))  # less than half a voxel
    assert read(mask, slight)[0].any()
    unknown_which = written(tmp_path / "d.nii", finer, moved(finer), (2, 1), array=np.ones((8, 8, 8), np.uint8))
    with pytest.raises(CfcamError, match="qform of the mask disagree"):
        read(unknown_which, read_volume(written(tmp_path / "e.nii", S, S)))


@both
def test_a_mask_or_volume_without_a_place(tmp_path, read):
    placed, nowhere = (
        read_volume(written(tmp_path / f"{n}.nii", S, S, codes)) for n, codes in enumerate([(1, 1), (0, 0)])
    )
    without = written(tmp_path / "m.nii", S, S, (0, 0), array=PLANTED)
    np.testing.assert_array_equal(read(without, nowhere)[0], PLANTED > 0)
    with pytest.raises(CfcamError, match="header of the mask does not say how it lies"):
        read(without, placed)
    with pytest.raises(CfcamError, match="header of the volume does not say how it lies"):
        read(written(tmp_path / "n.nii", S, S, array=PLANTED), nowhere)
    other = written(tmp_path / "o.nii", S, S, (0, 0), array=PLANTED[1:])
    with pytest.raises(CfcamError, match="save the mask on the volume's grid"):
        read(other, nowhere)


def test_a_mask_without_a_place_has_no_way_up_over_a_picture(tmp_path):
    picture = Image(np.zeros((7, 9), np.uint8), None, "0" * 64)
    flat = PLANTED[..., 3:4]
    with pytest.raises(InputError, match="which way up it is cannot be told"):
        read_mask(written(tmp_path / "m.nii", S, S, (0, 0), array=flat), picture)


def test_a_segmentation_in_the_patient_is_not_laid_over_a_volume_without_a_place():
    volume = Volume(np.zeros(SIZE), np.eye(4), Source("nifti", space=0))
    with pytest.raises(InputError, match="does not say how it lies"):
        laid_over(np.ones(SIZE, bool), S, volume, "seg.dcm")
    with pytest.raises(InputError, match="does not say where the head is"):
        CtLungs()(volume)


@both
def test_rounding_is_no_other_place(tmp_path, read):
    volume = read_volume(written(tmp_path / "a.nii", S, S))
    found, notices = read(written(tmp_path / "m.nii", S + 1e-4, S, (1, 0), array=PLANTED), volume)
    assert notices == []
    np.testing.assert_array_equal(found, PLANTED > 0)


def test_what_is_no_number_marks_nothing(tmp_path):
    volume = read_volume(written(tmp_path / "a.nii", S, S))
    array = np.where(PLANTED, 1.0, np.nan).astype(np.float32)
    found, notices = by_check(written(tmp_path / "m.nii", S, S, array=array), volume)
    np.testing.assert_array_equal(found, PLANTED > 0)
    assert (
        f"{int((PLANTED == 0).sum())} voxels are no finite numbers (of {PLANTED.size}): they mark nothing" in notices[0]
    )


def test_labels_that_single_precision_cannot_tell_apart_are_refused(tmp_path):
    volume = read_volume(written(tmp_path / "a.nii", S, S))
    mask = written(tmp_path / "m.nii", S, S, array=PLANTED.astype(np.int32) * 614454277)
    with pytest.raises(InputError, match="cannot be told apart"):
        read_mask(mask, volume, labels=[614454277])
    assert torch.equal(read_mask(mask, volume)[0], torch.from_numpy(PLANTED > 0))


def test_a_mask_with_several_channels_is_refused(tmp_path):
    pytest.importorskip("nibabel")
    volume = read_volume(written(tmp_path / "a.nii", S, S))
    mask = written(tmp_path / "m.nii", S, S, array=np.ones((*SIZE, 2), np.uint8))
    with pytest.raises(CfcamError, match="holds 2 volumes"):
        read_mask(mask, volume)
