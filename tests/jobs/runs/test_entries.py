"""The page of a run: what it lists, after which course of the run, and that it names nobody."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from cfcam.jobs import FolderRun, Labels, PageSettings, Save, Settings, StudySettings, find_inputs
from cfcam.models import load
from tests.imaging import dicoms
from tests.jobs.world import NETWORKS, PLAIN, draw, folder_of, lines, run, written

BOTH = frozenset({Save.OVERLAY, Save.SHEET})


def data_of(output):
    """The lines of a page, as mappings, and what they refer to."""
    page = (output / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    return [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]], data


def files_of(row, data):
    stem, pattern = row["views"]
    views = [stem + data["endings"][ending] for _, _, ending in data["views"][pattern]]
    return views + [stem + data["endings"][ending] for ending, _ in data["further"][row["further"]]]


def original_of(row, data):
    return "/".join(filter(None, (data["folders"][row["folder"]], row["original"])))


def test_a_run_writes_no_page_unless_asked(tmp_path):
    folder_of(tmp_path / "in", 2)
    job = run(tmp_path / "in", tmp_path / "out")
    list(job)
    assert job.page is None
    assert not (tmp_path / "out" / "index.html").exists()
    assert not (tmp_path / "out" / "index_files").exists()


def test_the_page_lists_each_picture_with_its_class_its_map_and_files_that_are_there(tmp_path):
    folder_of(tmp_path / "in", 3)
    draw(tmp_path / "in" / "ward 3" / "a#b 100%ü.png")
    (tmp_path / "in" / "text.png").write_bytes(b"this is no picture")
    settings = {"page": PageSettings(), "save": BOTH, "methods": ("grad-cam", "cf-cam")}
    job = run(tmp_path / "in", tmp_path / "out", recursive=True, **settings)
    outcomes = list(job)
    assert job.page == tmp_path / "out" / "index.html"
    rows, data = data_of(tmp_path / "out")
    shown = [str(o.path.relative_to(tmp_path / "in")) for o in outcomes]
    assert [row["name"] for row in rows] == [
        name.replace("ward 3", "ward-3") for name in shown
    ]  # as it is in the output
    (failed,) = [row for row in rows if data["statuses"][row["status"]] == "failed"]
    assert "text file" in failed["error"]
    for row, outcome in zip(rows, outcomes, strict=True):
        if row is failed:
            continue
        (target,) = outcome.targets
        assert data["classes"][row["answer"]] == data["classes"][row["explained"]] == target.label == "bright"
        assert row["confidence"] == pytest.approx(target.probability, abs=5e-5)
        assert len(files_of(row, data)) == 3
        named = {(tmp_path / "out" / unquote(file)).resolve() for file in [row["thumb"], *files_of(row, data)]}
        assert named == {file.resolve() for file in outcome.files}
        assert (tmp_path / "out" / unquote(original_of(row, data))).resolve() == outcome.path.resolve()
        assert "%" in original_of(row, data) or " " not in outcome.path.name
    assert data["methods"] == ["grad-cam", "cf-cam"]


@pytest.mark.parametrize("corner", range(4))
def test_the_peak_lies_where_the_network_looked(tmp_path, corner):
    draw(tmp_path / "in" / "a.png", corner=corner, size=(300, 240), grey=10)
    list(run(tmp_path / "in", tmp_path / "out", page=PageSettings()))
    (row,), _ = data_of(tmp_path / "out")
    x, y = row["peak"]
    assert (y < 0.3, x < 0.3) == (corner in (0, 1), corner in (0, 3))
    assert max(abs(x - 0.5), abs(y - 0.5)) > 0.3


def test_a_picture_without_positive_evidence_is_shown_as_it_is(tmp_path):
    draw(tmp_path / "in" / "a.png", size=(90, 120))
    list(run(tmp_path / "in", tmp_path / "out", targets=("dark",), page=PageSettings()))
    (row,), data = data_of(tmp_path / "out")
    assert data["statuses"][row["status"]] == "no positive evidence"
    assert (row["peak"], row["typical"]) == (None, None)
    assert data["classes"][row["answer"]] == "bright"  # it is not what the map is for
    assert data["classes"][row["explained"]] == "dark"
    with Image.open(tmp_path / "out" / row["thumb"]) as small, Image.open(tmp_path / "in" / "a.png") as large:
        assert np.abs(np.asarray(small).astype(int) - np.asarray(large)).mean() < 3


def test_a_run_that_was_left_has_a_page_and_ends_with_that_of_one_that_was_not(tmp_path):
    folder_of(tmp_path / "in", 40)
    labels = Labels({str(tmp_path / "in" / f"picture{n}.png"): n % 2 for n in range(39)}, missing=1)
    settings = {"page": PageSettings(labels), "batch_size": 1}
    list(run(tmp_path / "in", tmp_path / "whole", **settings))
    left = iter(run(tmp_path / "in", tmp_path / "left", **settings))
    next(left)
    left.close()
    rows, _ = data_of(tmp_path / "left")
    assert 1 <= len(rows) < 40
    assert f"{40 - len(rows)} not explained yet" in (tmp_path / "left" / "index.html").read_text()
    list(run(tmp_path / "in", tmp_path / "left", **settings))
    assert (tmp_path / "left" / "index.html").read_bytes() == (tmp_path / "whole" / "index.html").read_bytes()
    assert "pictures without a label: 1 of 40" in (tmp_path / "left" / "index.html").read_text()


def test_labels_and_a_page_given_later_explain_nothing_again(tmp_path):
    folder_of(tmp_path / "in", 2)
    list(run(tmp_path / "in", tmp_path / "out"))
    labels = Labels({str(tmp_path / "in" / f"picture{n}.png"): n for n in range(2)})
    again = list(run(tmp_path / "in", tmp_path / "out", page=PageSettings(labels)))
    assert [outcome.status for outcome in again] == ["skipped"] * 2
    rows, data = data_of(tmp_path / "out")
    assert [data["classes"][row["label"]] for row in rows] == ["bright", "dark"]
    assert [row["thumb"] for row in rows] == ["picture0_grad-cam.png", "picture1_grad-cam.png"]  # there is no smaller
    page = (tmp_path / "out" / "index.html").read_text()
    assert "50.0 % right" in page
    assert "1 of 2; 95 % interval 9.5 % to 90.5 %" in page  # Wilson 1927


def test_several_classes_are_views_of_one_picture(tmp_path):
    draw(tmp_path / "in" / "a.png")
    settings = {"targets": ("predicted", 0, 1), "classes": ("so/br", "dark"), "page": PageSettings()}
    list(run(tmp_path / "in", tmp_path / "out", **settings))
    (row,), data = data_of(tmp_path / "out")
    assert [(data["classes"][c], data["endings"][e]) for _, c, e in data["views"][row["views"][1]]] == [
        ("so/br", "_so-br.png"),
        ("dark", "_dark.png"),
    ]
    assert row["views"][0] == "a_grad-cam"


def test_maps_alone_leave_the_small_picture(tmp_path):
    draw(tmp_path / "in" / "a.png")
    list(run(tmp_path / "in", tmp_path / "out", save=frozenset({Save.MAPS}), page=PageSettings()))
    (row,), data = data_of(tmp_path / "out")
    assert files_of(row, data) == []
    assert row["thumb"] == "index_files/a.jpg"
    assert lines(tmp_path / "out")[0]["files"].keys() >= {"index_files/a.jpg"}


def test_what_browsers_cannot_show_is_shown_as_jpeg(tmp_path):
    (tmp_path / "in").mkdir()
    deep = np.full((40, 40), 500, np.uint16)
    deep[:10, :10] = 65535
    Image.fromarray(deep).save(tmp_path / "in" / "deep.png")
    Image.fromarray((deep // 257).astype(np.uint8)).save(tmp_path / "in" / "a.tif")
    list(run(tmp_path / "in", tmp_path / "out", page=PageSettings()))
    rows, data = data_of(tmp_path / "out")
    assert [original_of(row, data) for row in rows] == ["index_files/a_original.jpg", "index_files/deep_original.jpg"]
    for row in rows:
        with Image.open(tmp_path / "out" / original_of(row, data)) as shown:
            assert np.abs(np.asarray(shown)[..., 0].astype(int) - deep // 257).mean() < 2


def test_a_dicom_study_is_called_by_its_neutral_name_alone(tmp_path):
    for n in range(2):
        stored = np.random.default_rng(n).integers(0, 4000, (20, 30))
        dicoms.save(dicoms.radiograph(stored), tmp_path / "Doe^Jane" / f"Doe^Jane^{n}.dcm")
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    labels = Labels({str(tmp_path / "Doe^Jane" / "Doe^Jane^0.dcm"): 0}, missing=1)
    settings = Settings(
        output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN, study=StudySettings(report=("html",)),
        page=PageSettings(labels),
    )  # fmt: skip
    job = FolderRun(model, find_inputs([tmp_path / "Doe^Jane"], output=tmp_path / "out"), settings)
    list(job)
    rows, data = data_of(tmp_path / "out")
    assert all(re.fullmatch(r"study-[0-9a-f]{8}", row["name"]) for row in rows)
    assert [original_of(row, data) for row in rows] == [f"index_files/{row['name']}_original.jpg" for row in rows]
    assert sum(row["label"] is not None for row in rows) == 1
    assert all(f"{row['name']}_report.html" in files_of(row, data) for row in rows)
    assert (job.page, job.reports) == (tmp_path / "out" / "index.html", tmp_path / "out" / "reports.html")
    assert 'href="index.html"' in job.reports.read_text()
    assert 'href="reports.html"' in job.page.read_text()
    for name in written(tmp_path / "out"):
        assert "Doe" not in name
    for page in (job.page, job.reports):
        assert "Doe" not in page.read_text()
        assert str(tmp_path) not in page.read_text()


def test_no_absolute_path_and_no_name_breaks_out_of_the_page(tmp_path):
    draw(tmp_path / "in" / "<script>alert(1)</script>&.png".replace("/", "-"))
    draw(tmp_path / "in" / "b.png")
    job = run(tmp_path / "in", tmp_path / "out", classes=("</script><b>", "dark"), page=PageSettings())
    list(job)
    page = job.page.read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    assert "<b>" not in page
    assert page.count("<script") == page.count("</script>") == 2
    rows, data = data_of(tmp_path / "out")
    assert rows[0]["name"].startswith("<script>alert(1)")
    assert data["classes"] == ["</script><b>"]


def test_a_self_contained_page_holds_its_pictures(tmp_path):
    folder_of(tmp_path / "in", 2)
    job = run(tmp_path / "in", tmp_path / "out", page=PageSettings(self_contained=True))
    list(job)
    page = job.page.read_text()
    held = re.findall(r'<script type="text/plain" id="([^"]+)">data:image/jpeg;base64,[A-Za-z0-9+/=]+</script>', page)
    assert held == ["t0", "o0", "v0-0", "t1", "o1", "v1-0"]


def test_the_page_does_not_say_when_or_how_long(tmp_path):
    folder_of(tmp_path / "in", 2)
    first = run(tmp_path / "in", tmp_path / "one", page=PageSettings())
    second = run(tmp_path / "in", tmp_path / "two", page=PageSettings())
    list(first), list(second)
    assert first.page.read_bytes() == second.page.read_bytes()


def test_a_page_changes_no_hash_of_the_settings(tmp_path):
    settings = Settings(output=Path("out"))
    assert settings.drawn() == replace(settings, page=PageSettings()).drawn()
