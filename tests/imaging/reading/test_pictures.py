import contextlib
import hashlib
import io
import os
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageCms, ImageFile

from cfcam.errors import ImageError, InputError
from cfcam.imaging import EXTENSIONS, Image, list_images, read_image
from cfcam.imaging.reading import pictures

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY16 = np.array([[0, 1, 255, 256, 257], [32767, 32768, 65279, 65534, 65535]], dtype=np.uint16)


def write(path, picture, **options):
    if isinstance(picture, np.ndarray):
        picture = PILImage.fromarray(picture)
    picture.save(path, **options)
    return path


def png(width, height, depth, colour, rows, extra=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + chunk(b"IEND", b"")


def transparent_key(*values):
    content = struct.pack(f">{len(values)}H", *values)
    return struct.pack(">I", len(content)) + b"tRNS" + content + struct.pack(">I", zlib.crc32(b"tRNS" + content))


def tiff(width, height, bits, photometric, data, order="<"):
    """A little uncompressed grey TIFF, for what Pillow does not write."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(data))]  # fmt: skip
    body = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack(order + "HHI", tag, kind, 1)
        body += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + body + bytes(4) + data


def complaint(call, *args, **options):
    with pytest.raises(ImageError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert message == message.strip()
    assert message.isprintable()  # and so in one line
    assert ";" in message  # what is wrong; what to do
    return message, caught.value


# --- formats and modes


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "webp"])
def test_lossless_formats_give_the_pixels_that_were_written(tmp_path, extension):
    options = {"lossless": True} if extension == "webp" else {}
    image = read_image(write(tmp_path / f"a.{extension}", RGB, **options))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, RGB)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "gif"])
def test_grey_of_8_bit(tmp_path, extension):
    image = read_image(write(tmp_path / f"a.{extension}", GREY))
    np.testing.assert_array_equal(image.rgb(), np.repeat(GREY[..., None], 3, axis=2))
    if extension != "gif":
        np.testing.assert_array_equal(image.pixels, GREY)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"])
def test_compressed_tiff(tmp_path, compression):
    picture = PILImage.fromarray(GREY if compression != "group4" else GREY > 128)
    image = read_image(write(tmp_path / "a.tif", picture, compression=compression))
    np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("L")))


def test_jpeg_is_decoded_as_pillow_does(tmp_path):
    smooth = np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1)
    path = write(tmp_path / "a.jpg", smooth, quality=95)
    np.testing.assert_array_equal(read_image(path).pixels, np.asarray(PILImage.open(path)))
    assert read_image(write(tmp_path / "g.jpg", GREY)).pixels.shape == GREY.shape


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_grey_keeps_every_bit(tmp_path, extension):
    image = read_image(write(tmp_path / f"a.{extension}", GREY16))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, GREY16)


def test_16_bit_big_endian_tiff(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(5, 2, 16, 1, GREY16.astype(">u2").tobytes(), order=">"))
    image = read_image(path)
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, GREY16)


def test_white_is_zero_is_inverted_at_8_and_at_16_bit(tmp_path):
    (tmp_path / "8.tif").write_bytes(tiff(7, 5, 8, 0, GREY.tobytes()))
    (tmp_path / "16.tif").write_bytes(tiff(5, 2, 16, 0, GREY16.tobytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "8.tif").pixels, 255 - GREY)
    np.testing.assert_array_equal(read_image(tmp_path / "16.tif").pixels, 65535 - GREY16)


def test_12_bit_tiff_is_stretched_to_16_bit(tmp_path):
    # two 12 bit values in three bytes: 0x000 0xFFF, 0x800 0x001
    (tmp_path / "12.tif").write_bytes(tiff(2, 2, 12, 1, bytes.fromhex("000FFF800001")))
    expected = np.rint(np.array([[0, 4095], [2048, 1]]) * 65535 / 4095)
    np.testing.assert_array_equal(read_image(tmp_path / "12.tif").pixels, expected)


def test_32_bit_integers_are_16_bit_values(tmp_path):
    path = write(tmp_path / "a.tif", GREY16.astype(np.int32))
    np.testing.assert_array_equal(read_image(path).pixels, GREY16)
    assert "from -1 to 5" in complaint(read_image, write(tmp_path / "b.tif", np.array([[-1, 5]], np.int32)))[0]
    assert "to 65536" in complaint(read_image, write(tmp_path / "c.tif", np.array([[0, 65536]], np.int32)))[0]


def test_floating_point_values_are_taken_from_0_to_1(tmp_path):
    path = write(tmp_path / "a.tif", np.array([[0, 0.25, 1]], np.float32))
    np.testing.assert_array_equal(read_image(path).pixels, [[0, 16384, 65535]])


@pytest.mark.parametrize("values", [[0, 1.5], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_floating_point_values_out_of_range_are_refused(tmp_path, values):
    path = write(tmp_path / "a.tif", np.array([values], np.float32))
    message, _ = complaint(read_image, path)
    assert str(path) in message
    assert "[0, 1]" in message


def test_transparent_pictures_are_laid_over_black(tmp_path):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
    expected = [[[200, 100, 50], [0, 0, 0], [100, 50, 25]]]
    for extension in ("png", "tif"):
        np.testing.assert_array_equal(read_image(write(tmp_path / f"a.{extension}", rgba)).pixels, expected)
    la = PILImage.fromarray(np.array([[[200, 255], [200, 0], [200, 128]]], np.uint8))
    assert la.mode == "LA"
    np.testing.assert_array_equal(read_image(write(tmp_path / "la.png", la)).pixels, [[200, 0, 100]])


def test_transparent_webp_hides_its_colours(tmp_path):
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3] = 0
    rgba[2:, :, 3] = 255
    path = write(tmp_path / "a.webp", rgba, lossless=True, exact=True)
    assert np.asarray(PILImage.open(path))[0, 0, 0] == 200  # the colour is in the file
    np.testing.assert_array_equal(read_image(path).pixels, np.repeat([0, 0, 200, 200], 12).reshape(4, 4, 3))


def palette_picture():
    picture = PILImage.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    picture.putdata([0, 1, 2])
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    return picture


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "gif"])
def test_palette_pictures(tmp_path, extension):
    image = read_image(write(tmp_path / f"a.{extension}", palette_picture()))
    np.testing.assert_array_equal(image.pixels, [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])


@pytest.mark.parametrize(("extension", "transparency"), [("png", 1), ("gif", 1), ("png", b"\xff\x00\xff")])
def test_palette_with_a_transparent_entry(tmp_path, extension, transparency):
    path = write(tmp_path / f"a.{extension}", palette_picture(), transparency=transparency)
    np.testing.assert_array_equal(read_image(path).pixels, [[[10, 20, 30], [0, 0, 0], [70, 80, 90]]])


def test_palette_with_half_transparent_entries(tmp_path):
    path = write(tmp_path / "a.png", palette_picture(), transparency=b"\xff\x80\x00")
    np.testing.assert_array_equal(read_image(path).pixels, [[[10, 20, 30], [20, 25, 30], [0, 0, 0]]])


def test_palette_with_alpha_in_a_tiff(tmp_path):
    picture = PILImage.new("PA", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), (1, 255))
    picture.putpixel((1, 0), (1, 0))
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.tif", picture)).pixels, [[[40, 50, 60], [0, 0, 0]]])


@pytest.mark.parametrize(
    ("depth", "key", "row", "expected"),
    [
        (1, 1, b"\x50", [0, 0, 0, 0]),
        (2, 2, b"\x1b", [0, 85, 0, 255]),
        (4, 10, b"\x0f\xa5", [0, 255, 0, 85]),
        (8, 10, b"\x0a\x0b\x00\xff", [0, 11, 0, 255]),
        (16, 300, struct.pack(">4H", 300, 301, 44, 65535), [0, 301, 44, 65535]),
    ],
)
def test_grey_value_declared_transparent(tmp_path, depth, key, row, expected):
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 1, depth, 0, [row], transparent_key(key)))
    np.testing.assert_array_equal(read_image(path).pixels, [expected])


def test_colour_declared_transparent(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 1, 8, 2, [bytes([1, 2, 3, 1, 2, 4, 9, 9, 9])], transparent_key(1, 2, 3)))
    np.testing.assert_array_equal(read_image(path).pixels, [[[0, 0, 0], [1, 2, 4], [9, 9, 9]]])
    path.write_bytes(
        png(
            2,
            1,
            16,
            2,
            [struct.pack(">6H", 5000, 6000, 7000, 50000, 1, 1)],
            transparent_key(5000, 6000, 7000),
        )
    )
    np.testing.assert_array_equal(read_image(path).pixels, [[[0, 0, 0], [50000 >> 8, 0, 0]]])


def test_cmyk(tmp_path):
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 0] = 255  # cyan and nothing else: no red
    for extension in ("tif", "jpg"):  # the JPEG is an inverted one of Adobe's kind
        path = write(tmp_path / f"a.{extension}", PILImage.fromarray(cmyk, "CMYK"))
        assert b"Adobe" in path.read_bytes() or extension == "tif"
        np.testing.assert_allclose(read_image(path).pixels, np.broadcast_to([0, 255, 255], (16, 16, 3)), atol=3)


def test_ycbcr_and_lab(tmp_path):
    picture = PILImage.fromarray(np.repeat(np.repeat(RGB, 8, axis=0), 8, axis=1))
    ycbcr = read_image(write(tmp_path / "a.tif", picture.convert("YCbCr")))
    np.testing.assert_allclose(ycbcr.pixels, np.asarray(picture), atol=3)
    colours = np.array([[[255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 90, 90], [90, 100, 180]]], np.uint8)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(PILImage.fromarray(colours), *profiles, outputMode="LAB")
    np.testing.assert_allclose(read_image(write(tmp_path / "b.tif", lab)).pixels, colours, atol=3)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
def test_one_bit(tmp_path, extension):
    bits = GREY > 128
    np.testing.assert_array_equal(read_image(write(tmp_path / f"a.{extension}", bits)).pixels, bits * np.uint8(255))


def test_first_page_and_first_frame(tmp_path):
    first, second = PILImage.fromarray(RGB), PILImage.fromarray(255 - RGB)
    for name, options in (("a.tif", {}), ("a.webp", {"lossless": True}), ("a.png", {})):
        path = write(tmp_path / name, first, save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(read_image(path).pixels, RGB)


ORIENTED = {  # orientation -> what was done to the upright picture when it was stored
    1: lambda p: p,
    2: lambda p: np.fliplr(p),
    3: lambda p: np.rot90(p, 2),
    4: lambda p: np.flipud(p),
    5: lambda p: np.transpose(p, (1, 0, *range(2, p.ndim))),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(np.transpose(p, (1, 0, *range(2, p.ndim))), 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "16.png"])
def test_exif_orientation_is_applied(tmp_path, orientation, kind):
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:8, :8] = 255, 0, 0
    upright[:8, -8:] = 0, 255, 0
    if kind == "16.png":
        upright = upright[..., 0].astype(np.uint16) * 200 + upright[..., 1]
    exif = PILImage.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(ORIENTED[orientation](upright))
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    image = read_image(write(tmp_path / f"a.{kind}", stored, exif=exif, **options))
    assert image.size == (24, 40)
    np.testing.assert_allclose(image.pixels, upright, atol=8 if kind == "jpg" else 0)


def test_unreadable_exif_does_not_spoil_a_sound_picture(tmp_path):
    path = write(tmp_path / "a.png", RGB, exif=b"Exif\0\0nonsense, and no TIFF header")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(read_image(path).pixels, RGB)


def test_identity_is_the_hash_of_the_file(tmp_path):
    path = write(tmp_path / "a.png", RGB)
    image = read_image(str(path))
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image.path == path
    assert (image.spacing, image.affine) == (None, None)


def test_format_follows_from_the_content_not_from_the_name(tmp_path):
    path = write(tmp_path / "a.jpg", RGB, format="PNG")
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


# --- the Image


def test_16_bit_is_scaled_for_drawing_not_clipped():
    image = Image(GREY16, None, "")
    expected = np.rint(GREY16.astype(np.float64) * 255 / 65535)
    np.testing.assert_array_equal(image.rgb()[..., 1], expected)
    assert image.rgb().dtype == np.uint8
    assert len(np.unique(image.rgb())) > 3


def test_tensor_keeps_full_precision():
    tensor = Image(GREY16, None, "").tensor()
    assert (tensor.dtype, tensor.shape) == (torch.float32, (3, 2, 5))
    np.testing.assert_array_equal(np.rint(tensor[2].double().numpy() * 65535), GREY16)
    assert (float(tensor.min()), float(tensor.max())) == (0.0, 1.0)
    eight = Image(RGB, None, "").tensor()
    np.testing.assert_allclose(eight.numpy(), np.moveaxis(RGB, -1, 0) / 255, rtol=1e-6)
    eight[0].zero_()  # its own memory, each channel by itself
    assert eight[1].any()


def test_pixels_cannot_be_changed_and_the_callers_array_can():
    own = RGB.copy()
    image = Image(own, None, "")
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 0
    own[0, 0] = 1


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2, 4), np.uint8), np.zeros(3, np.uint8), np.zeros((2, 2)), np.zeros((0, 2), np.uint8)],
)
def test_what_is_no_image_array(pixels):
    with pytest.raises(InputError, match="pixels of"):
        Image(pixels, None, "")


# --- bad input


def test_missing_file(tmp_path):
    message, error = complaint(read_image, tmp_path / "no.png")
    assert message.startswith(f"{tmp_path / 'no.png'}: no such file")
    assert isinstance(error.__cause__, FileNotFoundError)


def test_directory(tmp_path):
    assert f"{tmp_path}: is a folder" in complaint(read_image, tmp_path)[0]


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    assert "pipe" in complaint(read_image, tmp_path / "p.png")[0]


def test_unreadable_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", RGB)

    def refuse(path, *args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    assert f"{path}: may not be read" in complaint(read_image, path)[0]


def test_impossible_names(tmp_path):
    complaint(read_image, "a\0b.png")
    complaint(read_image, "x" * 5000)
    assert "\\n" in complaint(read_image, tmp_path / "two\nlines.png")[0]


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert f"{tmp_path / 'a.png'}: the file is empty (0 bytes)" in complaint(read_image, tmp_path / "a.png")[0]


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp", "webp", "gif"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_truncated_file(tmp_path, extension, part):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = write(tmp_path / f"whole.{extension}", noise).read_bytes()
    path = tmp_path / f"cut.{extension}"
    path.write_bytes(whole[: int(len(whole) * part)])
    message, error = complaint(read_image, path)
    assert str(path) in message
    assert error.__cause__ is not None
    if extension in ("png", "jpg", "bmp"):
        assert "cut off" in message
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_truncation_is_not_hidden_by_a_switch_set_elsewhere(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg", RGB)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "LOAD_TRUNCATED_IMAGES" in complaint(read_image, path)[0]


def test_broken_data(tmp_path):
    data = bytearray(write(tmp_path / "a.png", RNG.integers(0, 256, (64, 64), dtype=np.uint8)).read_bytes())
    data[100:120] = bytes(20)
    (tmp_path / "b.png").write_bytes(data)
    assert "PNG file is broken" in complaint(read_image, tmp_path / "b.png")[0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"patient,age\nNadia,4\n", "a text file"),
        ("Ünïcode ".encode() * 100, "a text file"),
        (b"%PDF-1.7 \xff", "a PDF document"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"\x00\x00\x00\x18ftypheic", "a HEIC picture"),
        (b"NRRD0004\ntype: short", "an NRRD volume"),
        (b"ObjectType = Image\nNDims = 3\n", "a MetaImage volume"),
        (b"NDims = 3\n", "a MetaImage volume"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "a NumPy array"),
        (b"PK\x03\x04" + bytes(26) + b"train_images.npy\x01", "a NumPy archive (.npz)"),
        (b"PK\x03\x04" + bytes(26) + b"a/b.txt\x01", "a zip archive"),
        (b"\x00\xff\x12\x07" * 9, "no picture"),
    ],
)
def test_not_an_image(tmp_path, content, kind):
    path = tmp_path / "renamed.png"
    path.write_bytes(content)
    message, _ = complaint(read_image, path)
    assert message.startswith(f"{path}: is {kind}")
    assert "TIFF" in message


def test_too_many_pixels_is_found_before_decoding(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", np.zeros((30, 50), np.uint8))
    assert read_image(path, max_pixels=1500).size == (30, 50)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    message, _ = complaint(read_image, path, max_pixels=1499)
    assert "0.0015 megapixels (50 x 30)" in message
    assert "0.001499" in message
    assert "max_pixels" in message
    assert "--max-megapixels" in message


def test_decompression_bomb_is_refused_without_warning_and_without_touching_pillows_limit(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60_000, 60_000, 8, 0, []))
    before = PILImage.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "3600.0 megapixels (60000 x 60000)" in complaint(read_image, path)[0]
    assert before == PILImage.MAX_IMAGE_PIXELS


def test_limit_may_be_raised_above_pillows_own(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", GREY)
    monkeypatch.setattr(PILImage, "MAX_IMAGE_PIXELS", 10)  # of which 35 pixels are a bomb
    with pytest.raises(PILImage.DecompressionBombError):
        PILImage.open(path)
    np.testing.assert_array_equal(read_image(path).pixels, GREY)
    tif = write(tmp_path / "a.tif", GREY)  # where Pillow insists
    assert "too large a TIFF for Pillow" in complaint(read_image, tif)[0]


def test_max_pixels_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="max_pixels is 0"):
        read_image(tmp_path / "a.png", max_pixels=0)


def test_unsupported_pixels(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(2, 2, 64, 1, bytes(32)))
    message, error = complaint(read_image, path)
    assert str(path) in message
    assert "PNG" in message
    assert error.__cause__ is not None


def samples():
    exif = PILImage.Exif()
    exif[274] = 6
    pictures = (
        ("PNG", RGB, {}),
        ("PNG", GREY16, {}),
        ("JPEG", RGB, {"exif": exif}),
        ("TIFF", RGB, {}),
        ("TIFF", GREY, {"compression": "tiff_lzw"}),
        ("TIFF", GREY, {"compression": "jpeg"}),
        ("BMP", RGB, {}),
        ("WEBP", RGB, {}),
        ("GIF", GREY, {"transparency": 3}),
    )
    for form, array, options in pictures:
        buffer = io.BytesIO()
        PILImage.fromarray(array).save(buffer, form, **options)
        yield buffer.getvalue()
    yield png(4, 1, 4, 0, [b"\x0f\xa5"], transparent_key(10))


SAMPLES = list(samples())
# libtiff says what it thinks on the process's standard error; Pillow warns of odd EXIF
QUIET = "ignore::UserWarning"


@st.composite
def headed(draw):
    return draw(st.sampled_from(SAMPLES))[:12] + draw(st.binary(max_size=99))


@st.composite
def damaged(draw):
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@pytest.mark.filterwarnings(QUIET)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(damaged(), st.binary(max_size=300), headed()))
@example(SAMPLES[0])
@example(b"\x89PNG\r\n\x1a\n")
def test_any_bytes_are_read_or_explained(tmp_path, data):
    path = tmp_path / "any"
    path.write_bytes(data)
    image, error = None, ""
    try:
        image = read_image(path, max_pixels=100_000)
    except ImageError as refused:
        error = str(refused)
    if image is None:
        assert error.startswith(str(path))
        assert error.isprintable()
    else:
        assert image.rgb().shape == (*image.size, 3)


# --- list_images


@pytest.fixture
def folder(tmp_path):
    for name in ("scan10.png", "scan2.png", "Scan1.JPG", "notes.txt", ".hidden.png", "._scan2.png", "plain",
                 "sub/b.tiff", "sub/deep/a.webp", ".git/c.png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(paths, base):
    return [str(path.relative_to(base)) for path in paths]


def test_folder_in_natural_order(folder):
    assert names(list_images(folder), folder) == ["Scan1.JPG", "scan2.png", "scan10.png"]


def test_folder_with_subfolders(folder):
    found = names(list_images([folder], recursive=True), folder)
    assert sorted(found) == ["Scan1.JPG", "scan10.png", "scan2.png", "sub/b.tiff", "sub/deep/a.webp"]
    assert found == names(list_images([folder / "sub", folder], recursive=True), folder)


def test_every_known_extension_is_taken(tmp_path):
    for extension in EXTENSIONS:
        (tmp_path / f"a{extension.upper()}").touch()
    assert len(list_images(tmp_path)) == len(EXTENSIONS) == len(set(EXTENSIONS))


def test_file_named_explicitly_is_always_taken(folder):
    assert names(list_images([folder / "notes.txt", str(folder / ".hidden.png")]), folder) == [
        ".hidden.png",
        "notes.txt",
    ]


def test_glob(folder):
    assert names(list_images(str(folder / "scan*")), folder) == ["scan2.png", "scan10.png"]
    assert names(list_images(str(folder / "*")), folder) == [
        "Scan1.JPG",
        "scan2.png",
        "scan10.png",
        "sub/b.tiff",
    ]
    assert names(list_images(str(folder / "**" / "*.webp")), folder) == ["sub/deep/a.webp"]


def test_name_with_brackets_is_a_name_first(tmp_path):
    (tmp_path / "a[1].png").touch()
    (tmp_path / "a1.png").touch()
    assert names(list_images(tmp_path / "a[1].png"), tmp_path) == ["a[1].png"]


def test_duplicates_are_removed(folder, monkeypatch):
    (folder / "link").symlink_to(folder / "sub")
    monkeypatch.chdir(folder)
    found = list_images(["scan2.png", "./scan2.png", folder / "sub" / ".." / "scan2.png", "link/b.tiff", "sub/b.tiff"])
    assert [path.name for path in found] == ["b.tiff", "scan2.png"]


def test_two_links_to_one_file_are_two_files(folder):
    (folder / "other.png").symlink_to(folder / "scan2.png")
    assert "other.png" in names(list_images(folder), folder)


def test_missing_path_and_unmatched_glob_are_named(folder):
    assert str(folder / "no.png") in complaint(list_images, [folder, folder / "no.png"])[0]
    assert str(folder / "no*.png") in complaint(list_images, str(folder / "no*.png"))[0]
    assert "no picture, only other" in complaint(list_images, str(folder / "notes*"))[0]


def test_folder_without_pictures(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    message, _ = complaint(list_images, tmp_path)
    assert message.startswith(f"{tmp_path}: the folder holds no picture")
    assert "recursive=True" in message


def test_folder_that_may_not_be_listed(folder, monkeypatch):
    real = os.scandir

    def refuse(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message, _ = complaint(list_images, folder, recursive=True)
    assert str(folder / "sub") in message
    assert "Permission denied" in message


@given(st.lists(st.text("ab01290", min_size=1, max_size=5), unique=True, min_size=1))
@settings(max_examples=30, deadline=None)
def test_order_does_not_depend_on_the_order_given(stems):
    import tempfile

    with tempfile.TemporaryDirectory() as base:
        paths = [Path(base, f"{stem}.png") for stem in stems]
        for path in paths:
            path.touch()
        found = list_images(paths)
        assert found == list_images(paths[::-1]) == list_images(base)
        numbers = [int(path.stem) for path in found if path.stem.isdigit()]
        assert numbers == sorted(numbers)


def test_reading_leaves_pillows_globals_alone(tmp_path):
    before = (PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    (tmp_path / "a.png").write_bytes(SAMPLES[0][:-30])
    with contextlib.suppress(ImageError):
        read_image(tmp_path / "a.png")
    assert before == (PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK", "RGBA", "LA", "I;16", "I", "F"])
def test_a_picture_that_is_read_in_strips_is_the_same_picture(tmp_path, monkeypatch, mode):
    values = np.random.default_rng(0).integers(0, 256, (37, 20, 4), dtype=np.uint8)
    grey = {"I;16": values[..., 0].astype(np.uint16), "I": values[..., 0].astype(np.int32), "F": values[..., 0] / 256}
    if mode in grey:
        made = PILImage.fromarray(grey[mode].astype(np.float32) if mode == "F" else grey[mode])
    else:
        made = PILImage.fromarray(values, "RGBA").convert(mode)
    made.save(tmp_path / "a.tif")
    whole = read_image(tmp_path / "a.tif").pixels
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", 100)  # five rows, and two at the end
    in_strips = read_image(tmp_path / "a.tif").pixels
    assert in_strips.dtype == whole.dtype
    np.testing.assert_array_equal(in_strips, whole)


def test_beside_its_pixels_a_large_picture_costs_no_further_copy_of_them(tmp_path):
    """Pillow's own memory is not traced: 4 bytes a pixel. Its own way to an array makes two copies of the pixels."""
    PILImage.new("RGB", (4000, 3000), (1, 2, 3)).save(tmp_path / "a.png")
    tracemalloc.start()
    image = read_image(tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * image.pixels.nbytes
