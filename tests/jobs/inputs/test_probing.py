"""What a network of volumes is tried on: noise of the shape that it takes, or the middle window of a few volumes."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.explainer_windows import Windows
from cfcam.imaging import VolumePreprocess
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.inputs.probing import USUAL_SIDE, probes, seen_at_once, shape_of_volumes, stacked
from cfcam.models import load
from cfcam.models.built import Preparation
from tests.jobs.world import NETWORKS

BRIGHT = f"{NETWORKS.with_name('volume_networks.py')}:bright(channels=2)"
PLAIN = VolumePreprocess(orientation=None, intensity="none", mean=(0.0, 0.0), std=(1.0, 1.0))


def written(path, size, value=1.0):
    nib.save(nib.Nifti1Image(np.full(size, value, np.float32), np.eye(4)), path)
    return path


def test_noise_has_the_size_that_is_given_else_the_windows_else_what_is_stated_else_the_usual_one():
    loaded = load(BRIGHT)
    assert shape_of_volumes(loaded).input_size == (USUAL_SIDE,) * 3
    assert shape_of_volumes(loaded).channels == 2
    assert shape_of_volumes(replace(loaded, preprocess={"size": (4, 5, 6)})).input_size == (4, 5, 6)
    loaded.module.img_size = 48
    assert shape_of_volumes(loaded).input_size == (48,) * 3
    words = Preparation("nnunet", {"spacing": (1, 1, 1), "schemes": ("NoNormalization",) * 2, "within": (False,) * 2,
                                   "properties": ({}, {})}, window=(8, 9, 10))  # fmt: skip
    assert shape_of_volumes(replace(loaded, preparation=words)).input_size == (8, 9, 10)
    assert shape_of_volumes(replace(loaded, preparation=words), (7, 7, 7)).input_size == (7, 7, 7)


def test_of_a_network_of_windows_the_middle_one_is_seen():
    x = torch.arange(7 * 4 * 3.0).reshape(1, 1, 7, 4, 3)
    assert seen_at_once(x, VolumeSettings()) is x
    assert seen_at_once(x, VolumeSettings(windows=Windows((3, 2, 8)))).equal(x[:, :, 2:5, 1:3])
    assert seen_at_once(x, VolumeSettings(windows=Windows(2))).shape == (1, 1, 2, 2, 2)


def test_volumes_are_read_as_far_as_they_can_be_and_of_several_files_as_one(tmp_path):
    loaded = load(BRIGHT)
    files = tuple(written(tmp_path / f"{n}.nii.gz", (4, 5, 6), n) for n in (1, 2))
    (found,), failed = probes(loaded, [], VolumeSettings(channels=files), PLAIN, most=3)
    assert failed == []
    assert found.x.shape == (1, 2, 4, 5, 6)
    assert [float(channel.mean()) for channel in found.x[0]] == [1, 2]
    broken = tmp_path / "0.nii.gz"
    broken.write_bytes(b"")
    plain = replace(PLAIN, mean=(0.0,), std=(1.0,))
    found, failed = probes(loaded, [tmp_path], VolumeSettings(), plain, most=1)
    assert (len(found), len(failed)) == (1, 1)
    with pytest.raises(InputError, match=r"0\.nii\.gz"):
        probes(loaded, [broken], VolumeSettings(), plain, most=1)
    written(tmp_path / "3.nii.gz", (4, 5, 7))
    found, _ = probes(loaded, [tmp_path], VolumeSettings(), plain, most=8)
    with pytest.raises(InputError, match="in different sizes, 4x5x6 and 4x5x7: give one with --size DxHxW"):
        stacked(found)
    assert stacked(found[:2]).shape == (2, 1, 4, 5, 6)
