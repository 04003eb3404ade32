"""The report as PDF/A-3b: read back by poppler's programs, which know nothing of what wrote it."""

from __future__ import annotations

import builtins
import importlib
import json
import os
import re
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cfcam.clinical.report import pdf, study_numbers, words, write_report
from cfcam.errors import InputError, MissingExtraError
from tests import machine
from tests.clinical.report.test_page import MODEL, empty_study, picture_study, volume_study


@pytest.fixture(autouse=True, scope="module")
def _writes_pdf() -> None:
    machine.pdf_writer()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = write_report(picture_study(), tmp_path_factory.mktemp("pdf"), formats=["pdf"])
    return path


def poppler(program: str, *arguments: object) -> str:
    path = machine.program(program, package="poppler-utils")
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def streams(data: bytes) -> list[bytes]:
    """All streams of a PDF, unpacked, that zlib packed."""
    found = []
    for raw in re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL):
        try:
            found.append(zlib.decompress(raw))
        except zlib.error:
            found.append(raw)
    return found


def test_it_is_a4_tagged_and_opens(report):
    info = poppler("pdfinfo", report)
    assert re.search(r"Page size: +595\.\d+ x 841\.\d+ pts \(A4\)", info)
    assert re.search(r"Tagged: +yes", info)
    assert re.search(r"JavaScript: +no", info)


def test_it_says_that_it_is_pdf_a_3b_and_keeps_to_what_that_forbids(report):
    data = report.read_bytes()
    parts = [data, *streams(data)]
    everything = b"\n".join(parts)
    assert b'pdfaid:part="3"' in everything
    assert b'pdfaid:conformance="B"' in everything
    assert b"/GTS_PDFA1" in everything
    assert b"/AFRelationship /Data" in everything
    assert b"/Interpolate true" not in everything
    for forbidden in (b"/JavaScript", b"/Launch", b"/Encrypt", b"/URI"):
        assert forbidden not in everything
    lines = poppler("pdffonts", report).splitlines()[2:]
    assert lines
    for line in lines:
        embedded, subset = line.split()[-5:-3]
        assert (embedded, subset) == ("yes", "yes")


def test_the_attachment_is_the_numbers_of_the_study(report, tmp_path):
    assert "1: study.json" in poppler("pdfdetach", "-list", report)
    poppler("pdfdetach", "-save", 1, "-o", tmp_path / "study.json", report)
    assert json.loads((tmp_path / "study.json").read_text(encoding="utf-8")) == study_numbers(picture_study())


def test_the_same_numbers_stand_on_paper(report):
    text = re.sub(r"\s+", " ", poppler("pdftotext", "-layout", report, "-"))
    for one in picture_study().maps:
        for region in one.regions.regions:
            assert words.size_lines(region.size, region.unit)[0] in text
            assert words.number(region.energy) in text
            assert words.index(region.peak) in text
    assert "Of the maps over the picture: opacity grows with the value, up to 50%." in text
    assert "Opacity of the map" not in text  # nothing to press on paper


def test_every_page_says_what_it_is(report):
    pages = poppler("pdftotext", report, "-").split("\f")[:-1]
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert "Research use only. Not a medical device." in page
        assert f"page {number} of {len(pages)}" in page


def test_metadata_hold_neither_patient_nor_date(report, tmp_path):
    info = poppler("pdfinfo", report) + poppler("pdfinfo", "-meta", report)
    assert "P-17" not in info
    assert "Date" not in info
    assert re.search(r"Title: +Report of case-7", info)
    for field in ("Author", "Subject", "Keywords"):
        assert f"{field}:" not in info


def test_the_same_study_gives_the_same_bytes(report, tmp_path):
    (again,) = write_report(picture_study(), tmp_path, formats=["pdf"])
    assert again.read_bytes() == report.read_bytes()


