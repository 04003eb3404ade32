"""The page of a batch."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image as PILImage

from cfcam.clinical.checks.results import CheckResult, Outcome
from cfcam.clinical.report import IndexEntry, write_index, write_report
from cfcam.errors import InputError
from cfcam.imaging.measured import Measured
from tests.clinical.report.test_page import Page, empty_study, picture_study, volume_study


def entries(folder: Path) -> list[IndexEntry]:
    passed = (CheckResult("organ: energy", Outcome.PASS, 0.9, 0.5, ""),)
    studies = [picture_study(), volume_study(checks=passed), empty_study()]
    return [IndexEntry.of(study, write_report(study, folder / study.name)) for study in studies]


def test_an_entry_has_the_numbers_of_its_study(tmp_path):
    study = picture_study()
    entry = IndexEntry.of(study, [tmp_path / "a.html"])
    assert (entry.name, entry.prediction, entry.probability) == ("case-7", "nodule", 0.8134)
    assert (entry.explained, entry.method, entry.status) == ("nodule", "grad-cam", "ok")
    assert (entry.region_size, entry.unit) == (study.maps[0].regions["map"].size, "mm²")
    assert (entry.flags, entry.assessed) == (1, 2)
    assert entry.files == (tmp_path / "a.html",)
    assert not entry.size_shown.endswith("detector")
    first = replace(study.maps[0], regions=replace(study.maps[0].regions, measured=Measured.DETECTOR))
    film = IndexEntry.of(replace(study, maps=(first,)), [])
    assert film.size_shown == f"{entry.size_shown} at the detector"


def test_an_entry_without_anything_knows_nothing():
    bare = IndexEntry.of(replace(empty_study(), maps=()), [])
    assert (bare.prediction, bare.probability, bare.explained, bare.method, bare.status) == (
        None,
        None,
        None,
        None,
        "no map",
    )
    assert (bare.region_size, bare.unit, bare.flags, bare.assessed, bare.files) == (None, "", 0, 0, ())
    unreadable = IndexEntry.of(empty_study(), [])
    assert (unreadable.region_size, unreadable.status) == (None, "no positive evidence")


@pytest.mark.parametrize("make", [picture_study, volume_study, empty_study])
def test_the_small_picture_is_small(make):
    kind, data = IndexEntry.of(make(), []).thumbnail.split(",")
    assert kind == "data:image/jpeg;base64"
    picture = PILImage.open(BytesIO(base64.b64decode(data)))
    assert max(picture.size) == 128
    assert len(data) < 12_000


def test_every_study_has_a_line_with_its_files(tmp_path):
    page = Page(write_index(entries(tmp_path), tmp_path).read_text(encoding="utf-8"))
    assert [found["href"] for found in page.all("a")] == [
        "case-7/case-7_report.html", "volume-1/volume-1_report.html", "bare/bare_report.html",
    ]  # fmt: skip
    for link in page.all("a"):
        assert (tmp_path / link["href"]).is_file()
    assert [found.get("class") for tag, found in page.elements if tag == "tr"][1:] == ["flagged", "clear", "unassessed"]
    assert "3 studies; 1 with a flagged check, 1 without any check assessed." in page.text
    assert "1 of 2" in page.text
    assert "none of 1" in page.text
    assert "not assessed" in page.text
    assert "Research use only. Not a medical device." in page.text
    assert all(found["alt"].strip() for found in page.all("img"))


def test_values_to_sort_by_are_the_numbers_and_empty_where_they_are_not_known(tmp_path):
    made = entries(tmp_path)
    page = Page(write_index(made, tmp_path).read_text(encoding="utf-8"))
    sortable = [found["data-value"] for tag, found in page.elements if "data-value" in found and tag == "td"]
    assert [sortable[n] for n in (1, 6, 11)] == ["0.8134", "0.8134", ""]
    assert [sortable[n] for n in (3, 8, 13)] == [str(made[0].region_size), str(made[1].region_size), ""]
    assert [sortable[n] for n in (4, 9, 14)] == ["1", "0", ""]


def test_only_the_page_s_own_script_may_run_and_nothing_is_fetched(tmp_path):
    html = write_index(entries(tmp_path), tmp_path).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        in html.replace("&#39;", "'")
    )
    assert not re.search(r"https?://|@import|url\(", html)
    assert all(found["src"].startswith("data:") for found in Page(html).all("img"))


def test_names_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    entry = replace(IndexEntry.of(picture_study(), []), name=evil, prediction=evil, explained=evil, method=evil)
    html = write_index([entry], tmp_path).read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert evil in Page(html).text


def test_the_same_entries_give_the_same_bytes_and_none_gives_a_page_too(tmp_path):
    assert (
        write_index(entries(tmp_path / "a"), tmp_path / "a").read_bytes()
        == write_index(entries(tmp_path / "b"), tmp_path / "b").read_bytes()
    )
    assert "0 studies" in Page(write_index([], tmp_path / "c").read_text(encoding="utf-8")).text


def test_a_file_elsewhere_is_refused_without_telling_where(tmp_path):
    entry = IndexEntry.of(picture_study(), [tmp_path / "elsewhere" / "a_report.html"])
    with pytest.raises(InputError, match=r"a_report\.html") as caught:
        write_index([entry], tmp_path / "batch")
    assert "elsewhere" not in str(caught.value)
    assert not (tmp_path / "batch").exists()
