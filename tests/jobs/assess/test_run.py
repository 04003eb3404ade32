"""An answer from the command line: the record and the document that the viewer makes of the same map."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("highdicom")
pytest.importorskip("sqlalchemy")

from cfcam.clinical.audit import Audit
from tests.exchange.dicom.test_write import content
from tests.exchange.phantoms import errors_of
from tests.jobs.studies import BRIGHT_3D, cfcam, ct_study, explain, phantom_radiograph
from tests.machine import VALIDATORS


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """A radiograph with two maps, whose maps are saved, so that the viewer has them too."""
    place = tmp_path_factory.mktemp("assess")
    (place / "in").mkdir()
    phantom_radiograph(place / "in" / "chest.dcm")
    asked = ("--regions", "--save", "maps", "--method", "grad-cam", "--method", "grad-cam++")
    result = explain(place / "in" / "chest.dcm", place / "out", *asked)
    assert result.exit_code == 0, result.output
    return place


@pytest.fixture
def place(explained, tmp_path):
    shutil.copytree(explained, tmp_path / "case")
    return tmp_path / "case"


def numbers_of(place):
    (path,) = (place / "out").rglob("*_regions.json")
    return path


def assess(place, *arguments, audit="audit.sqlite"):
    return cfcam("assess", numbers_of(place), *arguments, "--reviewer", "Ána Müller", "-a", place / audit, "--json")


def accepted(place, *more):
    result = assess(place, "accept", "--method", "grad-cam", "--source", place / "in" / "chest.dcm", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def records(place):
    return [one for one in Audit(place / "audit.sqlite").records() if one.action == "review"]


def test_the_record_is_that_of_the_viewer_for_the_same_map(place):
    pytest.importorskip("fastapi")
    from tests.web.server import client_of, settings_of

    with client_of(settings_of(place / "out", place / "in", audit=str(place / "audit.sqlite"))) as client:
        (study,) = client.get("/api/studies").json()["studies"]
        maps = client.get(f"/api/studies/{study['id']}").json()["maps"]
        (one,) = [one["id"] for one in maps if one["method"] == "grad-cam"]
        said = {"study": study["id"], "map": one, "verdict": "accept", "reviewer": "Ána Müller", "view": {}}
        answer = client.post("/api/reviews", json=said)
        assert answer.status_code == 200, answer.text
        mine = accepted(place)
        listed = client.get("/api/reviews", params={"study": study["id"]}).json()["reviews"]
    viewers, own = records(place)
    assert dict(own.details) == {**viewers.details, "refers_to": viewers.id}
    assert mine["supersedes"] == viewers.id
    assert [one["record_id"] for one in listed] == [own.id]  # the viewer sees it, and it counts there


def test_of_a_volume_the_record_is_that_of_the_viewer_too(tmp_path):
    pytest.importorskip("fastapi")
    from tests.web.server import client_of, settings_of

    ct_study(tmp_path / "in")
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--regions")
    assert result.exit_code == 0, result.output
    with client_of(settings_of(tmp_path / "out", tmp_path / "in", audit=str(tmp_path / "audit.sqlite"))) as client:
        (study,) = client.get("/api/studies").json()["studies"]
        (one,) = client.get(f"/api/studies/{study['id']}").json()["maps"]
        said = {"study": study["id"], "map": one["id"], "verdict": "accept", "reviewer": "Ána Müller", "view": {}}
        assert client.post("/api/reviews", json=said).status_code == 200
    done = assess(tmp_path, "accept", "--source", tmp_path / "in")
    assert done.exit_code == 0, done.output
    viewers, own = records(tmp_path)
    assert dict(own.details) == {**viewers.details, "refers_to": viewers.id}


def test_the_document_refers_to_what_was_explained_and_a_later_one_to_the_one_before(place):
    first = pydicom.dcmread(accepted(place)["document"])
    amend = ("amend", "--method", "grad-cam", "--source", place / "in" / "chest.dcm", "--amend", "threshold=0.4",
             "--amend", "peak=[12,30]", "--comment", "smaller")  # fmt: skip
    result = assess(place, *amend)
    assert result.exit_code == 0, result.output
    second = pydicom.dcmread(json.loads(result.stdout)["document"])
    source = pydicom.dcmread(place / "in" / "chest.dcm")
    (evidence,) = first.CurrentRequestedProcedureEvidenceSequence
    referenced = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert referenced == source.SOPInstanceUID
    (verdict,) = content(second, "Verdict of the reader on the map")
    assert verdict.ConceptCodeSequence[0].CodeValue == "verdict-amend"
    (amended,) = content(second, "What the reader puts in the place of what the map says")
    assert json.loads(amended.TextValue) == {"peak": [12, 30], "threshold": 0.4}
    (before,) = second.PredecessorDocumentsSequence
    found = before.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert found == first.SOPInstanceUID
    assert [one.details["decision"] for one in records(place)] == ["accept", "amend"]


# dcmpschk 3.6.7 takes no letter for one that is none of Latin-1, whatever character set is stated
@pytest.mark.parametrize("validator", [one for one in VALIDATORS if one.startswith("dciodvfy")])
def test_validators_find_no_error_in_the_document(place, validator):
    assert errors_of(validator, Path(accepted(place)["document"])) == []


def test_a_series_is_answered_as_a_volume(tmp_path):
    ct_study(tmp_path / "in")
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--regions")
    assert result.exit_code == 0, result.output
    done = assess(tmp_path, "reject", "--source", tmp_path / "in")
    assert done.exit_code == 0, done.output
    document = pydicom.dcmread(json.loads(done.stdout)["document"])
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    files = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "in").iterdir()}
    assert {one.ReferencedSOPInstanceUID for one in evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence} == files


def test_words_that_name_the_patient_are_refused_and_nothing_is_recorded(place):
    source = pydicom.dcmread(place / "in" / "chest.dcm")
    word = str(source.PatientName).split("^")[0]
    result = assess(place, "reject", "--method", "grad-cam", "--source", place / "in" / "chest.dcm", "--comment", word)
    assert result.exit_code == 2
    assert "the answer names the patient" in result.stderr
    assert word not in result.stderr
    assert records(place) == []


def test_without_the_source_the_answer_is_recorded_and_what_is_missing_is_said(place):
    result = assess(place, "accept", "--method", "grad-cam")
    assert result.exit_code == 0, result.output
    assert "no DICOM SR is written" in result.stderr
    assert json.loads(result.stdout)["document"] is None
    assert len(records(place)) == 1


def test_another_file_than_the_one_that_was_explained_is_refused(place):
    other = pydicom.dcmread(place / "in" / "chest.dcm")
    other.PatientID = "another"
    other.save_as(place / "other.dcm")
    result = assess(place, "accept", "--method", "grad-cam", "--source", place / "other.dcm")
    assert result.exit_code == 2
    assert "another study than the one that was explained" in result.stderr
    assert records(place) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("accept",), "2 maps are meant: give --method and --target of one of grad-cam for"),
        (("accept", "--method", "cam"), "no map is meant"),
        (("amend", "--method", "grad-cam"), "an amendment says what is amended"),
        (("accept", "--method", "grad-cam", "--amend", "threshold=0.4"), "give amend"),
        (("amend", "--method", "grad-cam", "--amend", "threshold=7"), "its value is of another kind"),
        (("amend", "--method", "grad-cam", "--amend", "banana=7"), "with a name of class_index"),
        (("maybe",), "VERDICT 'maybe'"),
    ],
)
def test_what_cannot_be_meant_is_told_and_nothing_is_recorded(place, arguments, told):
    result = assess(place, *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not (place / "audit.sqlite").exists() or records(place) == []


def test_numbers_of_an_earlier_version_are_told(place):
    found = json.loads(numbers_of(place).read_text())
    for one in found["maps"]:
        del one["map_sha256"]
    numbers_of(place).write_text(json.dumps(found))
    assert "without the hash of its maps: explain anew" in assess(place, "accept", "--method", "grad-cam").stderr


def test_the_answer_goes_into_the_bundle_of_the_study_with_its_document(place):
    from tests.exchange.fhir.studies import code_of, of_kind

    document = pydicom.dcmread(accepted(place)["document"])
    result = cfcam("fhir", numbers_of(place), "-a", place / "audit.sqlite")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    (answer,) = [one for one in of_kind(made, "Observation") if code_of(one) == "reader-verdict"]
    assert answer["performer"] == [{"display": "Ána Müller"}]
    assert [one["masterIdentifier"]["value"] for one in of_kind(made, "DocumentReference")] == [
        f"urn:oid:{document.SOPInstanceUID}"
    ]
