import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging import Image, Preprocess
from tests.allocations import Large

MODES = ["stretch", "shorter-side+crop", "stretch+crop", "pad"]
SIZES = [(300, 500), (500, 300), (301, 223), (97, 131), (224, 224), (64, 64)]
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def image_of(pixels):
    return Image(np.asarray(pixels), None, "")


def noise(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def smooth(H, W):
    return np.asarray(PILImage.fromarray(noise(9, 12, 3)).resize((W, H), PILImage.Resampling.BICUBIC))


FILTERS = {
    "bilinear": PILImage.Resampling.BILINEAR,
    "bicubic": PILImage.Resampling.BICUBIC,
    "nearest": PILImage.Resampling.NEAREST,
}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(300, 500), (97, 131), (1100, 900)])
def test_stretch_agrees_with_pillow(interpolation, size):
    pixels = noise(*size, 3)
    expected = np.asarray(PILImage.fromarray(pixels).resize((224, 224), FILTERS[interpolation])) / 255
    got = Preprocess(interpolation=interpolation, **PLAIN)(image_of(pixels))
    # Pillow rounds to whole grey levels after each of its two passes
    assert np.abs(got.numpy() - np.moveaxis(expected, -1, 0)).max() < 1.05 / 255


def test_antialiasing_is_what_makes_the_difference():
    pixels = noise(1100, 900, 3)
    plain = F.interpolate(image_of(pixels).tensor()[None], (224, 224), mode="bilinear", align_corners=False)[0]
    assert (Preprocess(**PLAIN)(image_of(pixels)) - plain).abs().max() > 0.3


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (301, 223), (256, 256)])
def test_crop_agrees_with_pillow_by_the_rules_of_torchvision(size):
    H, W = size
    pixels = smooth(H, W)
    wide, tall = (int(256 * W / H), 256) if H <= W else (256, int(256 * H / W))
    left, top = round((wide - 224) / 2), round((tall - 224) / 2)
    resized = PILImage.fromarray(pixels).resize((wide, tall), PILImage.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224))) / 255
    got = Preprocess(resize="shorter-side+crop", **PLAIN)(image_of(pixels))
    assert np.abs(got.numpy() - np.moveaxis(expected, -1, 0)).max() < 1.05 / 255


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (256, 256)])
def test_a_stretch_is_cut_from_its_middle(size):
    pixels = smooth(*size)
    resized = PILImage.fromarray(pixels).resize((128, 64), PILImage.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((16, 8, 112, 56))) / 255
    got = Preprocess(resize="stretch+crop", crop_ratio=0.75, **PLAIN | {"size": (48, 96)})(image_of(pixels))
    assert np.abs(got.numpy() - np.moveaxis(expected, -1, 0)).max() < 1.05 / 255


def test_pad_keeps_the_proportions_between_black_bars():
    got = Preprocess(resize="pad", **PLAIN)(image_of(np.full((300, 500, 3), 255, np.uint8)))
    rows = got[0].amax(dim=1)
    assert rows.nonzero().flatten().tolist() == list(range(45, 179))  # 224 * 3/5 = 134.4 rows of 224
    assert got[:, 45:179].min() > 1 - 1e-6
    assert got.max() <= 1
    turned = Preprocess(resize="pad", **PLAIN)(image_of(np.full((500, 300, 3), 255, np.uint8)))
    torch.testing.assert_close(turned, got.transpose(1, 2))


def test_normalisation_is_per_channel():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 1] = 255
    got = Preprocess(size=2, mean=(0.5, 0.25, 0.1), std=(0.5, 0.25, 0.2))(image_of(pixels))
    assert (got.shape, got.dtype) == ((3, 2, 2), torch.float32)
    torch.testing.assert_close(got[:, 0, 0], torch.tensor([-1.0, 3.0, -0.5]))


def test_default_is_imagenets():
    preprocess = Preprocess()
    assert (preprocess.mean, preprocess.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert preprocess(image_of(noise(8, 8))).shape == (3, 224, 224)


def test_one_channel_is_pillows_grey():
    pixels = noise(50, 60, 3)
    expected = np.asarray(PILImage.fromarray(pixels).convert("L")) / 255
    got = Preprocess(size=(50, 60), mean=(0.0,), std=(1.0,))(image_of(pixels))
    assert got.shape == (1, 50, 60)
    assert np.abs(got[0].numpy() - expected).max() < 0.51 / 255


def test_grey_picture_in_one_and_in_three_channels():
    pixels = noise(50, 60)
    one = Preprocess(size=(50, 60), mean=(0.0,), std=(1.0,))(image_of(pixels))
    three = Preprocess(size=(50, 60), **PLAIN)(image_of(pixels))
    np.testing.assert_allclose(one[0].numpy(), pixels / 255, rtol=1e-6)
    assert torch.equal(three, one.expand(3, -1, -1))


def test_16_bits_reach_the_network():
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) + 30000
    got = Preprocess(size=16, mean=(0.0,), std=(1.0,))(image_of(ramp))
    assert len(got.unique()) == 256


