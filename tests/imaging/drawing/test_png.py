"""PNG files: every pixel, nothing but pixels, whole or not at all."""

import mmap
import random
import sys
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.errors import ImageError, InputError
from cfcam.imaging import list_images, read_image, save_image
from cfcam.imaging.drawing import png
from cfcam.imaging.drawing.overlay import overlay
from tests.imaging.drawing.test_overlay import RNG, picture


@pytest.mark.parametrize(
    "array", [picture(), picture()[..., 0], picture()[..., 0].astype(np.uint16) * 257, picture()[::-1, ::2]]
)
def test_what_is_saved_is_read_again(tmp_path, array):
    path = save_image(array, tmp_path / "a.png")
    image = read_image(path)
    assert image.pixels.dtype == array.dtype
    np.testing.assert_array_equal(image.pixels, array)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (64, 5), (65, 64), (200, 130)])
@pytest.mark.parametrize("kind", ["noise", "ramp", "drawing"])
@pytest.mark.parametrize("form", ["rgb", "grey", "grey16"])
def test_both_ways_of_packing_keep_every_pixel(tmp_path, size, kind, form):
    """Photographs and drawings are filtered differently, in strips of 64 rows."""
    shape = (*size, 3) if form == "rgb" else size
    dtype = np.uint16 if form == "grey16" else np.uint8
    array = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    if kind == "ramp":
        array = (np.indices(size).sum(0).reshape(*size, *[1] * (len(shape) - 2)) * 17 + np.zeros(shape)).astype(dtype)
    if kind == "drawing":
        array[:, size[1] // 4 :] = array[0, 0]
    path = save_image(array, tmp_path / "a.png")
    with PILImage.open(path) as checked:
        checked.verify()  # of the checksums
    with PILImage.open(path) as opened:
        assert opened.format == "PNG"
        np.testing.assert_array_equal(np.asarray(opened), array)


def test_another_packer_gives_the_same_pixels(tmp_path, monkeypatch):
    module = sys.modules[save_image.__module__]
    packed = []

    def compress(data, level):
        packed.append(level)
        return zlib.compress(data, level)

    monkeypatch.setattr(module, "_isal", lambda: SimpleNamespace(compress=compress))
    array = picture()
    np.testing.assert_array_equal(read_image(save_image(array, tmp_path / "a.png")).pixels, array)
    monkeypatch.setattr(module, "_isal", lambda: None)
    np.testing.assert_array_equal(read_image(save_image(array, tmp_path / "b.png")).pixels, array)
    assert packed == [3]


def test_the_same_pixels_have_the_same_bytes_wherever_in_memory_they_are_packed():
    """isal's levels 1 and 2 look at the places of a thread's stack: 5 of 1500 overlays of a cluster differed so."""
    ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.float32)
    maps = [np.clip((ramp - 8 * (n % 7) - 30) / 60, 0, 1) for n in range(160)]
    shown = [overlay(np.full((48, 64, 3), 40 + n, np.uint8), heat) for n, heat in enumerate(maps)]
    rows = [png._filtered(array.reshape(48, -1), 3, png._UP) for array in shown]
    once, differ, end = [png._deflated(one, drawing=True) for one in rows], [], threading.Event()

    def pack(packed):
        differ.extend(one for one, there in zip(rows, once, strict=True) if png._deflated(one, drawing=True) != there)
        packed.set()
        end.wait()

    generator, between, before = random.Random(1), [], threading.stack_size()  # noqa: S311
    try:
        for _ in range(300):  # each stays until the last has begun, so that its stack lies at a place of its own
            between.append(mmap.mmap(-1, mmap.PAGESIZE * generator.randrange(1, 500)))
            threading.stack_size(mmap.PAGESIZE * generator.randrange(64, 300))
            threading.Thread(target=pack, args=(packed := threading.Event(),), daemon=True).start()
            packed.wait()
    finally:
        threading.stack_size(before)
        end.set()
    assert not differ


def test_packing_is_worth_its_while(tmp_path):
    smooth = np.add.outer(np.arange(256), np.arange(256)) // 2
    noisy = (smooth + RNG.integers(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    assert save_image(noisy, tmp_path / "a.png").stat().st_size < noisy.size / 2
    sheet = np.full((512, 512, 3), 255, np.uint8)
    sheet[100:400, 100:400] = 40
    assert save_image(sheet, tmp_path / "b.png").stat().st_size < sheet.size / 100


def test_file_holds_nothing_but_pixels(tmp_path):
    data = save_image(picture(), tmp_path / "a.png").read_bytes()
    kinds, at = set(), 8
    while at < len(data):
        kinds.add(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}
    again = save_image(read_image(tmp_path / "a.png").pixels, tmp_path / "b.png")
    assert again.read_bytes() == data


def test_existing_file_is_replaced_and_no_other_name_is_left(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    save_image(picture(), str(tmp_path / "a.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_new_file_takes_the_name_at_once_rather_than_being_written_into_the_old(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    with (tmp_path / "a.png").open("rb") as reader:
        save_image(picture(), tmp_path / "a.png")
        assert reader.read() == b"old"


def test_failure_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ImageError, match=r"a\.png: cannot be written \(No space left on device\)"):
        save_image(picture(), tmp_path / "a.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_image(picture(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_file_under_way_is_not_taken_for_a_picture(tmp_path, monkeypatch):
    save_image(picture(), tmp_path / "a.png")
    seen = []
    replace = Path.replace

    def look(self, target):
        seen.append((self.stat().st_size > 0, list_images(tmp_path)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    save_image(picture(), tmp_path / "b.png")
    assert seen == [(True, [tmp_path / "a.png"])]


def test_writers_of_one_name_do_not_meet(tmp_path):
    arrays = [np.full((200, 200), value, np.uint8) for value in range(8)]
    threads = [threading.Thread(target=save_image, args=(array, tmp_path / "a.png")) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(np.unique(read_image(tmp_path / "a.png").pixels)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="float64"):
        save_image(np.zeros((2, 2)), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"\(2, 2, 4\)"):
        save_image(np.zeros((2, 2, 4), np.uint8), tmp_path / "a.png")
    with pytest.raises(InputError, match="PNG"):
        save_image(picture(), tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="No such file"):
        save_image(picture(), tmp_path / "no" / "a.png")
