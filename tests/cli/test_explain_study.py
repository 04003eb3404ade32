"""``cfcam explain STUDY --dicom ... --report ... --record ... --uncertainty ...``: one command, seen from outside."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image as PILImage

pytest.importorskip("highdicom")
pytest.importorskip("sqlalchemy")

from cfcam.cli.explain import Explain
from cfcam.cli.options import complete
from cfcam.cli.options import study as study_options
from cfcam.clinical.audit.audit import Audit
from cfcam.clinical.report import words
from cfcam.clinical.report.patient_words import LANGUAGES as WRITTEN
from cfcam.exchange import KINDS
from cfcam.jobs.study.settings import FORMATS, LANGUAGES, WAYS
from tests.clinical.test_identity import pieces
from tests.exchange.dicom.test_write import content
from tests.imaging import dicoms
from tests.jobs.studies import (
    BRIGHT_3D,
    SHAPE,
    cfcam,
    ct_study,
    new_uids,
    objects,
    phantom_radiograph,
    study_json,
)
from tests.jobs.studies import explain as run
from tests.jobs.world import NETWORKS, folder_of, lines, written
from tests.machine import pdf_writer

FLAT = ["--model", f"{NETWORKS}:brightness", "--size", "32", "--mean", "0", "--std", "1", "--classes", "bright,dark",
        "--method", "grad-cam"]  # fmt: skip


def test_one_command_takes_a_series_to_maps_objects_report_and_record(tmp_path):
    pdf_writer()
    ct_study(tmp_path / "in")
    result = run(
        tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--method", "cam", "--dicom", "pm,seg,sr,sc,gsps", "--report",
        "html,pdf", "--patient-page", "--record", tmp_path / "audit.sqlite", "--uncertainty", "methods",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (record,) = Audit(tmp_path / "audit.sqlite").records()
    told = study_json(tmp_path / "out")
    name = told["name"]
    page = (tmp_path / "out" / f"{name}_report.html").read_text()
    assert record.id in page
    assert record.id == told["record_id"]
    reports = {
        item.TextValue: one for one in objects(tmp_path / "out", "sr") for item in content(one, "Algorithm Parameters")
    }
    for one in told["maps"]:
        region = one["regions"]["regions"][0]
        assert words.size_lines(region["size"], region["unit"])[0] in page
        assert words.number(region["mean"]) in page
        report = reports[f"method: {one['method']}"]
        (volume,) = content(report, "Volume")
        assert float(volume.MeasuredValueSequence[0].NumericValue) == pytest.approx(region["size"], rel=1e-8)
    numbers = (tmp_path / "out" / f"{name}_regions.json").read_bytes()
    pdf = (tmp_path / "out" / f"{name}_report.pdf").read_bytes()
    assert any(piece == numbers for piece in pieces(pdf))  # attached, byte for byte
    patient = (tmp_path / "out" / f"{name}_patient.html").read_text()
    assert "medical device" in patient.lower() or "research" in patient.lower()
    index = (tmp_path / "out" / "reports.html").read_text()
    assert f"{name}_report.html" in index
    (line,) = lines(tmp_path / "out")
    assert {f"{name}_report.html", f"{name}_report.pdf", f"{name}_patient.html"} <= set(line["files"])


def test_the_page_of_the_run_lists_studies_of_an_earlier_run_too(tmp_path):
    folder_of(tmp_path / "in", 2)
    arguments = [*FLAT, "--report", "html"]
    first = run(tmp_path / "in", tmp_path / "out", *arguments, "--limit", "1")
    assert first.exit_code == 0, first.output
    first = (tmp_path / "out" / "reports.html").read_text()
    assert "picture0_report.html" in first
    assert "picture1_report.html" not in first
    result = run(tmp_path / "in", tmp_path / "out", *arguments)
    assert "1 explained, 1 already done" in result.stdout
    page = (tmp_path / "out" / "reports.html").read_text()
    assert page.index("picture0_report.html") < page.index("picture1_report.html")
    again = run(tmp_path / "in", tmp_path / "out", *arguments)
    assert "2 already done" in again.stdout
    assert (tmp_path / "out" / "reports.html").read_text() == page


def test_pictures_are_read_after_a_pdf_was_written(tmp_path):
    """WeasyPrint tells Pillow to fill up what is cut off; pictures must neither be filled up nor refused for it."""
    pdf_writer()
    folder_of(tmp_path / "in", 2)
    data = (tmp_path / "in" / "picture1.png").read_bytes()
    (tmp_path / "in" / "picture9.png").write_bytes(data[: len(data) // 2])
    result = run(tmp_path / "in", tmp_path / "out", *FLAT, "--report", "pdf")
    assert result.exit_code == 1
    assert "2 explained, 1 failed" in result.stdout
    assert "cut off" in result.stderr


def test_reports_have_the_same_bytes_in_another_run(tmp_path, monkeypatch):
    pdf_writer()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # DICOM objects say when they were made
    phantom_radiograph(tmp_path / "a.dcm")
    arguments = ["--method", "grad-cam", "--report", "html,pdf", "--patient-page", "--dicom", "seg,sr"]
    for output in ("one", "two"):
        assert run(tmp_path / "a.dcm", tmp_path / output, *arguments).exit_code == 0
    names = [name for name in written(tmp_path / "one") if name not in ("manifest.jsonl", "run.json")]
    assert len([name for name in names if name.endswith((".html", ".pdf"))]) == 4
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_removed_or_changed_report_is_made_anew(tmp_path):
    folder_of(tmp_path / "in", 1)
    arguments = [*FLAT, "--report", "html"]
    run(tmp_path / "in", tmp_path / "out", *arguments)
    report = tmp_path / "out" / "picture0_report.html"
    whole = report.read_bytes()
    report.write_bytes(whole[:-9])
    assert "1 explained" in run(tmp_path / "in", tmp_path / "out", *arguments).stdout
    assert report.read_bytes() == whole


def test_a_study_folder_is_a_series_or_its_single_pictures(tmp_path):
    ct_study(tmp_path / "study" / "ct")
    result = run(tmp_path / "study" / "ct", tmp_path / "a", *BRIGHT_3D, "--dicom", "seg")
    assert result.exit_code == 0, result.output
    assert len(objects(tmp_path / "a", "seg-binary")) == 1
    for n in range(2):
        stored = np.random.default_rng(n).integers(0, 4000, (20, 30 + n))
        dicoms.save(dicoms.radiograph(stored), tmp_path / "study" / "cr" / f"view{n}.dcm")
    result = run(tmp_path / "study" / "cr", tmp_path / "b", *FLAT, "--dicom", "seg,sr")
    assert result.exit_code == 0, result.output
    names = {name.partition("_")[0] for name in written(tmp_path / "b") if name.startswith("study-")}
    assert len(names) == 2
    assert len(objects(tmp_path / "b", "sr")) == 2
    shutil.copytree(tmp_path / "study" / "ct", tmp_path / "study" / "later")
    new_uids(tmp_path / "study" / "later")
    result = run(tmp_path / "study", tmp_path / "c", *BRIGHT_3D, "--dicom", "pm", "--recursive")
    assert result.exit_code == 1, result.output  # the radiographs are no volumes, and the two series are done
    assert len(objects(tmp_path / "c", "pm")) == 2
    assert result.stderr.count("is a picture, and the network takes volumes") == 2


def test_json_tells_the_neutral_names_and_nothing_else_is_on_stdout(tmp_path):
    phantom_radiograph(tmp_path / "JANE DOE.dcm")
    result = run(tmp_path / "JANE DOE.dcm", tmp_path / "out", "--method", "grad-cam", "--regions", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    (image,) = told["images"]
    assert re.fullmatch(r"study-[0-9a-f]{8}", image["path"])
    assert "JANE" not in result.stdout
    kept = json.loads((tmp_path / "out" / "run.json").read_text())["runs"]
    assert "JANE" not in json.dumps(kept)


def test_the_environment_names_the_audit_where_a_study_is_asked_for_and_only_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CFCAM_AUDIT", str(tmp_path / "audit.sqlite"))
    folder_of(tmp_path / "in", 1)
    assert run(tmp_path / "in", tmp_path / "a", *FLAT).exit_code == 0
    assert not (tmp_path / "audit.sqlite").exists()
    assert run(tmp_path / "in", tmp_path / "b", *FLAT, "--regions").exit_code == 0
    assert len(list(Audit(tmp_path / "audit.sqlite").records())) == 1
    assert run(tmp_path / "in", tmp_path / "c", *FLAT, "--record", tmp_path / "other.sqlite").exit_code == 0
    assert len(list(Audit(tmp_path / "audit.sqlite").records())) == 1


def test_an_audit_that_cannot_be_opened_stops_the_run_before_anything_is_explained(tmp_path):
    folder_of(tmp_path / "in", 1)
    result = run(tmp_path / "in", tmp_path / "out", *FLAT, "--record", tmp_path / "no" / "folder" / "a.sqlite")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "there is no folder" in line
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dicom", "xml"], "--dicom 'xml': give one or more of pm, seg, sr, sc, gsps"),
        (["--dicom", ","], "--dicom"),
        (["--report", "docx"], "--report 'docx'"),
        (
            ["--threshold", "0.4"],
            "--threshold, --samples, --keep-names, --keep-dates and --allow-burned-in are for studies",
        ),
        (["--regions", "--threshold", "most"], "threshold 'most'"),
        (["--regions", "--threshold", "1.5"], "threshold '1.5'"),
        (["--record", "mysql://host/db"], "an audit cannot be kept in 'mysql'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    folder_of(tmp_path / "in", 1)
    result = run(tmp_path / "in", tmp_path / "out", *FLAT, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line


def test_help_names_the_options_of_studies():
    shown = " ".join(cfcam("explain", "--help", "study").stdout.split())
    for option in ("--dicom", "--report", "--patient-page", "--record", "--uncertainty", "--ensemble", "--regions"):
        assert option in shown


def test_what_is_repeated_to_spare_an_import_is_still_true():
    assert study_options.KINDS == KINDS
    assert study_options.FORMATS == FORMATS
    assert study_options.LANGUAGES == LANGUAGES == tuple(WRITTEN)
    assert study_options.WAYS == WAYS
    assert complete.several(complete.of(*KINDS))("pm,s") == ["pm,seg", "pm,sr", "pm,sc"]


def test_shared_options_have_one_text_in_all_commands():
    texts = {}
    for name in ("explain", "evaluate", "check"):
        shown = cfcam(name, "--help").stdout
        texts[name] = {
            # how wide the columns are depends on the command's longest option
            option: " ".join(re.search(rf"{option} .*", shown)[0].strip(" │").split())
            for option in ("--model", "--classes", "--layer")
        }
    assert texts["explain"]["--classes"] == texts["evaluate"]["--classes"] == texts["check"]["--classes"]
    assert texts["explain"]["--layer"] == texts["evaluate"]["--layer"] == texts["check"]["--layer"]


def test_large_numbers_of_slices_make_one_overlay(tmp_path):
    ct_study(tmp_path / "in")
    assert run(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", "sc").exit_code == 0
    (overlay,) = objects(tmp_path / "out", "sc")
    assert overlay.NumberOfFrames == SHAPE[0]


def test_a_label_map_behind_regions_which_takes_no_file_is_not_explained_as_a_scan(tmp_path):
    pixels, labels = np.random.default_rng(0).integers(0, 255, (32, 32)), np.zeros((32, 32))
    labels[4:20, 4:20] = 3
    for name, values in (("scan", pixels), ("other", pixels[::-1]), ("seg", labels)):
        PILImage.fromarray(values.astype(np.uint8)).save(tmp_path / f"{name}.png")
    asked = ["explain", tmp_path / "scan.png", *FLAT, "-o", tmp_path / "out", "--regions"]
    result = cfcam(*asked, tmp_path / "seg.png")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "seg.png is a label map, and would be explained as a scan: --regions takes no file" in line
    assert line.endswith("give --by-region seg.png in its place")
    result = cfcam(*asked, tmp_path / "other.png")
    assert result.exit_code == 0, result.output


def test_ways_of_uncertainty_may_have_commas_between(tmp_path):
    (tmp_path / "a.pt").touch()
    given = {"uncertainty": ["augmentation,methods", "ensemble"], "samples": 3, "ensemble": [tmp_path / "a.pt"]}
    assert Explain(**given).study().uncertainty == ("augmentation", "methods", "ensemble")
