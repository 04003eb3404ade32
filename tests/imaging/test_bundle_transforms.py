"""A bundle's transforms: the array of MONAI's own Compose, lazy or not, and none that leave the affine behind."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from cfcam.errors import InputError
from cfcam.imaging import Volume, read_volume
from cfcam.imaging.bundle_preprocess import BundlePreprocess

AFFINE = np.array([[0.0, 0.9, 0, -20], [-1.2, 0, 0, 30], [0, 0, 3, 7], [0, 0, 0, 1]])
SIZE = (20, 24, 12)
BLOB = (6, 15, 4)


def step(name: str, **words: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **words}


LOAD = [step("LoadImaged"), step("EnsureChannelFirstd")]
RAS, MM = step("Orientationd", axcodes="RAS"), step("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear")
RESIZED, FLIP = step("Resized", spatial_size=[16, 17, 18], mode="trilinear"), step("Flipd", spatial_axis=1)
CROP = step("SpatialCropd", roi_start=[1, 2, 3], roi_end=[14, 15, 12])
SCALE = step("ScaleIntensityRanged", a_min=-100, a_max=300, b_min=0.0, b_max=1.0, clip=True)
DROP, NUMPY, TENSOR = step("EnsureTyped", track_meta=False), step("ToNumpyd"), step("ToTensord")
LAZY = {"lazy": True}


class Normalised:
    """A transform of somebody's own that changes values alone."""

    def __call__(self, data: Any) -> Any:
        image = data["image"]
        return {**data, "image": (image - image.mean()) / image.std()}


class Turned:
    """One that turns two axes, and not the affine."""

    def __call__(self, data: Any) -> Any:
        image = data["image"]
        return {**data, "image": type(image)(image.as_tensor().transpose(1, 2).contiguous(), affine=image.affine)}


def scan() -> np.ndarray:
    """Noise with a bright blob, off the middle along each axis."""
    place = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), -1)
    noise = np.random.default_rng(0).normal(50, 20, SIZE)
    return (noise + 400 * (((place - BLOB) * (1.2, 0.9, 3.0)) ** 2).sum(-1).__lt__(16)).astype(np.float32)


@pytest.mark.parametrize(
    ("transforms", "compose"),
    [
        ([RAS, MM, SCALE], {}),
        ([RAS, MM, RESIZED, SCALE], LAZY),
        ([RAS, MM, SCALE, RESIZED, FLIP], LAZY),
        ([RAS, MM, CROP, RESIZED], {**LAZY, "overrides": {"image": {"mode": "nearest", "padding_mode": "border"}}}),
        ([RAS, {**MM, "lazy": True}, {**RESIZED, "lazy": True}], {"lazy": None}),
        ([RAS, {**MM, "lazy": True}, RESIZED], {"map_items": False, "unpack_items": True}),
        ([step("Rotate90d", spatial_axes=[0, 2]), step("Zoomd", zoom=0.8), step("DivisiblePadd", k=8)], {}),
        ([RAS, step("CropForegroundd", source_key="image", margin=1), SCALE, DROP], LAZY),
        ([RAS, MM, NUMPY, TENSOR], {}),
        ([RAS, MM, {"_target_": f"{__name__}.Normalised"}], LAZY),
        ([step("CopyItemsd", names="b"), step("DeleteItemsd", keys="b"), step("CastToTyped", dtype="int16")], {}),
    ],
)  # fmt: skip
def test_the_array_is_that_of_monais_compose_and_a_map_comes_back_where_it_lay(tmp_path, transforms, compose):
    nib.save(nib.Nifti1Image(scan(), AFFINE), tmp_path / "ct.nii.gz")
    config = {"_target_": "Compose", "transforms": [*LOAD, *transforms], **compose}
    own = ConfigParser({"p": config}).get_parsed_content("p")({"image": str(tmp_path / "ct.nii.gz")})["image"]
    volume = read_volume(tmp_path / "ct.nii.gz")
    prepared = BundlePreprocess(transforms=config["transforms"], compose=compose, trusted=True)
    x = prepared(volume)
    torch.testing.assert_close(x, torch.as_tensor(np.asarray(own)).float(), rtol=0, atol=0)
    bright = prepared.to_original((x[0] > (x.min() + x.max()) / 2).float(), volume).numpy()
    place = (np.argwhere(bright > -1) * bright.reshape(-1, 1)).sum(0) / bright.sum()
    np.testing.assert_allclose(place, BLOB, atol=0.7)


@pytest.mark.parametrize(
    ("transforms", "compose", "wrong"),
    [
        ([RAS, DROP, FLIP], {}, "Flipd"),
        ([RAS, DROP, FLIP], LAZY, "Flipd"),
        ([RAS, DROP, CROP, SCALE], {}, "SpatialCropd"),
        ([RAS, NUMPY, FLIP, TENSOR], {}, "Flipd"),
        ([RAS, NUMPY, RESIZED, TENSOR], {}, "Resized"),
        ([NUMPY, MM, TENSOR], {}, "Spacingd"),
        ([RAS, step("Transposed", indices=[0, 3, 2, 1])], {}, "Transposed"),
        ([RAS, MM, {"_target_": f"{__name__}.Turned"}, SCALE], {}, "Turned"),
    ],
)
def test_what_moves_voxels_and_not_the_affine_is_refused_by_name(transforms, compose, wrong):
    """Also where the affine of the file is the one that MONAI makes up."""
    prepared = BundlePreprocess(transforms=[*LOAD, *transforms], compose=compose, trusted=True)
    for affine in (np.diag([2.0, 1, 1, 1]), AFFINE):
        for _ in range(2):
            with pytest.raises(InputError, match=f"behind {wrong} of the bundle's preprocessing the voxels do not lie"):
                prepared.grid(Volume(scan(), affine))


def test_what_is_not_honoured_is_refused_in_one_line():
    with pytest.raises(InputError, match="Compose has threading: its arguments are map_items, unpack_items, log_stats"):
        BundlePreprocess(transforms=LOAD, compose={"threading": True})
    with pytest.raises(
        InputError, match=r"LoadImaged of the bundle's preprocessing has dtype='int16', by which it read"
    ):
        BundlePreprocess(transforms=[step("LoadImaged", dtype="int16")])
    volume = Volume(scan(), AFFINE)
    with pytest.raises(
        InputError, match=r"Spacingd of the bundle's preprocessing cannot be built .*pixdim.*: correct its"
    ):
        BundlePreprocess(transforms=[*LOAD, step("Spacingd")])(volume)
    with pytest.raises(InputError, match="the bundle's transforms leave nothing as 'image': repair its configuration"):
        BundlePreprocess(transforms=[*LOAD, step("DeleteItemsd")])(volume)
    with pytest.raises(InputError, match=r"Resized of the bundle's preprocessing fails on this volume \(ValueError"):
        BundlePreprocess(transforms=[*LOAD, RAS, step("Resized", spatial_size=[3, 3])], compose=LAZY)(volume)