def test_they_are_the_same_at_another_time_and_without_harfbuzz(tmp_path, monkeypatch):
    # On a machine with Pango alone fontTools cuts the fonts down, and dates them.
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(importlib.import_module("weasyprint.pdf.fonts"), "harfbuzz_subset", None)
    written = []
    for now in (1_000_000_000, 1_700_000_000):
        monkeypatch.setattr("fontTools.misc.timeTools.time", SimpleNamespace(time=lambda now=now: float(now)))
        (path,) = write_report(picture_study(), tmp_path / str(now), formats=["pdf"])
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_pictures_are_on_the_pages_whole(report, tmp_path):
    boxes = poppler("pdftotext", "-bbox", report, "-")
    width, height = (float(v) for v in re.search(r'<page width="([\d.]+)" height="([\d.]+)"', boxes).groups())
    for x0, y0, x1, y1 in re.findall(r'<word xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)"', boxes):
        assert float(x0) >= 0.04 * width
        assert float(x1) <= 0.96 * width
        assert float(y0) >= 0
        assert float(y1) <= height


@pytest.mark.parametrize("make", [volume_study, empty_study])
def test_volumes_and_studies_with_nothing_are_written_too(make, tmp_path):
    (path,) = write_report(make(), tmp_path, formats=["pdf"])
    assert "Research use only" in poppler("pdftotext", path, "-")


@pytest.mark.parametrize("make", [picture_study, volume_study])
def test_pictures_are_eight_centimetres_wide_at_least(make, tmp_path):
    (path,) = write_report(make(), tmp_path, formats=["pdf"])
    lines = [line.split() for line in poppler("pdfimages", "-list", path).splitlines()[2:]]
    # columns: page, number, type, width, height, ..., x-ppi, y-ppi; masks are of the pictures before them
    shown = [(int(line[0]), int(line[3]) / float(line[12]) * 25.4) for line in lines if line[2] == "image"]
    assert len(shown) > 5
    assert min(width for _, width in shown) >= 80, shown


def test_signs_in_names_survive(tmp_path):
    study = picture_study(model=replace(MODEL, name="Überblick <b>5 µm</b> & Co"))
    (path,) = write_report(study, tmp_path, formats=["pdf"])
    assert "Überblick <b>5 µm</b> & Co" in re.sub(r"\s+", " ", poppler("pdftotext", path, "-"))


def without(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> object:
        if name.startswith("weasyprint"):
            raise error
        return real(name, package)

    pdf._weasyprint.cache_clear()
    monkeypatch.setattr(pdf, "import_module", refuse)


def test_a_missing_library_is_named_in_one_line_and_nothing_is_written(tmp_path, monkeypatch):
    without(monkeypatch, ModuleNotFoundError("No module named 'weasyprint'", name="weasyprint"))
    with pytest.raises(MissingExtraError, match=r"pip install 'cfcam\[report\]'") as caught:
        write_report(picture_study(), tmp_path, formats=["html", "pdf"])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    pdf._weasyprint.cache_clear()


def test_a_missing_pango_is_named_in_one_line(tmp_path, monkeypatch):
    without(monkeypatch, OSError("cannot load library 'libpango-1.0-0'"))
    with pytest.raises(InputError, match="Pango") as caught:
        write_report(picture_study(), tmp_path, formats=["pdf"])
    assert "\n" not in str(caught.value)
    pdf._weasyprint.cache_clear()


def test_nothing_is_fetched(tmp_path, monkeypatch):
    opened: list[str] = []
    real = builtins.open

    def watched(file: object, *arguments: object, **more: object) -> object:
        opened.append(str(file))
        return real(file, *arguments, **more)

    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    monkeypatch.setattr(builtins, "open", watched)
    evil = "</style><img src='file:///etc/hostname'><link rel=attachment href='file:///etc/hostname'>"
    write_report(picture_study(limits=(evil,), name="evil"), tmp_path, formats=["pdf"])
    assert not [name for name in opened if "hostname" in name]
