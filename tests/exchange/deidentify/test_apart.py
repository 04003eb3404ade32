"""A decoder that dies takes its own process with it: the file is refused, all others are done."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless  # noqa: E402

from cfcam.errors import ImageError  # noqa: E402
from cfcam.exchange import Deidentifier  # noqa: E402
from cfcam.exchange.deidentify import apart as apart_module  # noqa: E402
from cfcam.exchange.deidentify.apart import Apart  # noqa: E402
from cfcam.exchange.deidentify.folder import deidentify_folder  # noqa: E402
from cfcam.exchange.deidentify.one import cleaned, needs_decoder  # noqa: E402
from cfcam.imaging.reading import parsing  # noqa: E402
from tests.exchange.phantoms import ct_sources  # noqa: E402

KEY = b"a key of the tests only"
DIES = """
import os
from cfcam.exchange.deidentify import apart
real = apart.cleaned
def cleaned(path, where, deidentifier):
    print("a decoder prints", flush=True)
    if "dies" in path.name:
        os._exit(9)
    if "hangs" in path.name:
        import time
        time.sleep(600)
    return real(path, where, deidentifier)
apart.cleaned = cleaned
apart.serve()
"""


def compressed(number: int) -> Dataset:
    source = ct_sources()[number]
    source.compress(RLELossless, generate_instance_uid=False)
    return source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for name, source in {"1": compressed(0), "2 dies": compressed(1), "3": compressed(2), "4": ct_sources()[3]}.items():
        source.save_as(place / f"{name}.dcm", enforce_file_format=True)
    return place


def test_the_process_dies_of_one_file_and_the_others_are_done(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(apart_module, "_START", DIES)
    report = deidentify_folder(folder, tmp_path / "out", Deidentifier(KEY))
    assert report.refused == [
        "file 2 of 4: the decoder of its pixels ended with 9, in a process of its own; export it again, uncompressed"
    ]
    assert len(report.written) == 3


def test_a_decoder_that_does_not_end_is_ended(folder, monkeypatch):
    monkeypatch.setattr(apart_module, "_START", DIES)
    (folder / "2 dies.dcm").rename(folder / "2 hangs.dcm")
    with Apart(Deidentifier(KEY), patience=0.5) as apart, pytest.raises(ImageError, match="did not answer"):
        apart(folder / "2 hangs.dcm", "file 2")


def test_in_a_process_of_its_own_it_gives_the_same_and_refuses_with_the_same_words(folder):
    with Apart(Deidentifier(KEY)) as apart:
        assert apart(folder / "1.dcm", "file 1") == cleaned(folder / "1.dcm", "file 1", Deidentifier(KEY))
        burned = pydicom.dcmread(folder / "3.dcm")
        burned.BurnedInAnnotation = "YES"
        burned.save_as(folder / "3.dcm")
        with pytest.raises(ImageError, match=r"^file 3: says that a name may stand in its pixels"):
            apart(folder / "3.dcm", "file 3")


def test_only_what_a_native_decoder_opens_goes_there(folder):
    assert needs_decoder(folder / "1.dcm", "x")
    assert not needs_decoder(folder / "4.dcm", "x")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"Rows": 60000, "Columns": 60000}, "has 3600.0 megapixels"),
        ({"NumberOfFrames": 2**31 - 1}, r"has 2147483647 frames of \d+ x \d+, \d+ million pixels together"),
        ({"SamplesPerPixel": 60000}, "claims 60000 values for each pixel"),
        ({"BitsAllocated": 60000}, "claims 1 values for each pixel of 60000 bits"),
    ],
)
def test_sizes_are_compared_before_anything_is_decompressed(fields, told, folder, monkeypatch):
    source = pydicom.dcmread(folder / "1.dcm")
    for name, value in fields.items():
        setattr(source, name, value)
    source.save_as(folder / "1.dcm")
    monkeypatch.setattr("pydicom.pixels.utils.iter_pixels", None)
    with pytest.raises(ImageError, match=told):
        cleaned(folder / "1.dcm", "file 1", Deidentifier(KEY))
    with pytest.raises(ImageError, match=told):
        Deidentifier(KEY)(source)


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (JPEGBaseline8Bit, "ffd8ffc0000b08{rows:04x}{columns:04x}ff" + "00" * 20),
        (JPEG2000, "ff4fff51002f0000{columns:08x}{rows:08x}" + "00" * 24 + "4000" + "00" * 20),
    ],
)
def test_a_codestream_of_more_colours_than_there_are_reaches_no_decoder(syntax, stream):
    source = ct_sources()[0]
    data = bytes.fromhex(stream.format(rows=source.Rows, columns=source.Columns))
    source.PixelData, source.file_meta.TransferSyntaxUID = encapsulate([data]), syntax
    source["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match=r"compressed pixels claim (255|16384) values for each pixel"):
        Deidentifier(KEY)(source)


def test_a_deflated_file_may_not_become_larger_than_is_read(folder, monkeypatch):
    source = ct_sources()[0]
    source.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    source.save_as(folder / "1.dcm", enforce_file_format=True)
    size = len(zlib.decompress(_part(folder / "1.dcm"), -15))
    monkeypatch.setattr(parsing, "LARGEST", size)
    cleaned(folder / "1.dcm", "file 1", Deidentifier(KEY))
    monkeypatch.setattr(parsing, "LARGEST", size - 1)
    for given in (folder / "1.dcm", (folder / "1.dcm").read_bytes()):
        with pytest.raises(ImageError, match="is deflated, and would become more than"):
            parsing.parse(given)


def _part(path: Path) -> bytes:
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")  # of the group, in its first element (PS3.10 7.1)
    return data[144 + length :]
