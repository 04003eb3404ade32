"""A study with everything a Bundle can hold, and what is found in one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from cfcam.clinical.review import Review, Shown, Verdict
from cfcam.exchange.fhir.documents import DicomFile
from tests.clinical.report.test_page import ORIGIN, SHA, picture_study

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
PDF = b"%PDF-1.7 a report"
STUDY = picture_study(origin=replace(ORIGIN, laterality="left"))
OBJECT = DicomFile(
    "2.25.11", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.12", "SEG", "Research use: grad-cam region", "1.2.3.4", SHA,
    1234, hashlib.sha1(b"object", usedforsecurity=False).digest(), hashlib.sha256(b"object").hexdigest(),
)  # fmt: skip
SHOWN = Shown(
    "s-" + "0" * 12, "m-" + "1" * 12, STUDY.source_sha256, "b" * 64, SHA, "grad-cam", "features.denseblock4", 1, 0.8134
)
ACCEPTED = Review(
    SHOWN, Verdict.ACCEPT, "Ána", record_id="3-0123456789ab", time=datetime(2026, 1, 3, tzinfo=UTC), hash="d" * 64
)
AMENDED = replace(
    ACCEPTED, verdict=Verdict.AMEND, reviewer="Béla", comment="the border", amended={"class_index": 0},
    view={"opacity": 0.5}, supersedes=ACCEPTED.record_id, record_id="7-ba9876543210",
    time=datetime(2026, 1, 4, tzinfo=UTC), hash="e" * 64,
)  # fmt: skip
EVERYTHING = {"recorded": MOMENT, "report": PDF, "objects": [OBJECT], "reviews": [ACCEPTED, AMENDED]}


def of_kind(bundle: dict, kind: str) -> list[dict]:
    """The resources of a kind, in their order."""
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def code_of(observation: dict) -> str:
    """The code of an Observation."""
    return observation["code"]["coding"][0]["code"]


def component(resource: dict, code: str):
    """The value of a component; None if there is none."""
    for one in resource.get("component", []):
        if one["code"]["coding"][0]["code"] == code:
            (value,) = (value for name, value in one.items() if name.startswith("value"))
            return value["value"] if isinstance(value, dict) else value
    return None
