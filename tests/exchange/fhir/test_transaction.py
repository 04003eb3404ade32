"""A study's result as one transaction Bundle: what is in it, and that it is the same each time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime

import pytest

from cfcam.clinical.report import study_numbers
from cfcam.errors import InputError
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.exchange.fhir import as_bytes, bundle, problems
from cfcam.imaging.measured import Measured
from tests.clinical.report.test_page import AFFINE, SHA, empty_study, picture_study, volume_study
from tests.exchange.fhir.studies import (
    ACCEPTED,
    AMENDED,
    EVERYTHING,
    MOMENT,
    OBJECT,
    PDF,
    STUDY,
    code_of,
    component,
    of_kind,
)
from tests.exchange.fhir.tools import errors_of


@pytest.fixture(scope="module")
def made() -> dict:
    return bundle(STUDY, **EVERYTHING)


def reference_to(made: dict, resource: dict) -> str:
    return next(one["fullUrl"] for one in made["entry"] if one["resource"] is resource)


@pytest.mark.parametrize("study", [STUDY, picture_study(pseudonym=None), volume_study(), empty_study()])
def test_it_is_valid_for_fhir_resources_and_for_what_that_does_not_look_at(study):
    assert problems(bundle(study, recorded=MOMENT)) == []


def test_with_everything_in_it_it_is_valid(made):
    assert problems(made) == []


@pytest.mark.parametrize("study", [STUDY, picture_study(pseudonym=None), volume_study(), empty_study()])
def test_it_is_valid_r4_for_the_npm_package(study):
    assert errors_of([bundle(study, recorded=MOMENT)]) == [[]]


def test_with_everything_it_is_valid_r4_and_the_validator_sees_what_is_not(made):
    other = json.loads(json.dumps(made))
    of_kind(other, "Observation")[0]["status"] = "banana"
    right, wrong = errors_of([made, other])
    assert right == []
    assert len(wrong) == 1
    assert "banana" in wrong[0]


def test_the_same_result_has_the_same_bytes_from_the_object_and_from_its_numbers(made):
    again = bundle(json.loads(json.dumps(study_numbers(STUDY))), **EVERYTHING)
    assert as_bytes(made) == as_bytes(again)
    assert json.loads(as_bytes(made)) == json.loads(json.dumps(made))


def test_the_device_is_the_network_by_the_uid_that_the_sr_has(made):
    (device,) = of_kind(made, "Device")
    assert device["deviceName"] == [{"name": "chest-net", "type": "model-name"}]
    assert device["serialNumber"] == SHA
    assert [one["value"] for one in device["version"]] == ["1.2.3", "2.1"]
    uid = next(one["value"] for one in device["identifier"] if one["system"] == "urn:dicom:uid")
    assert uid == f"urn:oid:{derived_uid('device', '1.2.3', SHA)}"


def test_the_imaging_study_has_the_series_that_were_made_with_the_place_in_the_body(made):
    (study,) = of_kind(made, "ImagingStudy")
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:2.25.17"}]
    assert study["started"] == "2021-03-04"
    assert [one["code"] for one in study["modality"]] == ["DX"]
    (series,) = study["series"]
    assert (series["uid"], series["modality"]["code"], series["numberOfInstances"]) == ("2.25.12", "SEG", 1)
    assert (series["bodySite"]["code"], series["laterality"]["display"]) == ("816094009", "Left")
    assert series["instance"][0]["uid"] == "2.25.11"


def test_the_uid_of_a_file_that_was_not_deidentified_is_told_only_when_asked_for():
    study = replace(STUDY, origin=replace(STUDY.origin, uids={"study": "0123456789abcdef"}))
    (hidden,) = of_kind(bundle(study, recorded=MOMENT, objects=[OBJECT]), "ImagingStudy")
    assert hidden["identifier"] == [{"system": "urn:cfcam:study-uid-sha256", "value": "0123456789abcdef"}]
    assert "1.2.3.4" not in json.dumps(hidden)
    (told,) = of_kind(bundle(study, recorded=MOMENT, objects=[OBJECT], keep_uids=True), "ImagingStudy")
    assert told["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}]
    with pytest.raises(InputError, match="UID of the study stands in its DICOM objects"):
        bundle(study, recorded=MOMENT, keep_uids=True)


def test_the_patient_is_a_pseudonym_or_nobody(made):
    known = {"type": "Patient", "identifier": {"system": "urn:cfcam:pseudonym", "value": "P-17"}}
    for kind in ("ImagingStudy", "DiagnosticReport", "Observation", "DocumentReference"):
        assert {json.dumps(one["subject"]) for one in of_kind(made, kind)} == {json.dumps(known)}
    nobody = bundle(picture_study(pseudonym=None), recorded=MOMENT)
    assert of_kind(nobody, "ImagingStudy")[0]["subject"]["extension"][0]["valueCode"] == "masked"
    assert all("subject" not in one for one in of_kind(nobody, "Observation"))
    assert '"Patient/' not in as_bytes(made).decode()
    assert not of_kind(made, "Patient")


def test_the_report_is_preliminary_with_the_pdf_and_its_hashes(made):
    (report,) = of_kind(made, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["imagingStudy"] == [of_reference(made, "ImagingStudy")]
    (form,) = report["presentedForm"]
    assert base64.b64decode(form["data"]) == PDF
    assert base64.b64decode(form["hash"]) == hashlib.sha1(PDF, usedforsecurity=False).digest()
    assert form["extension"][0]["valueString"] == hashlib.sha256(PDF).hexdigest()
    assert form["size"] == len(PDF)
    assert "Research use only; an explanation of the model, not a finding." in report["conclusion"]
    assert "Masks were drawn by hand." in report["conclusion"]


def of_reference(made: dict, kind: str) -> dict[str, str]:
    (one,) = of_kind(made, kind)
    return {"reference": reference_to(made, one), "type": kind}


def test_every_number_is_an_observation_with_unit_place_device_and_map(made):
    numbers = [one for one in of_kind(made, "Observation") if "valueQuantity" in one]
    regions = study_numbers(STUDY)["maps"][0]["regions"]["regions"]
    (area,) = [one for one in numbers if code_of(one) == "42798000" and component(one, "region") == "left lung"]
    assert area["valueQuantity"] == {
        "value": regions[1]["size"], "unit": "mm²", "system": "http://unitsofmeasure.org", "code": "mm2",
    }  # fmt: skip
    assert regions[1]["size"] == 60 * 160 * 0.25  # the mask that was drawn, at half a millimetre
    assert area["bodySite"]["coding"][0]["code"] == "816094009"
    assert area["bodySite"]["text"] == "chest, left"
    assert area["device"] == of_reference(made, "Device")
    assert area["derivedFrom"] == [of_reference(made, "ImagingStudy")]
    assert area["method"] == {"text": "grad-cam"}
    assert {one["status"] for one in numbers} == {"preliminary"}
    assert {one["valueQuantity"]["system"] for one in numbers} == {"http://unitsofmeasure.org"}


def test_an_area_of_a_radiograph_says_where_its_millimetres_are(made):
    film = [replace(one, regions=replace(one.regions, measured=Measured.DETECTOR)) for one in STUDY.maps]
    told = bundle(replace(STUDY, maps=tuple(film)), recorded=MOMENT)
    areas = [[one for one in of_kind(found, "Observation") if code_of(one) == "42798000"] for found in (told, made)]
    assert [{component(one, "measured") for one in each} for each in areas] == [{"at the detector"}, {None}]
    assert all(component(one, "measured") is None for one in of_kind(told, "Observation") if one not in areas[0])


def test_each_map_has_its_numbers_as_members_and_says_whether_it_can_be_read():
    made = bundle(volume_study(), recorded=MOMENT)
    panels = [one for one in of_kind(made, "Observation") if code_of(one) == "map"]
    by_url = {one["fullUrl"]: one["resource"] for one in made["entry"]}
    first, second = ([by_url[member["reference"]] for member in one["hasMember"]] for one in panels)
    assert component(panels[0], "status") == "ok"
    assert {"118565006", "peak-x", "centroid-z", "probability"} <= {code_of(one) for one in first}
    assert component(panels[1], "status") == "no positive evidence"
    assert [code_of(one) for one in second] == ["probability"]


def test_places_in_the_patient_are_lps_as_in_the_sr():
    made = bundle(volume_study(), recorded=MOMENT)
    values = {
        code_of(one): one["valueQuantity"]["value"] for one in of_kind(made, "Observation") if "valueQuantity" in one
    }
    ras = AFFINE @ [3, 10, 12, 1]  # where the hill is highest
    assert [values[f"peak-{axis}"] for axis in "xyz"] == [-ras[0], -ras[1], ras[2]]


def test_checks_say_their_outcome_and_those_not_assessed_that_there_is_no_number(made):
    checks = {component(o, "check"): o for o in of_kind(made, "Observation") if code_of(o) == "check"}
    assert checks["organ: energy"]["valueQuantity"]["value"] == 0.912
    assert checks["organ: energy"]["interpretation"] == [{"text": "pass"}]
    assert component(checks["artefact: enrichment"], "check-limit") == 3.0
    assert checks["findings: covered"]["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert "valueQuantity" not in checks["findings: covered"]


def test_uncertainty_has_an_observation_for_each_number(made):
    found = {code_of(o): o["valueQuantity"]["value"] for o in of_kind(made, "Observation") if "valueQuantity" in o}
    assert found["uncertainty-agreement"] == 0.612
    assert found["uncertainty-entropy"] == 0.523
    assert found["uncertainty-mutual-information"] == 0.0712


def test_objects_are_referred_to_by_uid_size_and_hash(made):
    (document,) = of_kind(made, "DocumentReference")
    assert document["masterIdentifier"]["value"] == "urn:oid:2.25.11"
    (content,) = document["content"]
    assert (content["attachment"]["contentType"], content["attachment"]["size"]) == ("application/dicom", 1234)
    assert base64.b64decode(content["attachment"]["hash"]) == OBJECT.sha1
    assert document["context"]["related"] == [of_reference(made, "ImagingStudy")]


def test_readers_answers_are_results_of_the_report_and_the_latest_counts(made):
    (report,) = of_kind(made, "DiagnosticReport")
    answers = [one for one in of_kind(made, "Observation") if code_of(one) == "reader-verdict"]
    assert [one["status"] for one in answers] == ["final", "amended"]
    results = [one["reference"] for one in report["result"]]
    assert reference_to(made, answers[1]) in results
    assert reference_to(made, answers[0]) not in results
    assert report["resultsInterpreter"] == [{"display": "Béla"}]
    assert report["issued"] == "2026-01-04T00:00:00.000Z"
    assert "Maps: 1 amended; readers differ on 1." in report["conclusion"]


def test_provenance_names_the_hashes_and_targets_all_that_was_made(made):
    first, *answers = of_kind(made, "Provenance")
    identifiers = [one["what"].get("identifier", {}) for one in first["entity"]]
    hashes = {one["system"]: one["value"] for one in identifiers if one}
    assert hashes == {"urn:cfcam:source-sha256": STUDY.source_sha256, "urn:cfcam:weights-sha256": SHA}
    assert first["recorded"] == "2026-01-02T03:04:05.678Z"
    kinds = {one["type"] for one in first["target"]}
    assert kinds == {"DiagnosticReport", "Observation", "DocumentReference"}
    assert len(answers) == 2


def test_the_audit_events_are_those_of_the_record(made):
    explained, *answered = of_kind(made, "AuditEvent")
    assert (explained["type"]["code"], explained["action"]) == ("110103", "R")
    assert explained["entity"][0]["what"]["identifier"]["value"] == "rec-000042"
    assert [one["agent"][0]["who"]["display"] for one in answered] == ["Ána", "Béla"]
    assert [one["action"] for one in answered] == ["U", "U"]


def test_another_number_is_another_result_and_a_record_more_is_not():
    def identifiers(study):
        return [one["request"].get("ifNoneExist") for one in bundle(study, recorded=MOMENT)["entry"]]

    first = identifiers(STUDY)
    assert len(set(first)) == len(first)
    recorded_again = identifiers(replace(STUDY, record_id="rec-000043", name="another"))
    assert first[:-1] == recorded_again[:-1]
    assert first[-1] != recorded_again[-1]  # its AuditEvent
    other = replace(STUDY, maps=(replace(STUDY.maps[0], probability=0.8135), *STUDY.maps[1:]))
    shared = set(first) & set(identifiers(other)) - {None}
    assert {one.partition("=")[2].partition("|")[2] for one in shared if "dicom" in one} == {"urn:oid:2.25.17"}
    assert len(shared) == 2  # the network and the ImagingStudy, which are the same


def test_no_identifier_is_a_url_that_a_server_would_put_its_own_for(made):
    urls = [one["fullUrl"] for one in made["entry"]]
    text = json.dumps([one["resource"].get("identifier") for one in made["entry"]])
    assert not [url for url in urls if url in text]


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InputError, match="recorded has no zone"):
        bundle(STUDY, recorded=datetime(2026, 1, 2))
    elsewhere = replace(ACCEPTED, shown=replace(ACCEPTED.shown, source_sha256="0" * 64))
    with pytest.raises(InputError, match="is of another picture"):
        bundle(STUDY, recorded=MOMENT, reviews=[elsewhere])
    other = replace(AMENDED, shown=replace(AMENDED.shown, weights_sha256="0" * 64))
    with pytest.raises(InputError, match="is of another network"):
        bundle(STUDY, recorded=MOMENT, reviews=[other])
    with pytest.raises(InputError, match=r"object 2\.25\.11 is of another network"):
        bundle(STUDY, recorded=MOMENT, objects=[replace(OBJECT, weights="0" * 64)])
    with pytest.raises(InputError, match="record it first"):
        bundle(STUDY, recorded=MOMENT, reviews=[replace(ACCEPTED, hash="")])
    with pytest.raises(InputError, match="is no PDF"):
        bundle(STUDY, recorded=MOMENT, report=b"<html>")


def test_all_ids_look_like_ids(made):
    for one in made["entry"]:
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one["fullUrl"])
        assert "id" not in one["resource"]  # a server gives its own
