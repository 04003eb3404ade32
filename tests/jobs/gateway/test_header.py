"""Headers without end: refused after so much of them, with little memory, and what is skipped costs nothing."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from pydicom.uid import DeflatedExplicitVRLittleEndian

from cfcam.errors import ImageError
from cfcam.jobs.gateway import header as header_module
from cfcam.jobs.gateway.header import Header
from tests.imaging import dicoms
from tests.jobs.gateway.senders import radiographs, receiving, storescu
from tests.waiting import PATIENCE

ITEM, ITEM_END, END = (struct.pack("<HHL", 0xFFFE, *rest) for rest in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0)))
PRIVATE = struct.pack("<HH", 9, 0x1010)


def long(vr, length):
    """The beginning of a private element of a length; None: it has an end instead."""
    return PRIVATE + vr + struct.pack("<HL", 0, 0xFFFFFFFF if length is None else length)


def headers(kind, size):
    """Bytes of a header that hold so many more."""
    if kind == "a value":
        return long(b"OB", size) + bytes(size)
    if kind == "elements":
        return b"".join(struct.pack("<HH2sH8s", 9, 0x1000 + n, b"LO", 8, b"PLANTED ") for n in range(size // 16))
    item = ITEM + struct.pack("<HH2sH4s", 8, 0x100, b"SH", 4, b"code") + ITEM_END
    return long(b"SQ", None) + item * (size // len(item)) + END


def swollen(path, more, name="swollen.dcm"):
    """A copy of an object with more bytes before its patient."""
    data = path.read_bytes()
    at = data.index(b"\x10\0\x10\0PN")
    found = path.with_name(name)
    found.write_bytes(data[:at] + more + data[at:])
    return found


@pytest.fixture
def small(monkeypatch):
    """Bounds that a test reaches soon."""
    monkeypatch.setattr(header_module, "_MOST_PARSED", 1 << 16)
    monkeypatch.setattr(header_module, "_MOST_BEFORE_PIXELS", 1 << 18)


@pytest.mark.parametrize("kind", ["a value", "elements", "items"])
def test_a_header_beyond_the_bounds_is_refused_and_one_within_is_read(tmp_path, small, kind):
    (film,) = radiographs(tmp_path, 1)
    assert Header.of_file(swollen(film, headers(kind, 1 << 14)), "the object") == Header.of_file(film, "the object")
    with pytest.raises(ImageError, match="the object: its header is larger than may be"):
        Header.of_file(swollen(film, headers(kind, 1 << 19)), "the object")


def test_what_has_no_picture_may_be_large(tmp_path, small):
    report = dicoms.base("1.2.840.10008.5.1.4.1.1.104.1", "DOC")
    report.SeriesInstanceUID, report.EncapsulatedDocument = "1.2.9", bytes(1 << 19)
    assert Header.of_file(dicoms.save(report, tmp_path / "report.dcm"), "the object").rows == 0


@pytest.mark.parametrize(("size", "fits"), [(1 << 14, True), (1 << 20, False)])
def test_a_deflated_object_is_not_inflated_without_end(tmp_path, small, size, fits):
    file = swollen(*radiographs(tmp_path, 1), headers("a value", size))
    ds = pydicom.dcmread(file)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(file)
    assert file.stat().st_size < 1 << 16
    if fits:
        assert Header.of_file(file, "the object").rows == 48
    else:
        with pytest.raises(ImageError, match="larger than may be"):
            Header.of_file(file, "the object")


def test_senders_of_such_headers_are_refused_and_others_are_served(tmp_path, small):
    good, bad = radiographs(tmp_path, 2)
    with receiving(tmp_path / "gateway") as half:
        for kind in ("a value", "elements", "items"):
            told = storescu(half.port, swollen(bad, headers(kind, 1 << 19)))
            assert "CannotUnderstand" in told.stdout + told.stderr
        assert storescu(half.port, good).returncode == 0
        half.intake.settle()
        assert half.index.counts()["objects"] == {"taken": 1}
        assert list((half.spool.folder / "new").iterdir()) == []
    assert not [word for word in dicoms.PLANTED if word in half.told.getvalue()]


def test_while_a_header_is_parsed_others_are_served(tmp_path, monkeypatch):
    """The parser is silenced for both, and the second one does not wait for the first."""
    slow, quick = radiographs(tmp_path, 2)
    parse, begun, go_on = pydicom.dcmread, threading.Event(), threading.Event()

    def slowly(file, **options):
        if not begun.is_set():
            begun.set()
            assert go_on.wait(PATIENCE)
        return parse(file, **options)

    with receiving(tmp_path / "gateway") as half, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(pydicom, "dcmread", slowly)
        first = pool.submit(storescu, half.port, slow)
        assert begun.wait(PATIENCE)
        assert storescu(half.port, quick).returncode == 0
        assert len(list(half.spool.names())) == 1
        go_on.set()
        assert first.result().returncode == 0
        assert len(list(half.spool.names())) == 2
