"""Steps of a bundle's pipeline on a volume: MONAI's move nothing without metadata, and new values are no move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import Volume
from cfcam.imaging.bundle_preprocess import BundlePreprocess
from tests.imaging.test_bundle_transforms import AFFINE, CROP, DROP, LAZY, LOAD, NUMPY, RAS, SIZE, TENSOR, scan, step

ZOOM = step("Zoomd", zoom=1.3)
MOVED = "behind {} of the bundle's preprocessing the voxels do not lie"


class Valued:
    """Somebody's own that gives every voxel another value, or of another place."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, data: Any) -> Any:
        x = data["image"]
        if self.how == "crop to what is bright":
            found = torch.nonzero(x[0].as_tensor() > -0.5)
            low, high = found.amin(0), found.amax(0) + 1
            return {**data, "image": x[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]}
        new = {
            "max - x": lambda: x.max() - x,
            "1 - x": lambda: 1 - x,
            "|x - mean|": lambda: abs(x - x.mean()),
            "bright alone": lambda: (x > x.mean()).float() * x,
            "max - flipped": lambda: x.max() - torch.flip(x, (1,)),
            "flipped square": lambda: torch.flip(x, (2,)) ** 2,
            "rolled": lambda: torch.roll(x, 6, 2),
            "by the mean place": lambda: torch.roll(x, int(_middle(x.as_tensor())), 2),
            "last cut off": lambda: x[:, :-2],
        }[self.how]
        return {**data, "image": new()}


def _middle(x: torch.Tensor) -> float:
    return float((x * torch.arange(x.shape[2])[None, None, :, None]).sum() / x.sum())


def own(how: str) -> dict[str, Any]:
    return {"_target_": f"{__name__}.Valued", "how": how}


def prepared(*transforms: Any, compose: Any = None) -> BundlePreprocess:
    return BundlePreprocess(transforms=[*LOAD, *transforms], compose=compose or {}, trusted=True)


def rimmed() -> np.ndarray:
    """The scan, all of it positive, with a dark rim of another width on every side."""
    inside = np.abs(scan()) + 1
    return np.pad(inside[3:-1, 2:-4, 1:-3], ((3, 1), (2, 4), (1, 3)), constant_values=-1)


@pytest.mark.parametrize("compose", [{}, LAZY])
@pytest.mark.parametrize("without", [[DROP], [NUMPY, TENSOR]])
def test_a_crop_by_values_without_metadata_is_refused_where_it_crops_and_taken_where_it_does_not(without, compose):
    for margin in (0, 1):
        crop = step("CropForegroundd", source_key="image", margin=margin)
        one = prepared(*without, crop, compose=compose)
        whole = Volume(np.abs(scan()) + 1, AFFINE)
        if margin == 0:
            np.testing.assert_allclose(one.to_original(one(whole)[0], whole), whole.voxels, rtol=1e-5)
        with pytest.raises(InputError, match=MOVED.format("CropForegroundd")):
            one(Volume(rimmed(), AFFINE))
        known = prepared(crop, *without, compose=compose)
        volume, inside = Volume(rimmed(), AFFINE), np.s_[4:-2, 3:-5, 2:-4]
        back = known.to_original(known(volume)[0], volume)
        np.testing.assert_allclose(back[inside], volume.voxels[inside], rtol=1e-5)


@pytest.mark.parametrize("compose", [{}, LAZY])
@pytest.mark.parametrize("larger_first", [False, True])
@pytest.mark.parametrize(
    "sized",
    [
        step("CenterSpatialCropd", roi_size=SIZE),
        step("SpatialPadd", spatial_size=SIZE),
        step("Resized", spatial_size=SIZE),
        step("DivisiblePadd", k=4),
    ],
    ids=lambda one: one["_target_"],
)
def test_what_fits_one_size_alone_is_told_size_by_size(sized, larger_first, compose):

    one = prepared(DROP, sized, compose=compose)
    fits = Volume(scan(), AFFINE)
    other = scan()[:-3, :, :-1] if "Pad" in sized["_target_"] else np.pad(scan(), ((0, 3), (0, 2), (0, 5)), "edge")

    def refused() -> None:
        with pytest.raises(InputError, match=MOVED.format(sized["_target_"])):
            one(Volume(other, AFFINE))

    if larger_first:
        refused()
    np.testing.assert_allclose(one.to_original(one(fits)[0], fits), fits.voxels, rtol=1e-5)
    refused()


@pytest.mark.parametrize("how", ["max - x", "1 - x", "|x - mean|", "bright alone"])
@pytest.mark.parametrize("compose", [{}, LAZY])
def test_new_values_in_the_old_places_are_no_move(how, compose):
    one, volume = prepared(RAS, own(how), compose=compose), Volume(scan(), AFFINE)
    x = torch.from_numpy(scan())
    due = {
        "max - x": x.max() - x,
        "1 - x": 1 - x,
        "|x - mean|": (x - x.mean()).abs(),
        "bright alone": (x > x.mean()) * x,
    }
    np.testing.assert_allclose(one.to_original(one(volume)[0], volume), due[how], atol=1e-3)


@pytest.mark.parametrize("how", ["max - flipped", "flipped square", "rolled", "by the mean place"])
def test_a_move_is_one_whatever_becomes_of_the_values(how):
    with pytest.raises(InputError, match=MOVED.format("Valued")):
        prepared(RAS, own(how))(Volume(scan(), AFFINE))


def test_a_size_of_somebodys_own_is_that_of_the_trial_or_nothing_is_known_of_it():
    with pytest.raises(InputError, match=MOVED.format("Valued")):
        prepared(own("crop to what is bright"))(Volume(rimmed(), AFFINE))
    one, volume = prepared(own("last cut off")), Volume(scan(), AFFINE)
    np.testing.assert_allclose(one.to_original(one(volume)[0], volume)[:-2], scan()[:-2], rtol=1e-5)


def test_an_image_of_metadata_moves_beside_a_mask_without():
    mask = [step("CopyItemsd", names="mask"), {**DROP, "keys": "mask"}]

    one, volume = prepared(RAS, *mask, CROP), Volume(scan(), AFFINE)
    np.testing.assert_array_equal(one(volume), prepared(RAS, CROP)(volume))


@pytest.mark.parametrize(
    ("transforms", "compose", "said"),
    [
        ([step("GaussianSmoothd", sigma="big")], {}, "GaussianSmoothd .*correct its arguments in the bundle's conf"),
        ([step("Orientationd", axcodes="XYZ")], {}, "Orientationd .*correct its arguments in the bundle's conf"),
        ([{**RAS, "keys": "img"}], {}, "Orientationd .*KeyError.*correct its arguments in the bundle's conf"),
        ([RAS], {"lazy": "maybe"}, "the Compose of the bundle's preprocessing cannot be built .*: correct its arg"),
        ([RAS, ZOOM], {**LAZY, "overrides": {"image": {"mode": "cubicle"}}}, "the lazy resampling .*: correct lazy"),
        ([RAS, step("ScaleIntensityd")], {**LAZY, "overrides": [1]}, "the lazy resampling .*: correct lazy and overr"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_that_fails_in_the_run_is_told_as_one(transforms, compose, said):
    with pytest.raises(InputError, match=said) as told:
        prepared(*transforms, compose=compose)(Volume(scan(), AFFINE))
    assert "trained on" not in str(told.value)
    assert "\n" not in str(told.value)
