"""Modalities in several files: one volume if they lie on one grid, else one line that says how they do not."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest

from cfcam.errors import ImageError, InputError
from cfcam.imaging import read_channels, read_volume
from cfcam.imaging.reading.channels import channel_files, check_count, first_channel

AFFINE = np.array([[0.0, -1.2, 0.0, 30], [0.9, 0.0, 0.0, -5], [0.0, 0.0, 3.0, 8], [0, 0, 0, 1]])


def save(path, value, *, size=(4, 5, 6), affine=AFFINE):
    voxels = np.full(size, value, np.float32)
    voxels[0, 0, 0] = -value
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def test_files_become_channels_in_their_order(tmp_path):
    files = [save(tmp_path / "t1.nii.gz", 1), save(tmp_path / "t2.nii.gz", 2)]
    volume = read_channels(files)
    assert volume.voxels.shape == (2, 4, 5, 6)
    assert volume.voxels[:, 1, 0, 0].tolist() == [1, 2]
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert volume.path == files[0]
    digests = "".join(read_volume(file).sha256 for file in files)
    assert volume.sha256 == hashlib.sha256(digests.encode()).hexdigest()


def test_what_is_told_of_a_file_is_told_of_its_channel(tmp_path):
    one, two = save(tmp_path / "t1.nii", 1), save(tmp_path / "t2.nii", 2)
    voxels = np.ones((4, 5, 6), np.float32)
    voxels[2, 3, 4] = np.nan
    nib.save(nib.Nifti1Image(voxels, AFFINE), two)
    volume = read_channels([one, two], names=["T1", "T2"])
    assert next(line for line in volume.notices if "finite" in line).startswith("channel 1 (T2): 1 voxels are no")
    assert volume.missing.sum() == 1
    assert volume.missing[2, 3, 4]


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (
            {"size": (4, 5, 7)},
            r"t2.nii: channel 1 lies on another grid than t1.nii \(4 x 5 x 7 voxels, not 4 x 5 x 6\)",
        ),
        (
            {"affine": AFFINE + np.eye(4)[:, [3, 0, 1, 2]] * 0.5},
            r"another grid than t1.nii \(a corner lies .* mm away\)",
        ),
        ({"size": (4, 5, 6, 2)}, "t2.nii: holds 2 volumes"),
    ],
)
def test_another_grid_is_one_line(tmp_path, other, complaint):
    with pytest.raises(ImageError, match=complaint) as told:
        read_channels([save(tmp_path / "t1.nii", 1), save(tmp_path / "t2.nii", 2, **other)])
    assert "\n" not in str(told.value)


def test_headers_may_round(tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += 0.008  # of 0.9 mm less than a hundredth
    assert read_channels([save(tmp_path / "t1.nii", 1), save(tmp_path / "t2.nii", 2, affine=moved)]).channels == 2
    moved[0, 3] += 0.008
    with pytest.raises(ImageError, match=r"a corner lies 0.016 mm away"):
        read_channels([save(tmp_path / "t1.nii", 1), save(tmp_path / "t2.nii", 2, affine=moved)])


def test_a_name_for_each_file():
    with pytest.raises(InputError, match="1 files for 2 channels: give one file for each"):
        read_channels(["a.nii"], names=["T1", "T2"])


def test_files_are_found_by_how_their_names_end(tmp_path):
    first, second = save(tmp_path / "scan_0000.nii.gz", 1), save(tmp_path / "scan_0001.nii.gz", 2)
    alone = save(tmp_path / "other_0001.nii.gz", 3)
    endings = ("_0000", "_0001")
    assert channel_files(first, endings) == (first, second)
    assert channel_files(alone, ("_0000",)) == (alone,)
    assert [first_channel(path, endings) for path in (first, second, alone)] == [None, first, None]
    with pytest.raises(ImageError, match=r"^scan_0001 is channel 1 of a study: name scan_0000.nii.gz$"):
        channel_files(second, endings)
    with pytest.raises(ImageError, match=r"channel 2 \(T2\) of 3 is missing: scan_0002.nii.gz does not lie beside it"):
        channel_files(first, (*endings, "_0002"), ("CT", "T1", "T2"))
    said = r"^channel 1 \(T1\) of 2 is missing: name its file too, after scan_0000.nii.gz"
    with pytest.raises(InputError, match=said + r" \(by the names scan_0001.nii.gz\)$"):
        check_count([first], ("CT", "T1"), endings)
    with pytest.raises(InputError, match=said + "$"):
        check_count([first], ("CT", "T1"))
    with pytest.raises(
        InputError, match=r"^3 files of channels, and the network takes 2 \(CT, T1\): name one for each$"
    ):
        check_count([first, second, alone], ("CT", "T1"), endings)
    check_count([second, first], ("CT", "T1"), endings)
    with pytest.raises(
        ImageError, match=r"other_0001.nii.gz: the network takes 2 channels \(CT, T1\) in as many files"
    ):
        channel_files(alone, endings, ("CT", "T1"))


def test_which_file_became_which_channel_is_kept_and_a_name_that_speaks_of_another_is_told(tmp_path):
    files = [save(tmp_path / name, value) for name, value in (("t2.nii.gz", 1), ("t1.nii", 2))]
    named = read_channels(files, names=["T1", "T2"])
    assert named.source.channels == (("T1", "t2.nii.gz"), ("T2", "t1.nii"))
    assert [line.split(":")[0] for line in named.notices] == [
        "the file name t2 speaks of channel 1 (T2), and is read as channel 0 (T1)",
        "the file name t1 speaks of channel 0 (T1), and is read as channel 1 (T2)",
    ]
    unnamed = read_channels(files)
    assert unnamed.source.channels == (("0", "t2.nii.gz"), ("1", "t1.nii"))
    assert unnamed.notices == ()
