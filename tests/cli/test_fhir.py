"""``cfcam fhir``: from what ``cfcam explain`` wrote to a Bundle with the numbers that everything else shows."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape

import pydicom
import pytest

pytest.importorskip("highdicom")
pytest.importorskip("sqlalchemy")

from cfcam.clinical.audit.audit import Audit
from cfcam.clinical.report import words
from cfcam.clinical.review import Review, Shown, Verdict
from cfcam.exchange import Deidentifier, deidentify_folder
from cfcam.exchange.dicom.structured_report import MEASUREMENTS
from cfcam.exchange.fhir import problems
from tests.exchange.dicom.test_write import content
from tests.exchange.fhir.studies import code_of, component, of_kind
from tests.exchange.fhir.tools import all_of, errors_of, server
from tests.jobs.studies import BRIGHT_3D, cfcam, ct_study, explain, phantom_radiograph, study_json, study_rows
from tests.machine import pdf_writer
from tests.waiting import free_port

FIELDS = {
    "area_mm2": "size", "volume_mm3": "size", "mean": "mean", "sd": "sd", "max": "maximum", "energy_share": "energy",
    "components": "components",
}  # fmt: skip


def numbers_file(output):
    (path,) = output.rglob("*_regions.json")
    return path


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory):
    """A radiograph of a de-identified patient, explained with a report, objects and a record."""
    pdf_writer()
    place = tmp_path_factory.mktemp("radiograph")
    (place / "raw").mkdir()
    phantom_radiograph(place / "raw" / "chest.dcm")
    deidentify_folder(place / "raw", place / "in", Deidentifier(b"k" * 32))
    asked = ("--dicom", "seg,sr", "--report", "html,pdf", "--record", place / "audit.sqlite", "--method", "grad-cam")
    (file,) = (place / "in").rglob("*.dcm")
    result = explain(file, place / "out", *asked)
    assert result.exit_code == 0, result.output
    return place


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    place = tmp_path_factory.mktemp("series")
    ct_study(place / "in")
    result = explain(place / "in", place / "out", *BRIGHT_3D, "--dicom", "seg,sr", "--report", "html")
    assert result.exit_code == 0, result.output
    return place


def made(place, *arguments):
    result = cfcam("fhir", numbers_file(place / "out"), *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("which", ["radiograph", "series"])
def test_the_numbers_are_those_of_json_csv_sr_and_page_digit_for_digit(which, request):
    place = request.getfixturevalue(which)
    bundle = made(place)
    assert problems(bundle) == []
    assert errors_of([bundle]) == [[]]
    names = {quantity.value: name for name, quantity in MEASUREMENTS.items()}
    told = {
        names[code_of(one)]: one["valueQuantity"]["value"]
        for one in of_kind(bundle, "Observation")
        if code_of(one) in names and component(one, "region") == "map"
    }
    (one,) = study_json(place / "out")["maps"]
    (region,) = one["regions"]["regions"]
    assert {name for name in told if not name.startswith(("peak", "centroid"))} - {"pixels"} == {
        name for name in FIELDS if name != ("volume_mm3" if which == "radiograph" else "area_mm2")
    }
    for name in set(told) & set(FIELDS):
        assert repr(told[name]) == repr(region[FIELDS[name]]), name  # JSON
    (row,) = study_rows(place / "out")
    for name in set(told) & set(FIELDS):
        assert f"{told[name]:.6g}" == row[FIELDS[name]], name  # the table, to its six digits
    (path,) = (place / "out").rglob("sr_*.dcm")
    report = pydicom.dcmread(path)
    for name, value in told.items():
        (item,) = content(report, MEASUREMENTS[name].meaning)
        # nine digits: a DS takes sixteen characters
        assert float(item.MeasuredValueSequence[0].NumericValue) == float(f"{value:.9g}"), name
    (path,) = (place / "out").rglob("*_report.html")
    page = re.sub(r"<[^>]+>", " ", unescape(path.read_text()))
    size = told.get("area_mm2", told.get("volume_mm3"))
    for shown in (
        words.number(told["mean"]),
        words.number(told["energy_share"]),
        words.size_lines(size, region["unit"])[0],
    ):
        assert shown in page
    (probability,) = [
        o["valueQuantity"]["value"] for o in of_kind(bundle, "Observation") if code_of(o) == "probability"
    ]
    assert repr(probability) == repr(one["probability"]) == row["probability"]


def test_what_lies_beside_the_numbers_is_in_it_and_the_record_says_when(radiograph):
    bundle = made(radiograph, "-a", radiograph / "audit.sqlite")
    (report,) = of_kind(bundle, "DiagnosticReport")
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    (record,) = Audit(radiograph / "audit.sqlite").records(action="explain")
    assert report["issued"] == f"{record.time:%Y-%m-%dT%H:%M:%S}.{record.time.microsecond // 1000:03d}Z"
    files = sorted((radiograph / "out").rglob("*.dcm"))
    uids = {one["masterIdentifier"]["value"] for one in of_kind(bundle, "DocumentReference")}
    assert uids == {f"urn:oid:{pydicom.dcmread(file).SOPInstanceUID}" for file in files}
    (study,) = of_kind(bundle, "ImagingStudy")
    source = pydicom.dcmread(next((radiograph / "in").rglob("*.dcm")))
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{source.StudyInstanceUID}"}]
    assert study["subject"]["identifier"]["value"] == source.PatientID
    assert of_kind(bundle, "AuditEvent")[0]["entity"][0]["what"]["identifier"]["value"] == record.id


def test_the_same_study_gives_the_same_bytes(radiograph):
    arguments = ("fhir", numbers_file(radiograph / "out"), "-a", radiograph / "audit.sqlite", "-o")
    assert cfcam(*arguments, radiograph / "a.json").exit_code == 0
    assert cfcam(*arguments, radiograph / "b.json").exit_code == 0
    assert (radiograph / "a.json").read_bytes() == (radiograph / "b.json").read_bytes()


def test_posting_says_what_is_new(radiograph):
    with server() as base:
        first = cfcam("fhir", numbers_file(radiograph / "out"), "--post", base, "-o", radiograph / "posted.json")
        assert re.fullmatch(r"posted: \d+ new, 0 known already\n", first.stdout), first.output
        again = cfcam("fhir", numbers_file(radiograph / "out"), "--post", base)
        assert re.fullmatch(r"posted: 0 new, \d+ known already\n", again.stdout), again.output
        assert len(all_of(base, "ImagingStudy")) == 1
        assert json.loads((radiograph / "posted.json").read_bytes())["type"] == "transaction"


def test_answers_of_readers_come_from_a_record_that_is_whole(radiograph, tmp_path):
    shutil.copy(radiograph / "audit.sqlite", tmp_path / "audit.sqlite")
    told = study_json(radiograph / "out")
    audit, model, one = Audit(tmp_path / "audit.sqlite"), told["model"], told["maps"][0]
    shown = Shown("s-" + "0" * 12, "m-" + "1" * 12, told["source"]["sha256"], "b" * 64, model["weights_sha256"],
                  one["method"], model["layer"], one["class_index"], one["probability"])  # fmt: skip
    audit.append("review", Review(shown, Verdict.REJECT, "Ána").details())
    other = Shown("s-" + "1" * 12, "m-" + "1" * 12, "0" * 64, "b" * 64, "", "grad-cam", "", 1, None)
    audit.append("review", Review(other, Verdict.ACCEPT, "Ána").details())
    bundle = made(radiograph, "-a", tmp_path / "audit.sqlite")
    (answer,) = [o for o in of_kind(bundle, "Observation") if code_of(o) == "reader-verdict"]
    assert answer["valueCodeableConcept"]["coding"][0]["code"] == "verdict-reject"
    assert "Maps: 1 rejected; readers differ on 0." in of_kind(bundle, "DiagnosticReport")[0]["conclusion"]
    assert problems(bundle) == []
    assert errors_of([bundle]) == [[]]


def test_an_audit_without_the_study_and_a_file_that_is_none_are_told(radiograph, tmp_path):
    Audit(tmp_path / "empty.sqlite")
    result = cfcam("fhir", numbers_file(radiograph / "out"), "-a", tmp_path / "empty.sqlite")
    assert result.exit_code == 2
    assert "is not in the audit: give the one it was entered in" in result.stderr
    (tmp_path / "other.json").write_text('{"format": 1}')
    result = cfcam("fhir", tmp_path / "other.json")
    assert result.exit_code == 2
    assert "other.json: holds no numbers of a study; give the NAME_regions.json" in result.stderr
    newer = json.loads(numbers_file(radiograph / "out").read_text()) | {"format": 99}
    (tmp_path / "newer.json").write_text(json.dumps(newer))
    assert "is written in form 99, and this version reads 1" in cfcam("fhir", tmp_path / "newer.json").stderr


def test_no_planted_identity_and_no_site_uid_gets_into_it(series):
    source = pydicom.dcmread(next((series / "in").iterdir()))
    text = cfcam("fhir", numbers_file(series / "out")).stdout
    for planted in (str(source.PatientName), source.PatientID, source.StudyInstanceUID, source.SOPInstanceUID):
        assert str(planted)
        assert str(planted) not in text
    kept = cfcam("fhir", numbers_file(series / "out"), "--keep-uids").stdout
    assert f"urn:oid:{source.StudyInstanceUID}" in kept


def test_what_is_not_in_it_is_said(tmp_path, radiograph):
    shutil.copy(numbers_file(radiograph / "out"), tmp_path / "alone_regions.json")
    result = cfcam("fhir", tmp_path / "alone_regions.json")
    assert "no report is in it" in result.stderr
    assert "no DICOM object is in it" in result.stderr
    assert cfcam("fhir", tmp_path / "alone_regions.json", "--keep-uids").exit_code == 2


def test_a_pdf_of_other_numbers_is_left_out(radiograph, tmp_path):
    pdf = next((radiograph / "out").glob("*_report.pdf"))
    shutil.copy(numbers_file(radiograph / "out"), tmp_path / "case_regions.json")
    shutil.copy(pdf, tmp_path / "case_report.pdf")
    same = cfcam("fhir", tmp_path / "case_regions.json")
    assert of_kind(json.loads(same.stdout), "DiagnosticReport")[0]["presentedForm"][0]["size"] == pdf.stat().st_size
    numbers = json.loads((tmp_path / "case_regions.json").read_text())
    numbers["maps"][0]["probability"] = 0.5
    (tmp_path / "case_regions.json").write_text(json.dumps(numbers))
    other = cfcam("fhir", tmp_path / "case_regions.json")
    assert "the PDF beside the numbers was made of other ones" in other.stderr
    assert "presentedForm" not in of_kind(json.loads(other.stdout), "DiagnosticReport")[0]


def test_a_server_that_is_down_is_a_failure_and_no_wrong_usage(radiograph):
    result = cfcam("fhir", numbers_file(radiograph / "out"), "--post", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "error: 127.0.0.1:" in result.stderr
    assert "cannot be reached" in result.stderr
    assert "Exit codes: 0 " in cfcam("fhir", "--help").stdout


def test_a_time_can_be_given_and_arguments_that_cannot_be_right_are_refused(radiograph):
    bundle = made(radiograph, "--time", "2026-01-31T08:00+01:00")
    assert of_kind(bundle, "DiagnosticReport")[0]["issued"] == "2026-01-31T07:00:00.000Z"
    file = numbers_file(radiograph / "out")
    for arguments, told in (
        (("--time", "yesterday"), "is no time"),
        (("--post", "http://fhir.example"), "http is not encrypted"),
        (("--token-file", file), "give --post URL"),
    ):
        result = cfcam("fhir", file, *arguments)
        assert result.exit_code == 2
        assert told in result.stderr
