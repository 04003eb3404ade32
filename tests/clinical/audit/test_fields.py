"""What may be recorded: each field what it is for, and nothing that might say who a patient is."""

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")
from cfcam.clinical.audit import EVENTS, FIELDS, OUTCOMES, Action, Audit, AuditError
from tests.clinical.audit.test_audit import PSEUDONYM, filled, sha256


@pytest.mark.parametrize(
    "details",
    [
        {"patient_name": "Zyxwv^Planted"},
        {"Zyxwv Planted": 1},
        {"pseudonym": "Zyxwv^Planted"},
        {"pseudonym": "4711-0815"},
        {"reason": "asked by Zyxwv Planted"},
        {"data_sha256": ["1.2.840.113619.2.4711"]},
        {"object_uids": ["1.2.840.113619.2.4711"]},
        {"measures": {"Zyxwv Planted": 1.0}},
        {"measures": {"area": float("nan")}},
        {"count": True},
        {"probability": 1.5},
        {"target": "Zyxwv Planted"},
        {"method": ["grad-cam", "Zyxwv Planted"]},
        {"error": "FileNotFoundError: Zyxwv^Planted.dcm"},
        {"method": "grad-cam\n"},
        {"reviewer": "Zyxwv^Planted"},
        {"comment": "Zyxwv\x00Planted"},
        {"comment": "Zyxwv\u202ePlanted"},
        {"comment": "Zyxwv\rPlanted"},
        {"comment": "Zyxwv\udcffPlanted"},
        {"comment": "Zyxwv" * 401},
        {"view": {"patient": "Zyxwv"}},
        {"view": {"palette": "Zyxwv Planted"}},
        {"view": {"opacity": float("inf")}},
        {"view": ["Zyxwv"]},
        {"amended": {"polygon": [[0, 0], [1, 1]]}},
        {"map": "s-9f86d081884c"},
    ],
)
def test_what_might_be_an_identity_is_neither_recorded_nor_repeated(where, details):
    audit = filled(where, 1)
    with pytest.raises(AuditError) as caught:
        audit.append("explain", details)
    for planted in ("Zyxwv", "113619.2.4711"):  # longer than what a clock or a hash holds by chance
        assert planted not in str(caught.value)
        assert planted.encode() not in where.read_bytes()
    assert "\n" not in str(caught.value)
    assert audit.verify().count == 1


def test_every_field_takes_what_it_says(where):
    digest = sha256("x")
    details = {name: digest for name in FIELDS if name.endswith("_sha256")} | {
        "pseudonym": PSEUDONYM,
        "object_uids": ["2.25.1", "2.25.340282366920938463463374607431768211455"],
        "modality": "CT",
        "method": ["grad-cam++", "cf-cam"],
        "layer": "features.3.conv",
        "target": [0, 2],
        "probability": [0.25, 1],
        "measures": {"area_mm2": 12.5},
        "checks": {"artefact": "flag"},
        "formats": "pm",
        "count": 0,
        "seed": -1,
        "version": "0.3.1",
        "versions": {"torch": "2.9.0+cpu"},
        "device": "cuda:0",
        "outcome": "success",
        "error": "ImageError",
        "reason": "another-model",
        "decision": "amend",
        "reviewer": "Dr. Ána O'Brien-Müller",
        "comment": "the border, not the nodule\n中文 نمی‌دانم",
        "study": "s-9f86d081884c",
        "map": "m-9f86d081884c",
        "view": {"opacity": 0.4, "threshold": None, "window": [-160, 240.5], "maps": ["m-9f86d081884c"], "fade": True},
        "amended": {"class_index": 3, "plane": "axial", "slice": 4, "polygon": [[0, 0], [0, 2.5], [3, 1]]},
        "user": "reader1@example.org",
        "station": "CFCAM",
        "destination": "ORTHANC",
        "refers_to": "1-9f86d081884c",
    }
    assert set(details) == set(FIELDS)
    audit = Audit(where)
    audit.append("report", details)
    (record,) = audit.records()
    assert record.details == details


@pytest.mark.parametrize("pseudonym", ["P-ABCDEFGHIJ234567", "9f86d081884c7d65", "P-" + "0a" * 32])
def test_keyed_pseudonyms_are_recorded(where, pseudonym):
    assert Audit(where).append("report", {"pseudonym": pseudonym}).details == {"pseudonym": pseudonym}


def test_the_events_are_dicoms(where):
    codes = pytest.importorskip("pydicom.sr.codedict").codes
    known = {getattr(codes.DCM, name).value: getattr(codes.DCM, name).meaning for name in codes.DCM.dir()}
    assert set(EVENTS) == set(Action)
    for event in EVENTS.values():
        assert known[event.id.value] == event.id.meaning
        assert 110100 <= int(event.id.value) <= 110114  # CID 400
        assert event.action_code in "CRUDE"
        if event.type is not None:
            assert known[event.type.value] == event.type.meaning
    assert OUTCOMES == {"success": 0, "minor-failure": 4, "serious-failure": 8, "major-failure": 12}
    record = Audit(where).append("report", {})
    assert (record.event.id.value, record.event.action_code) == ("110103", "C")
