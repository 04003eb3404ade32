"""nnU-Net's preparation: by hand on few voxels, and in the right place of the patient whatever the affine.

That it is nnU-Net's own to the last digit says tests/models/test_nnunet.py, where that is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import NnunetPreprocess, Volume, VolumePreprocess
from cfcam.imaging.bundle_preprocess import prepared_by
from cfcam.imaging.volume import Source

CT = {"mean": 10.0, "std": 5.0, "percentile_00_5": 0.0, "percentile_99_5": 20.0}


def prepare(**how: Any) -> NnunetPreprocess:
    given = {"orientation": None, "spacing": (1.0, 1.0, 1.0), "schemes": ("NoNormalization",)} | how
    return NnunetPreprocess(**given)


def line(*values: float, spacing: float = 1.0, **how: Any) -> Volume:
    """A volume of one line of voxels along its first axis, nnU-Net's last."""
    voxels = np.array(values, np.float32)[:, None, None]
    return Volume(voxels, np.diag([spacing, 1, 1, 1]), Source(**how))


def rotated() -> np.ndarray:
    """Anisotropic, its first axis flipped, and turned by a third of a right angle about two axes."""
    c, s = np.cos(0.52), np.sin(0.52)
    about_z, about_x = np.eye(4), np.eye(4)
    about_z[:2, :2], about_x[1:3, 1:3] = [[c, -s], [s, c]], [[c, -s], [s, c]]
    affine = about_z @ about_x @ np.diag([-1.5, 0.8, 3.0, 1.0])
    affine[:3, 3] = 40, -20, 7
    return affine


def test_it_is_cut_to_what_is_not_0_in_some_channel_and_filled_up_to_a_patch():
    prepared = prepare(patch=(1, 1, 6))
    assert prepared(line(0, 0, 3, 0, 5, 0))[0, 0, 0].tolist() == [0, 3, 0, 5, 0, 0]  # one before, two behind
    both = Volume(np.array([[0, 0, 3, 0, 0], [0, 4, 0, 0, 0]], np.float32)[:, :, None, None], np.eye(4))
    two = prepare(schemes=("NoNormalization",) * 2, within=(False,) * 2, properties=({}, {}))
    assert two(both)[:, 0, 0].tolist() == [[0, 3], [4, 0]]
    assert prepare()(line(0, 0, 0)).shape == (1, 1, 1, 3)  # nothing to cut to


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"schemes": ("CTNormalization",), "properties": (CT,)}, [-2, -1, 0, 2]),  # 25 is clipped to 20
        # the mean is 10, and the squares of -10, -5, 0 and 15 make 350
        ({"schemes": ("ZScoreNormalization",)}, (np.array([-10, -5, 0, 15]) / np.sqrt(350 / 4)).tolist()),
        ({"schemes": ("RescaleTo01Normalization",)}, [0, 0.2, 0.4, 1]),
        ({"schemes": ("RGBTo01Normalization",)}, [0, 5 / 255, 10 / 255, 25 / 255]),
        ({"schemes": ("NoNormalization",)}, [0, 5, 10, 25]),
    ],
)
def test_each_normalisation_by_hand(how, expected):
    voxels = np.array([0, 5, 10, 25], np.float32)
    found = NnunetPreprocess(orientation=None, spacing=(1.0, 1.0, 1.0), **how)
    values = voxels[None].copy()
    found._normalise(values[0], 0, None)
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)


def test_z_scores_within_the_mask_leave_the_rest_as_it_is():
    """A cube with a hole of 0, which belongs to the mask, and a voxel beside it; what else is 0 does not."""
    voxels = np.zeros((4, 3, 3), np.float32)
    voxels[:3] = 4.0
    voxels[1, 1, 1], voxels[3, 0, 0] = 0.0, 8.0
    found = prepare(schemes=("ZScoreNormalization",), within=(True,))(Volume(voxels, np.eye(4)))[0].permute(2, 1, 0)
    inside = np.array([4.0] * 26 + [0.0, 8.0])
    mean, std = inside.mean(), inside.std()
    assert found[0, 0, 0] == pytest.approx((4 - mean) / std)
    assert found[1, 1, 1] == pytest.approx((0 - mean) / std)
    assert found[3, 0, 0] == pytest.approx((8 - mean) / std)
    assert found[3, 1, 1] == 0


@pytest.mark.filterwarnings("error")
def test_a_blank_scan_stays_blank():
    blank = prepare(schemes=("ZScoreNormalization",), within=(True,))(
        Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    )
    assert not blank.any()


def test_voxels_keep_their_edges_when_they_are_resampled():
    """Two voxels of 2 mm become four of 1 mm at -0.25, 0.25, 0.75 and 1.25 of them: by lines 1, 1.25, 1.75, 2."""
    found = prepare(order=1)(line(1, 2, spacing=2.0))[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([1, 1.25, 1.75, 2]))


def test_a_coarse_axis_is_resampled_by_itself_to_the_nearest():
    found = prepare(order=1)(line(1, 2, spacing=4.0))[0, 0, 0]
    assert found.tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    together = prepare(order=1, separate_z=False)(line(1, 2, spacing=4.0))[0, 0, 0]
    torch.testing.assert_close(together, torch.tensor([1, 1, 1.125, 1.375, 1.625, 1.875, 2, 2]))


