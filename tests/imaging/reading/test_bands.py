"""TIFFs with more bands than a picture shows: refused, taken whole, or told; never dropped or multiplied in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging import Preprocess, read_image

tifffile = pytest.importorskip("tifffile")
VALUES = (10, 20, 30, 250, 77, 99)


def bands(count, dtype=np.uint8, factor=1):
    return np.stack([np.full((6, 8), factor * value, dtype) for value in VALUES[:count]], -1)


def written(path, array, **tags):
    tifffile.imwrite(path, array, **tags)
    return path


def of(count):
    return Preprocess(size=(6, 8), mean=(0.0,) * count, std=(1.0,) * count)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("count", [4, 5, 6])
def test_further_bands_are_told_and_taken_by_a_network_of_as_many(count, dtype, most, separate, tmp_path):
    array = bands(count, dtype)
    tags = {"photometric": "rgb", "extrasamples": ["unspecified"] * (count - 3)}
    stored = np.moveaxis(array, -1, 0) if separate else array
    image = read_image(written(tmp_path / "a.tif", stored, planarconfig="separate" if separate else "contig", **tags))
    (told,) = image.notices
    assert f"it has {count} bands: red, green and blue are taken" in told
    np.testing.assert_array_equal(image.pixels, array[..., :3])
    x = of(count)(image)
    torch.testing.assert_close(x[:, 2, 3], torch.tensor(VALUES[:count]) / most)
    assert of(count).notices(image) == (f"its {count} bands are taken in their order",)
    torch.testing.assert_close(of(3)(image)[:, 0, 0], torch.tensor(VALUES[:3]) / most)
    for other in {2, 4, 5, 6} - {count}:
        with pytest.raises(InputError, match=f"the network takes {other} channels: give a TIFF with exactly {other}"):
            of(other)(image)


@pytest.mark.parametrize("count", [2, 4])
def test_bands_without_colours_are_for_a_network_of_as_many_alone(count, tmp_path):
    path = written(tmp_path / "a.tif", bands(count), photometric="minisblack", planarconfig="contig")
    image = read_image(path)
    assert f"it has {count} bands, and which is which is not known" in image.notices[0]
    torch.testing.assert_close(of(count)(image)[:, 0, 0], torch.tensor(VALUES[:count]) / 255)
    for other in (1, 3):
        with pytest.raises(InputError, match=f"the picture has {count} bands, the network takes {other}"):
            of(other)(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "blue"), [("assocalpha", 30), ("unassalpha", 15)])
def test_a_band_of_transparency_is_told_where_it_darkens(kind, blue, dtype, tmp_path):
    array = bands(4, dtype)
    array[..., 3] = np.iinfo(dtype).max // 2 + 1
    image = read_image(written(tmp_path / "a.tif", array, photometric="rgb", extrasamples=[kind]))
    assert image.notices == ("its band 4 of 4 is taken for transparency: where it is, the picture is black",)
    assert image.pixels[0, 0, 2] == blue
    torch.testing.assert_close(of(4)(image)[2, 0, 0] * np.iinfo(dtype).max, torch.tensor(30.0))
    array[..., 3] = np.iinfo(dtype).max
    assert read_image(written(tmp_path / "b.tif", array, photometric="rgb", extrasamples=[kind])).notices == ()


def test_separate_planes_of_16_bits_are_not_read_as_bytes(tmp_path):
    # Pillow 13 takes their low bytes for 8-bit pixels, without a word
    array = bands(3, np.uint16, factor=200)
    path = written(tmp_path / "a.tif", np.moveaxis(array, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path).pixels, array)


def test_without_tifffile_colours_are_read_and_the_rest_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    path = written(tmp_path / "a.tif", bands(4), photometric="rgb", extrasamples=["unspecified"])
    image = read_image(path)
    assert "the other is left out" in image.notices[0]
    with pytest.raises(InputError, match="the network takes 4 channels"):
        of(4)(image)
    grey = written(tmp_path / "b.tif", bands(2), photometric="minisblack", planarconfig="contig")
    with pytest.raises(MissingExtraError, match="tifffile"):
        read_image(grey)


def test_hundreds_of_bands_are_refused_before_they_are_read(tmp_path):
    path = written(tmp_path / "a.tif", np.zeros((4, 4, 200), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match="has 200 bands"):
        read_image(path)


def test_a_fifth_ink_is_told(tmp_path):
    path = written(tmp_path / "a.tif", bands(5), photometric="separated", extrasamples=["unspecified"])
    said = " ".join(read_image(path).notices)
    assert "CMYK" in said
    assert "5 bands" in said


# ------------------------------------------------------------------------------- what else of a file is not used


def test_pages_are_told(tmp_path):
    first, second = (PILImage.fromarray(np.full((4, 4), value, np.uint8)) for value in (9, 200))
    for name in ("a.tif", "a.gif", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert read_image(tmp_path / name).notices == ("it holds 2 pages or frames: the first is read",), name


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparency_is_told_where_it_hides_something(mode, tmp_path):
    colours = PILImage.new("RGBA", (4, 4), (200, 100, 50, 255))
    colours.putpixel((1, 1), (200, 100, 50, 0))
    if mode == "L":
        grey = PILImage.new("L", (4, 4), 7)
        grey.save(tmp_path / "a.png", transparency=7)
        grey.save(tmp_path / "b.png", transparency=8)
    else:
        colours.convert(mode).save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
        PILImage.new("RGBA", (4, 4), (200, 100, 50, 255)).convert(mode).save(tmp_path / "b.png")
    if mode != "P":
        assert read_image(tmp_path / "a.png").notices == ("it is transparent in places: they are black",)
    assert read_image(tmp_path / "b.png").notices == ()


def test_inks_and_cut_bits_are_told(tmp_path):
    PILImage.new("CMYK", (4, 4), (10, 20, 30, 40)).save(tmp_path / "a.jpg")
    assert "it is CMYK" in read_image(tmp_path / "a.jpg").notices[0]
    tifffile.imwrite(tmp_path / "a.tif", bands(3, np.uint16, factor=200), photometric="rgb")
    assert read_image(tmp_path / "a.tif").notices == (
        "its 16 bits are read as 8: only grey pictures without transparency keep them",
    )


def test_grey_and_colours_are_told_where_they_are_turned_into_each_other(tmp_path):
    PILImage.new("L", (4, 4), 9).save(tmp_path / "grey.png")
    PILImage.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "colour.png")
    grey, colour = read_image(tmp_path / "grey.png"), read_image(tmp_path / "colour.png")
    assert of(3).notices(grey) == ("it is grey: repeated to 3 channels",)
    assert of(1).notices(colour) == ("its colours are turned into grey",)
    assert of(3).notices(colour) == of(1).notices(grey) == ()
    for channels in (2, 4):
        with pytest.raises(InputError, match=f"the picture is grey, the network takes {channels} channels"):
            of(channels)(grey)