# --- geometry


def square(H, W):
    """A bright square well off the centre, but inside of any centre crop here."""
    side = min(H, W) // 4
    top, left = H // 2 - side, W // 2 + side // 3
    mask = np.zeros((H, W), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("net", [224, (160, 224), (225, 129)])
def test_a_square_comes_back_at_its_place(resize, size, net):
    mask = square(*size)
    preprocess = Preprocess(size=net, resize=resize, mean=(0.0,), std=(1.0,))
    seen = preprocess(image_of(mask * np.uint8(255)))[0]
    back = preprocess.to_original(seen, size)
    assert back.shape == size
    top, left, bottom, right = preprocess.region(size)
    y, x = (np.arange(n) + 0.5 for n in size)
    visible = mask & ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
    assert visible.sum() > 0.6 * mask.sum()
    found = back.numpy() > 0.5
    assert (found & visible).sum() / (found | visible).sum() > 0.9
    assert 0 <= back.min() <= back.max() <= 1
    if size != (64, 64):  # mirrored or shifted by its width it would not be found
        assert (found & mask[:, ::-1]).sum() < 0.2 * mask.sum()


@pytest.mark.parametrize("resize", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_constant_map_is_constant_on_the_region_and_0_outside(resize, size):
    preprocess = Preprocess(size=(224, 192), resize=resize)
    back = preprocess.to_original(torch.full((2, 1, 224, 192), 0.7), size)
    top, left, bottom, right = preprocess.region(size)
    y, x = (np.arange(n) + 0.5 for n in size)
    inside = ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
    assert back.shape == (2, 1, *size)
    assert (back[1, 0].numpy() == np.where(inside, np.float32(0.7), 0)).all()


def test_padding_does_not_leak_into_the_picture():
    heatmap = torch.zeros(224, 224)
    heatmap[45:179] = 1  # the picture's rows
    back = Preprocess(resize="pad").to_original(heatmap, (300, 500))
    assert (back == 1).all()


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (3000, 7)])
def test_region(size):
    H, W = size
    whole = (0.0, 0.0, float(H), float(W))
    assert Preprocess().region(size) == whole
    assert Preprocess(resize="pad").region(size) == whole
    if max(size) / min(size) < 10:
        top, left, bottom, right = Preprocess(resize="shorter-side+crop").region(size)
        side = 0.875 * min(H, W)
        tolerance = max(H, W) / min(H, W) * 1.01
        assert math.isclose(bottom - top, side, abs_tol=tolerance)
        assert math.isclose(right - left, side, abs_tol=tolerance)
        assert math.isclose(top + bottom, H, abs_tol=2 * tolerance)
        assert math.isclose(left + right, W, abs_tol=2 * tolerance)


def test_the_frame_holds_the_padding_and_is_the_region_where_there_is_none():
    assert Preprocess(resize="pad").frame((50, 100)) == (-25, 0, 75, 100)
    for how in (Preprocess(), Preprocess(resize="shorter-side+crop")):
        assert how.frame((256, 512)) == how.region((256, 512))


def test_region_by_hand():
    # 256 x 512 halved once: 256 x 512 resized is itself; 16 off above and below, 144 off left and right
    assert Preprocess(resize="shorter-side+crop").region((256, 512)) == (16, 144, 240, 368)
    assert Preprocess(resize="shorter-side+crop").region((512, 1024)) == (32, 288, 480, 736)
    assert Preprocess(resize="shorter-side+crop", crop_ratio=1).region((512, 1024)) == (0, 256, 512, 768)
    assert Preprocess(resize="stretch+crop").region((512, 1024)) == (32, 64, 480, 960)


@pytest.mark.parametrize("size", [(300, 500), (100, 37), (224, 224)])
def test_stretched_map_is_torchs_linear_interpolation(size):
    heatmap = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(heatmap, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Preprocess().to_original(heatmap, size), expected, atol=2e-5, rtol=0)


def test_crop_of_the_original_size_is_put_back_pixel_by_pixel():
    heatmap = torch.rand(224, 224, generator=torch.Generator().manual_seed(0))
    back = Preprocess(resize="shorter-side+crop").to_original(heatmap, (256, 512))
    assert torch.equal(back[16:240, 144:368], heatmap)
    assert back.count_nonzero() == heatmap.count_nonzero()


def test_dtype_of_the_map():
    preprocess = Preprocess(size=4)
    assert preprocess.to_original(torch.rand(4, 4, dtype=torch.float64), (9, 9)).dtype == torch.float64
    assert preprocess.to_original(torch.rand(4, 4).bfloat16(), (9, 9)).dtype == torch.float32


