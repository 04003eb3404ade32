"""Reviews as JSON with the elements of FHIR R4."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from cfcam.clinical.review import Review, Shown, Verdict
from cfcam.exchange.fhir.reviews import SYSTEM, reviews_json

SHOWN = Shown("s-" + "0" * 12, "m-" + "1" * 12, "a" * 64, "b" * 64, "c" * 64, "grad-cam", "layer4", 1, 0.87)
FIRST = Review(
    SHOWN,
    Verdict.ACCEPT,
    "Ána",
    record_id="3-0123456789ab",
    time=datetime(2026, 1, 2, 3, 4, 5, 678900, UTC),
    hash="d" * 64,
)
SECOND = replace(
    FIRST,
    verdict=Verdict.AMEND,
    reviewer="Béla",
    comment="the border",
    amended={"class_index": 0},
    view={"opacity": 0.5, "fade": True, "window": [0, 80.5]},
    supersedes=FIRST.record_id,
    record_id="7-ba9876543210",
    time=datetime(2026, 1, 3, tzinfo=UTC),
    hash="e" * 64,
)


def read(reviews):
    return json.loads(reviews_json(SHOWN.study, reviews, "f" * 64))


def component(observation, code):
    return next(one for one in observation["component"] if one["code"]["coding"][0]["code"] == code)


def test_each_verdict_is_an_observation_by_its_reader():
    first, second = read([FIRST, SECOND])["observation"]
    assert (first["id"], first["status"]) == ("review-3", "final")
    assert (second["id"], second["status"]) == ("review-7", "amended")
    assert first["valueCodeableConcept"]["coding"][0] == {
        "system": SYSTEM, "code": "verdict-accept", "display": "The reader accepts the map",
    }  # fmt: skip
    assert second["valueCodeableConcept"]["coding"][0]["code"] == "verdict-amend"
    assert first["performer"] == [{"display": "Ána"}]
    assert first["effectiveDateTime"] == first["issued"] == "2026-01-02T03:04:05.678Z"
    assert "note" not in first
    assert second["note"] == [{"authorString": "Béla", "time": "2026-01-03T00:00:00.000Z", "text": "the border"}]
    assert [one["value"] for one in second["identifier"]] == ["7-ba9876543210", "e" * 64]
    assert component(first, "probability")["valueQuantity"]["value"] == 0.87
    assert component(first, "class")["valueInteger"] == 1
    assert component(second, "amended-class_index")["valueInteger"] == 0
    assert component(second, "shown-fade")["valueBoolean"] is True
    assert component(second, "shown-window")["valueString"] == "[0, 80.5]"


def test_the_provenance_says_what_was_shown_and_what_it_takes_the_place_of():
    first, second = read([FIRST, SECOND])["provenance"]
    hashes = {one["what"]["identifier"]["system"]: one["what"]["identifier"]["value"] for one in first["entity"]}
    assert hashes == {
        "urn:cfcam:source-sha256": "a" * 64, "urn:cfcam:map-sha256": "b" * 64, "urn:cfcam:weights-sha256": "c" * 64,
    }  # fmt: skip
    assert second["target"] == [{"reference": "review-7"}]
    (revision,) = [one["what"]["identifier"]["value"] for one in second["entity"] if one["role"] == "revision"]
    assert revision == FIRST.record_id
    assert second["agent"][0]["who"] == {"display": "Béla"}


def test_the_report_lists_the_verdicts_that_count():
    other = replace(FIRST, shown=replace(SHOWN, map="m-" + "2" * 12), verdict=Verdict.REJECT, record_id="9-" + "0" * 12)
    report = read([FIRST, SECOND, other])["diagnosticReport"]
    assert report["status"] == "preliminary"
    assert report["result"] == [{"reference": "review-7"}, {"reference": "review-9"}]
    assert report["resultsInterpreter"] == [{"display": "Béla"}, {"display": "Ána"}]
    assert report["conclusion"] == "Maps: 1 rejected, 1 amended; readers differ on 1."
    assert report["issued"] == "2026-01-03T00:00:00.000Z"
    assert "subject" not in report


def test_a_pseudonym_is_the_only_subject_and_without_reviews_nothing_is_concluded():
    known = replace(FIRST, shown=replace(SHOWN, pseudonym="P-ABCDEFGHIJ234567"))
    found = read([known])
    subject = {"identifier": {"system": "urn:cfcam:pseudonym", "value": "P-ABCDEFGHIJ234567"}}
    assert found["diagnosticReport"]["subject"] == found["observation"][0]["subject"] == subject
    nothing = read([])
    assert nothing["observation"] == nothing["provenance"] == []
    assert nothing["diagnosticReport"]["conclusion"] == "No map was answered."
    assert nothing["audit"] == {"head": "f" * 64, "verified": True}
