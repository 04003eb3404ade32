"""A bundle's own transforms: the array that MONAI makes of the file, and maps back in their place."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd

from cfcam.errors import InputError
from cfcam.imaging import Volume, VolumePreprocess, read_volume
from cfcam.imaging.bundle_preprocess import BundlePreprocess, prepared_by
from cfcam.imaging.volume import Source

LOAD = ({"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"})
AFFINE = np.array([[0.0, 0.9, 0, -20], [-1.2, 0, 0, 30], [0, 0, 3, 7], [0, 0, 0, 1]])
SIZE = (20, 24, 9)


def bundle(*transforms: dict[str, Any], **how: Any) -> BundlePreprocess:
    return BundlePreprocess(transforms=(*LOAD, *transforms), **how)


class Same:
    """A transform of somebody's own."""

    def __call__(self, image: Any) -> Any:
        return image


def step(name: str, **words: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **words}


def ramp(affine=AFFINE, size=SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Values that grow linearly with the place in mm, and the slope."""
    slope = np.array([0.7, -0.4, 0.3])
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    return (100 + (places @ affine[:3, :3].T + affine[:3, 3]) @ slope).astype(np.float32), slope


def test_the_array_is_monais_own(tmp_path):
    voxels = np.random.default_rng(0).normal(50, 60, SIZE).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "ct.nii.gz")
    own = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", "RAS"),
            Spacingd("image", (1.5, 1.5, 2.0), mode="bilinear"),
        ]
    )({"image": str(tmp_path / "ct.nii.gz")})["image"]
    prepared = bundle(step("Orientationd", axcodes="RAS"), step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"))
    volume = read_volume(tmp_path / "ct.nii.gz")
    torch.testing.assert_close(prepared(volume), own.as_tensor(), rtol=0, atol=0)
    np.testing.assert_allclose(prepared.grid(volume)[1], own.affine.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "transforms",
    [
        (),
        (step("Orientationd", axcodes="LPS"),),
        (step("Orientationd", axcodes="RAS"), step("Spacingd", pixdim=[1.0, 1.1, 1.2], mode="bilinear")),
        (step("CenterSpatialCropd", roi_size=[12, 13, 6]),),
        (step("SpatialPadd", spatial_size=[30, 31, 12]),),
        (step("Flipd", spatial_axis=0), step("Resized", spatial_size=[30, 20, 12], mode="trilinear")),
    ],
)
def test_a_line_through_the_patient_is_the_same_before_and_behind(transforms):
    values, slope = ramp()
    volume = Volume(values, AFFINE)
    prepared = bundle(*transforms, patch=(16, 16, 16))
    x, (net, grid) = prepared(volume)[0].double().numpy(), prepared.grid(volume)
    assert x.shape == net
    assert min(net) >= 16
    index = np.stack(np.meshgrid(*map(np.arange, net), indexing="ij"), -1)
    mm = index @ grid[:3, :3].T + grid[:3, 3]
    expected = 100 + mm @ slope
    inverse = np.linalg.inv(AFFINE)
    at = mm @ inverse[:3, :3].T + inverse[:3, 3]
    inside = ((at >= 1) & (at <= np.array(SIZE) - 2)).all(-1) & (x != 0)
    assert inside.sum() > 300
    np.testing.assert_allclose(x[inside], expected[inside], atol=2e-3)
    back = prepared.to_original(torch.from_numpy(expected), volume).numpy()
    middle = tuple(slice(n // 2 - 2, n // 2 + 2) for n in SIZE)
    np.testing.assert_allclose(back[middle], values[middle], atol=2e-3)


def test_what_is_cut_away_is_0_in_the_map_and_no_part_of_a_mask():
    voxels = np.zeros(SIZE, np.float32)
    voxels[4:12, 6:20, 2:7] = 5
    volume = Volume(voxels, AFFINE)
    prepared = bundle(step("CropForegroundd", source_key="image", allow_smaller=True))
    assert prepared(volume).shape == (1, 8, 14, 5)
    back = prepared.to_original(torch.ones(8, 14, 5), volume)
    assert torch.equal(back > 0, torch.from_numpy(voxels > 0))
    assert prepared.mask(torch.from_numpy(voxels > 0), volume).all()


def test_channels_of_a_volume_are_those_of_the_bundle():
    voxels = np.random.default_rng(0).normal(size=(2, *SIZE)).astype(np.float32)
    volume = Volume(voxels, AFFINE)
    two = {"mean": (0.0, 0.0), "std": (1.0, 1.0)}
    assert torch.equal(bundle(**two)(volume), torch.from_numpy(voxels))
    keys = ["t1", "t2"]
    several = BundlePreprocess(
        transforms=(
            {"_target_": "LoadImaged", "keys": keys, "ensure_channel_first": True},
            {"_target_": "ConcatItemsd", "keys": keys, "name": "image"},
        ),
        keys=("t1", "t2"),
        **two,
    )
    assert torch.equal(several(volume), torch.from_numpy(voxels))
    with pytest.raises(
        InputError, match="a volume with 1 channel for a bundle that reads t1, t2: give a file for each"
    ):
        several(Volume(voxels[0], AFFINE))
    with pytest.raises(
        InputError, match=r"make \(2, 20, 24, 9\) of a volume with 2 channels, .* takes \(1, .*: give its one file"
    ):
        bundle()(volume)


def test_axes_of_dicom_are_turned_as_monai_reads_them():
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    volume = Volume(voxels, np.eye(4), Source("dicom"))
    prepared = bundle()
    assert torch.equal(prepared(volume)[0], torch.from_numpy(voxels).permute(2, 1, 0))
    assert torch.equal(prepared.to_original(prepared(volume)[0], volume), torch.from_numpy(voxels))


def test_a_record_of_it_makes_it_again():
    prepared = bundle(step("Spacingd", pixdim=[1.0, 1.0, 1.0]), patch=(4, 4, 4))
    assert prepared_by(prepared.as_dict()) == prepared
    assert prepared_by(VolumePreprocess(size=4).as_dict()) == VolumePreprocess(size=4)


def test_a_record_runs_no_code_whatever_it_says_of_itself():
    volume = Volume(ramp()[0], AFFINE)
    record = bundle({"_target_": f"{__name__}.Same"}, trusted=True).as_dict()
    assert prepared_by(record, trusted=True)(volume).shape == (1, *SIZE)
    with pytest.raises(InputError, match="Same is no transform of MONAI"):
        prepared_by(record)(volume)


def test_what_fails_is_one_line():
    volume = Volume(ramp()[0], AFFINE)
    with pytest.raises(InputError, match="CropForegroundd of the bundle's preprocessing fails on this volume"):
        bundle(step("CropForegroundd", source_key="none"))(volume)
    with pytest.raises(InputError, match="Nothingd is no transform of MONAI: check the bundle's preprocessing"):
        bundle(step("Nothingd"))(volume)
    with pytest.raises(InputError, match="turns the volume by other than right angles"):
        bundle(step("Rotated", angle=[0.3, 0.0, 0.0])).grid(volume)
    with pytest.raises(InputError, match="the preprocessing has SaveImaged: what is random, or writes"):
        bundle(step("SaveImaged"))
    grid = Volume(np.broadcast_to(np.zeros(1, np.float32), SIZE), AFFINE)
    with pytest.raises(InputError, match="of this volume there is the grid alone"):
        bundle().grid(grid)
    with pytest.raises(InputError, match="give names, and three sizes above 0"):
        bundle(keys=())
