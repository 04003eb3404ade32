"""Files of each kind: what is in them, what is not, how large they are, and that they are the same each time."""

from __future__ import annotations

import base64
import re
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging import overlay
from cfcam.imaging.drawing.formats import FORMATS, quality_under, write_picture
from cfcam.imaging.drawing.page import Page
from cfcam.imaging.drawing.parts import ink_of
from cfcam.imaging.drawing.text import TextLine
from tests.machine import data_folder


def noise(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph(height, width):
    """Structure at many scales, and grain: what a JPEG of a camera is made of."""
    rng = np.random.default_rng(0)
    picture = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        coarse = (rng.random((cells, cells, 3)) * 255).astype(np.uint8)
        fine = PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)
        picture += np.asarray(fine) / (4 if cells < 256 else 8)
    return (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)


def laid_over(picture):
    rows, columns = np.indices(picture.shape[:2]) / np.array(picture.shape[:2])[:, None, None]
    return overlay(picture, np.exp(-((rows - 0.4) ** 2 + (columns - 0.6) ** 2) / 0.05).astype(np.float32))


def page():
    texts = [
        TextLine(10, 8, "<b> & Größe µ", 12, "#ffffff"),
        TextLine(60, 60, "R", 14, "#fff000", True, True, "#000000a0"),
    ]
    return Page(80, 120, ink_of("dark"), [(20, 30, noise())], texts)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_nothing_is_lost_where_nothing_may_be(tmp_path, kind):
    picture = noise()
    path = write_picture(picture, tmp_path / "a.b", kind)
    assert path == tmp_path / f"a.b.{kind}"
    assert (shown(path) == picture).all()


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_what_is_lost_elsewhere_is_hardly_seen(tmp_path, kind):
    bare = photograph(200, 300)
    lost = []
    for picture in (bare, laid_over(bare)):
        found = shown(write_picture(picture, tmp_path / "a", kind)).astype(float)
        assert found.shape == picture.shape
        lost.append(np.abs(found - picture).mean())
    assert lost[0] < 7  # the grain, which a map by value leaves as it is
    assert lost[1] < 1.05 * lost[0]


def shown(path):
    """The picture in a file, as pixels."""
    data = path.read_bytes()
    if path.suffix == ".svg":
        (held,) = re.findall(rb"base64,([^\"]+)", data)
        data = base64.b64decode(held)
    elif path.suffix == ".pdf":
        (held,) = re.findall(rb"/Subtype /Image.*?stream\r?\n(.*?)\r?\nendstream", data, re.S)
        height, width = (int(re.search(rb"/%s (\d+)" % name, data)[1]) for name in (b"Height", b"Width"))
        assert b"/Predictor 10" in data  # rows as PNG filters them
        rows = np.frombuffer(zlib.decompress(held), np.uint8).reshape(height, -1)
        return unfiltered(rows, width)
    return np.asarray(PILImage.open(BytesIO(data)).convert("RGB"))


def unfiltered(rows, width):
    """Rows of a PNG as a PNG again, which Pillow reads."""
    import struct

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return np.asarray(PILImage.open(BytesIO(png + chunk(b"IEND", b""))))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_the_same_each_time_and_says_nothing_of_time_or_place(tmp_path, kind):
    once, again = (write_picture(page(), tmp_path / name, kind).read_bytes() for name in ("a", "b"))
    assert once == again
    assert not re.search(rb"Date|Author|Creator|Producer|matplotlib|Exif|ICC_PROFILE|ICCP|EXIF|/root|/tmp", once)