def test_map_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"\(7, 7\).*\(224, 224\)"):
        Preprocess().to_original(torch.rand(7, 7), (300, 500))


def test_elongated_picture():
    thin = image_of(np.zeros((1, 20_000), np.uint8))
    with pytest.raises(InputError, match="1 x 20000 pixels is too elongated"):
        Preprocess(resize="shorter-side+crop")(thin)
    assert Preprocess(resize="pad")(thin).shape == (3, 224, 224)


# --- the dataclass


def test_provenance_makes_the_same_preprocess_again():
    preprocess = Preprocess(size=(10, 20), resize="pad", mean=(0.5,), std=(0.25,), interpolation="bicubic")
    assert Preprocess(**preprocess.as_dict()) == preprocess
    assert Preprocess(**json.loads(json.dumps(preprocess.as_dict()))) == preprocess
    assert (preprocess.input_size, preprocess.channels) == ((10, 20), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0}, {"size": (224,)}, {"size": 224.0}, {"size": (224, -1)}, {"resize": "fit"}, {"mean": (0.5, 0.5)},
        {"mean": (0.5,)}, {"mean": 0.5, "std": 0.5}, {"std": (0.2, 0.0, 0.2)}, {"std": (0.2, math.nan, 0.2)},
        {"mean": (math.inf, 0.0, 0.0)}, {"interpolation": "lanczos"}, {"crop_ratio": 0}, {"crop_ratio": 1.1},
    ],
)  # fmt: skip
def test_wrong_values_are_refused_in_one_line(wrong):
    with pytest.raises(InputError) as caught:
        Preprocess(**wrong)
    assert str(caught.value).isprintable()
    assert repr(next(iter(wrong.values()))) in str(caught.value) or "values" in str(caught.value)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("pixels", "how"),
    [
        ((97, 61, 3), {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
        ((97, 61, 3), {"mean": (0.5,), "std": (0.25,), "resize": "pad"}),
        ((97, 61), {"mean": (0.5,) * 3, "std": (0.25,) * 3, "resize": "shorter-side+crop", "order": "bgr"}),
        ((16, 61, 3), {"mean": (0.5,) * 3, "std": (0.25,) * 3, "order": "bgr"}),
    ],
)
def test_a_large_picture_is_prepared_part_by_part_to_the_same_bits(monkeypatch, interpolation, pixels, how):
    values = np.random.default_rng(0).integers(0, 65536, pixels).astype(np.uint16)
    image = Image(values, None, "0" * 64)
    preprocess = Preprocess(size=16, interpolation=interpolation, **how)
    whole = preprocess(image)
    monkeypatch.setattr("cfcam.imaging.preprocess._AT_ONCE", 61 * 10)  # ten rows, and seven at the end
    assert torch.equal(preprocess(image), whole)


def test_of_a_large_picture_little_is_held_in_floating_point():
    image = Image(np.zeros((6000, 4000, 3), dtype=np.uint8), None, "0" * 64)
    Preprocess(size=16)(image)
    tracemalloc.start()  # what becomes float32 is made by NumPy
    Preprocess(size=16)(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.pixels.nbytes


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("shapes", "channels"),
    [
        ([(16, 16, 3)] * 3, 3),
        ([(16, 16)] * 3, 3),
        ([(16, 16)] * 3, 1),
        ([(16, 16, 3)] * 3, 1),
        ([(16, 16, 3), (16, 16), (20, 16, 3)], 3),
        ([(20, 12, 3)] * 2, 3),
    ],
    ids=["colours", "grey to three", "grey", "colours to grey", "of several kinds", "of another size"],
)
@pytest.mark.parametrize("resize", MODES)
def test_several_are_prepared_each_as_alone(shapes, channels, resize, order):
    generator = np.random.default_rng(5)
    images = [image_of(generator.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]
    images[0] = image_of(images[0].pixels.astype(np.uint16) * 257) if len(set(shapes)) > 1 else images[0]
    values = {"mean": (0.4, 0.5, 0.6)[:channels], "std": (0.2, 0.3, 0.4)[:channels]}
    prepare = Preprocess(size=16, resize=resize, order=order, **values)
    together = prepare.together(images)
    assert len(together) == len(images)
    for one, image in zip(together, images, strict=True):
        assert torch.equal(one, prepare(image))


def test_a_map_on_a_large_picture_is_made_once():
    H, W = 1500, 2000
    heat = torch.rand(1, 32, 32)
    preprocess = Preprocess(size=32, **PLAIN)
    with Large(4 * H * W) as large:
        found = preprocess.to_original(heat, (H, W))
    assert large.made == ["aten.new_empty.default"]
    whole = torch.nn.functional.interpolate(heat[None], (H, W), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=0)