def test_axes_are_those_of_nnunets_readers_then_transposed():
    voxels = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    read = torch.from_numpy(voxels).permute(2, 1, 0)  # SimpleITK: the last index of a NIfTI comes first
    nifti = Volume(voxels, np.eye(4))
    assert prepare()(nifti)[0].equal(read)
    assert prepare(transpose=(2, 0, 1))(nifti)[0].equal(read.permute(2, 0, 1))
    flipped = Volume(voxels, np.diag([-1.0, 1, 1, 1]))
    assert prepare()(flipped)[0].equal(read)
    assert prepare(orientation="RAS")(flipped)[0].equal(read.flip(2))
    dicom = Volume(voxels, np.eye(4), Source("dicom"))
    assert prepare()(dicom)[0].equal(torch.from_numpy(voxels))
    assert prepare().notices(dicom) == ("nnU-Net reads no DICOM: slices, rows and columns are taken as its axes",)


@pytest.mark.parametrize("orientation", [None, "RAS"])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 2, 0)])
def test_a_line_through_the_patient_is_the_same_before_and_behind(orientation, transpose):
    """Values that grow linearly with the place in mm have, at each voxel of the input, those of its place; and a map
    that does so comes back as such, whatever is cut off, resampled and filled up."""
    affine, size, slope = rotated(), (14, 18, 9), np.array([0.7, -0.4, 0.3])
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    mm = places @ affine[:3, :3].T + affine[:3, 3]
    values = 100 + mm @ slope
    box = (slice(3, 13), slice(2, 18), slice(1, 8))
    voxels = np.zeros(size, np.float32)
    voxels[box] = values[box]
    volume = Volume(voxels, affine)
    prepared = prepare(
        orientation=orientation,
        transpose=transpose,
        spacing=(1.0, 1.1, 1.2),
        order=1,
        separate_z=False,
        patch=(26, 30, 26),
    )
    x, (net, grid) = prepared(volume)[0].double().numpy(), prepared.grid(volume)
    assert x.shape == net
    index = np.stack(np.meshgrid(*map(np.arange, net), indexing="ij"), -1)
    expected = 100 + (index @ grid[:3, :3].T + grid[:3, 3]) @ slope
    inner = (
        np.linalg.inv(affine)
        @ np.concatenate([(index @ grid[:3, :3].T + grid[:3, 3]), np.ones((*net, 1))], -1)[..., None]
    )
    at = inner[..., :3, 0]
    inside = ((at >= (3, 2, 1)) & (at <= (12, 17, 7))).all(-1)
    assert inside.sum() > 1000
    np.testing.assert_allclose(x[inside], expected[inside], atol=1e-3)
    back = prepared.to_original(torch.from_numpy(expected), volume).numpy()
    core = (slice(4, 12), slice(3, 17), slice(2, 7))
    np.testing.assert_allclose(back[core], values[core], atol=1e-4)
    assert np.count_nonzero(back) == voxels[box].size  # outside of the box the network saw nothing


def test_a_mask_comes_where_its_voxels_come():
    volume = line(0, 1, 2, 3, spacing=2.0)
    mask = torch.zeros(4, 1, 1, dtype=torch.bool)
    mask[0] = mask[2] = True  # the first lies outside of the box
    assert prepare().mask(mask, volume)[0, 0].tolist() == [False, False, True, True, False, False]


def test_a_record_of_it_makes_it_again():
    prepared = prepare(schemes=("CTNormalization",), properties=(CT,), patch=(4, 4, 4))
    assert prepared_by(prepared.as_dict()) == prepared
    assert prepared_by(VolumePreprocess(size=4).as_dict()) == VolumePreprocess(size=4)
    assert prepared.told.startswith("nnU-Net's preparation: cut to what is not 0, CT, voxels of 1 x 1 x 1 mm")


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"spacing": None}, "nnU-Net's has three numbers of mm"),
        ({"transpose": (0, 1, 1)}, "must hold 0, 1 and 2"),
        ({"patch": (0, 1, 1)}, "three positive whole numbers"),
        ({"schemes": ("Mine",)}, "the normalisation of channel 0 is 'Mine': nnU-Net has CTNormalization, "),
        ({"within": (True, False)}, "1 normalisations with 2 masks and 1 sets"),
        (
            {"schemes": ("CTNormalization",)},
            "CTNormalization of channel 0 lacks mean, std, percentile_00_5, percentile",
        ),
    ],
)
def test_what_is_out_of_range_is_one_line(how, complaint):
    with pytest.raises(InputError, match=complaint):
        prepare(**how)


def test_what_does_not_fit_the_network_is_one_line():
    with pytest.raises(InputError, match="a volume with 1 channel for a network with 2: give a file for each"):
        prepare(schemes=("NoNormalization",) * 2, within=(False,) * 2, properties=({}, {}))(line(1, 2))
    with pytest.raises(InputError, match="channel 0 goes from 1 to 300, and RGBTo01Normalization takes 0 to 255"):
        prepare(schemes=("RGBTo01Normalization",))(line(1, 300))
    grid = Volume(np.broadcast_to(np.zeros(1, np.float32), (2, 3, 4)), np.eye(4))
    with pytest.raises(InputError, match="of this one there is the grid alone"):
        prepare().grid(grid)