def test_letters_stay_letters_in_svg_and_stand_where_they_do_elsewhere(tmp_path):
    from xml.etree import ElementTree as ET

    told = write_picture(page(), tmp_path / "a", "svg").read_text(encoding="utf-8")
    root = ET.fromstring(told)  # noqa: S314 (our own)
    lines = {node.text: node.attrib for node in root if node.tag.endswith("}text")}
    assert set(lines) == {"<b> & Größe µ", "R"}
    assert float(lines["<b> & Größe µ"]["x"]) == 10
    middle = float(lines["R"]["x"]) + float(lines["R"]["textLength"]) / 2
    assert middle == pytest.approx(60, abs=0.1)
    (image,) = (node.attrib for node in root if node.tag.endswith("}image"))
    assert (image["x"], image["y"], image["width"], image["height"]) == ("30", "20", "60", "40")


def test_letters_stay_letters_in_pdf_with_their_font(tmp_path):
    data = write_picture(page(), tmp_path / "a", "pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/ToUnicode" in data
    assert b"/MediaBox [ 0 0 120 80 ]" in data
    assert b"/FontFile2" not in write_picture(noise(), tmp_path / "b", "pdf").read_bytes()


def test_a_page_shown_smaller_keeps_its_pictures_whole_in_svg_and_pdf(tmp_path):
    small = page().within(60)
    assert b'width="60" height="40" viewBox="0 0 120 80"' in write_picture(small, tmp_path / "a", "svg").read_bytes()
    pdf = write_picture(small, tmp_path / "a", "pdf")
    assert b"/MediaBox [ 0 0 60 40 ]" in pdf.read_bytes()
    assert (shown(pdf) == noise()).all()
    assert shown(write_picture(small, tmp_path / "a", "png")).shape == (40, 60, 3)


@pytest.mark.parametrize(("saved", "expected"), [(100, 90), (95, 90), (80, 80), (75, 75), (60, 60), (30, 60)])
def test_a_jpeg_is_written_no_finer_than_the_one_under_it(tmp_path, saved, expected):
    path = tmp_path / "a.jpg"
    PILImage.fromarray(noise()).save(path, quality=saved)
    assert quality_under(path) == pytest.approx(expected, abs=1)


def test_what_is_no_jpeg_or_none_at_all_asks_for_the_usual_quality(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    PILImage.fromarray(noise()).save(tmp_path / "a.png")
    PILImage.fromarray(noise()).save(tmp_path / "png.jpg", "PNG")
    names = ("broken.jpg", "a.png", "png.jpg", "missing.jpg")
    assert {quality_under(path) for path in (None, *(tmp_path / name for name in names))} == {90}


@pytest.mark.parametrize("quality", [60, 75, 85, 95])
def test_an_overlay_of_a_jpeg_of_six_megapixels_is_at_most_half_as_large_again(tmp_path, quality):
    path = tmp_path / "a.jpg"
    PILImage.fromarray(photograph(2000, 3000)).save(path, quality=quality)
    drawn = laid_over(np.asarray(PILImage.open(path)))
    written = write_picture(drawn, tmp_path / "out", "jpg", quality=quality_under(path))
    assert written.stat().st_size <= 1.5 * path.stat().st_size


def test_overlays_of_real_jpegs_are_at_most_half_as_large_again(tmp_path):
    data = data_folder()
    files = [*data.glob("imagenet-val-boxes/images/*.JPEG")][:40] + [*data.glob("*/images/*.jpg")][:40]
    assert files
    for path in files:
        with PILImage.open(path) as opened:
            drawn = laid_over(np.asarray(opened.convert("RGB")))
        written = write_picture(drawn, tmp_path / "out", "jpg", quality=quality_under(path))
        assert written.stat().st_size <= 1.5 * path.stat().st_size, path.name


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="no picture format is called 'gif': give one of png, jpg"):
        write_picture(noise(), tmp_path / "a", "gif")
    with pytest.raises(InputError, match="too large for webp, which takes 16383 a side: give --max-size 16383"):
        write_picture(np.zeros((2, 16384, 3), np.uint8), tmp_path / "a", "webp")
    with pytest.raises(InputError, match="it must be uint8"):
        write_picture(noise().astype(float), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
