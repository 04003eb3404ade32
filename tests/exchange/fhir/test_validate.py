"""What is wrong with a Bundle is found, also what fhir.resources takes."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from cfcam.exchange.fhir import bundle, problems
from tests.exchange.fhir.studies import EVERYTHING, STUDY, of_kind
from tests.machine import fhir_tools

OF_ALL = {"id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension"}
"""Elements that every resource has."""


@pytest.fixture
def made() -> dict:
    return json.loads(json.dumps(bundle(STUDY, **EVERYTHING)))


def change(made, kind, **values):
    of_kind(made, kind)[0].update(values)


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("Observation", {"status": "banana"}, "status: banana is none of registered, preliminary, final"),
        ("Observation", {"device": {"reference": "Device/17"}}, "device: leads to Device/17, which is not in"),
        ("Observation", {"device": {}}, "device: is empty"),
        ("Observation", {"device": {"type": "Device"}}, "device: leads nowhere"),
        ("Observation", {"subject": {"type": "Banana", "display": "x"}}, "subject: leads to a Banana, and may lead to"),
        ("Observation", {"issued": "2026-01-02"}, "issued"),
        ("Observation", {"valueQuantity": {"value": 1, "system": "http://unitsofmeasure.org", "code": "acre"}},
         "code: acre is none of the units"),
        ("Observation", {"code": {"coding": [{"system": "http://example.org", "code": "x"}]}}, "is no system that"),
        ("Device", {"status": "broken"}, "status: broken is none of active"),
        ("DiagnosticReport", {"foo": 1}, "foo"),
        ("ImagingStudy", {"subject": None}, "subject: is empty"),
        ("ImagingStudy", {"subject": {"identifier": {"system": "http://hospital.example/mrn", "value": "1"}}},
         "none of cfcam's own"),
        ("DocumentReference", {"status": "new"}, "status: new is none of current, superseded, entered-in-error"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_resource_is_told_with_its_place(made, kind, values, told):
    change(made, kind, **values)
    found = problems(made)
    assert len(found) == 1, found
    assert found[0].startswith("entry")
    assert told in found[0]


def test_a_reference_to_a_resource_of_another_kind_is_found(made):
    device = next(one["fullUrl"] for one in made["entry"] if one["resource"]["resourceType"] == "Device")
    change(made, "DiagnosticReport", imagingStudy=[{"reference": device}])
    assert "leads to a Device, and may lead to ImagingStudy" in problems(made)[0]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"method": "POST", "url": "Device"}, "a POST without ifNoneExist makes a second one"),
        ({"method": "POST", "url": "Patient", "ifNoneExist": "identifier=a|b"}, "and the resource is a Device"),
        ({"method": "PUT", "url": "Device"}, "names no Device by its identifier"),
        ({"method": "DELETE", "url": "Device"}, "has to be POST or PUT"),
        (None, "has no request"),
    ],
)
def test_requests_are_looked_at(made, request_, told):
    made["entry"][0]["request"] = request_
    if request_ is None:
        del made["entry"][0]["request"]
    (found,) = problems(made)
    assert told in found


def test_a_full_url_that_is_there_twice_or_is_none_is_found(made):
    made["entry"][1]["fullUrl"] = made["entry"][0]["fullUrl"]
    assert any("a fullUrl is there twice" in line for line in problems(made))
    made["entry"][1]["fullUrl"] = "http://example.org/1"
    assert any("is no urn:uuid" in line for line in problems(made))
    assert problems({**made, "type": "batch"})[0] == "type: is batch, and has to be transaction"


@pytest.mark.parametrize(
    "kind",
    [
        "Device",
        "ImagingStudy",
        "Observation",
        "DiagnosticReport",
        "DocumentReference",
        "Provenance",
        "AuditEvent",
        "Bundle",
    ],
)
def test_r4_and_r4b_have_the_same_elements_of_what_is_used(kind):
    """By the StructureDefinitions of R4 (4.0.1) and the classes of R4B (4.3.0)."""
    _, folder = fhir_tools()
    file = folder / "node_modules" / "@medplum" / "definitions" / "dist" / "fhir" / "r4" / "profiles-resources.json"
    definitions = [one["resource"] for one in json.loads(file.read_bytes())["entry"]]
    (r4,) = [one for one in definitions if one["resourceType"] == "StructureDefinition" and one["id"] == kind]
    assert r4["fhirVersion"] == "4.0.1"
    names = set()
    for element in r4["snapshot"]["element"]:
        path = element["path"].split(".")
        if len(path) == 2 and path[1].endswith("[x]"):
            types = (one["code"] for one in element["type"])
            names |= {f"{path[1][:-3]}{code[0].upper()}{code[1:]}" for code in types}
        elif len(path) == 2:
            names.add(path[1])
    module = import_module(f"fhir.resources.R4B.{kind.lower()}")
    fields = getattr(module, kind).model_fields
    assert (
        names - OF_ALL
        == {
            info.alias or name
            for name, info in fields.items()
            if info.json_schema_extra and info.json_schema_extra.get("element_property")
        }
        - OF_ALL
    )
