"""Reviews as plain JSON whose fields are those of FHIR R4, for the viewer's file and for the Bundle of a study.

Each verdict is an Observation by its reader, with a Provenance that says what was shown and which record it is; the
study's verdicts that count are the results of a DiagnosticReport. The names are those of the elements in FHIR R4
(https://hl7.org/fhir/R4/observation.html, diagnosticreport.html, provenance.html); qualitative evaluations of a DICOM
SR become Observations in the same way in HL7's guide "DICOM SR to FHIR Resource Mapping".

In the file three things are left to whoever knows the site: the subject (at most a pseudonym), the references between
the resources (ids within the file, such as "review-17"), and the URL of the code system `SYSTEM`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cfcam._version import __version__
from cfcam.clinical.review import CODES, MapReviews, Review, Verdict, by_map

FORMAT = 1
SYSTEM = "urn:cfcam:review"
"""The code system of cfcam's own codes; the DICOM SR has the same codes under the designator 99CFCAM."""

USE = "Research use only; an explanation of the model, not a finding"
CATEGORY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}],
}


def reviews_json(study: str, reviews: Sequence[Review], head: str) -> bytes:
    """Returns the reviews of a study as the bytes of a JSON file; the same reviews give the same bytes.

    Args:
        study: its id in the viewer.
        reviews: of the audit, oldest first.
        head: hash of the audit's last record when they were read and the chain was found whole.
    """
    maps = by_map(reviews)
    found = {
        "format": FORMAT,
        "use": USE,
        "audit": {"head": head, "verified": True},
        "diagnosticReport": _report(study, maps),
        "observation": [observation(one) for one in reviews],
        "provenance": [provenance(one) for one in reviews],
    }
    return f"{json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()


def _report(study: str, maps: Mapping[str, MapReviews]) -> dict[str, Any]:
    counting = [one.latest for one in maps.values()]
    subject = next((one.shown.pseudonym for one in counting if one.shown.pseudonym), None)
    times = [one.time for one in counting if one.time is not None]
    found = {
        "identifier": [{"system": "urn:cfcam:study", "value": study}],
        "status": "preliminary",  # cfcam knows no report that is final: research use
        "code": {"coding": [coding("reader-verdicts", "Verdicts of readers on the maps of a study")]},
        "subject": None if subject is None else {"identifier": {"system": "urn:cfcam:pseudonym", "value": subject}},
        "issued": instant(max(times)) if times else None,
        "resultsInterpreter": [{"display": name} for name in dict.fromkeys(one.reviewer for one in counting)],
        "result": [{"reference": _id("review", one)} for one in counting],
        "conclusion": conclusion(maps),
    }
    return without_nothing(found)


def conclusion(maps: Mapping[str, MapReviews]) -> str:
    """Returns in a sentence what readers made of the maps."""
    counts = {verdict: sum(one.latest.verdict is verdict for one in maps.values()) for verdict in Verdict}
    contested = sum(one.contested for one in maps.values())
    words = {Verdict.ACCEPT: "accepted", Verdict.REJECT: "rejected", Verdict.AMEND: "amended"}
    told = ", ".join(f"{count} {words[verdict]}" for verdict, count in counts.items() if count)
    return f"Maps: {told or 'none answered'}; readers differ on {contested}." if maps else "No map was answered."


def observation(one: Review) -> dict[str, Any]:
    """Returns a verdict as an Observation by its reader."""
    shown = one.shown
    focus = {"identifier": {"system": "urn:cfcam:map", "value": shown.map}}
    found = {
        "id": _id("review", one),
        "identifier": [
            {"system": "urn:cfcam:audit-record", "value": one.record_id},
            {"system": "urn:cfcam:audit-record-sha256", "value": one.hash},
        ],
        # the earlier one stays what it was: which of them counts is said by the report's results
        "status": "amended" if one.supersedes else "final",
        "category": [CATEGORY],
        "code": {"coding": [coding("reader-verdict", "Verdict of the reader on the map")]},
        "subject": subject_of(shown.pseudonym),
        "focus": [focus],
        "effectiveDateTime": instant(one.time),
        "issued": instant(one.time),
        "performer": [{"display": one.reviewer}],
        "valueCodeableConcept": {"coding": [coding(*CODES[one.verdict])]},
        "note": [{"authorString": one.reviewer, "time": instant(one.time), "text": one.comment}] if one.comment else [],
        "device": {"display": f"cfcam {__version__}"},
        "component": [
            *components(
                {
                    "method": ("Method of the map", shown.method or None),
                    "layer": ("Layer of the network", shown.layer or None),
                    "class": ("Number of the explained class", shown.class_index),
                    "probability": ("Probability of the class, as the model gives it", shown.probability),
                }
            ),
            *components({f"shown-{name}": (f"How the map was shown: {name}", v) for name, v in one.view.items()}),
            *components({f"amended-{name}": (f"Amended: {name}", v) for name, v in one.amended.items()}),
        ],
    }
    return without_nothing(found)


def provenance(one: Review) -> dict[str, Any]:
    """Returns what was shown when a verdict was given, and which record it is."""
    shown = one.shown
    sources = {
        "urn:cfcam:source-sha256": shown.source_sha256,
        "urn:cfcam:map-sha256": shown.map_sha256,
        "urn:cfcam:weights-sha256": shown.weights_sha256,
    }
    entities = [
        {"role": "source", "what": {"identifier": {"system": system, "value": value}}}
        for system, value in sources.items()
        if value
    ]
    if one.supersedes:
        before = {"identifier": {"system": "urn:cfcam:audit-record", "value": one.supersedes}}
        entities.append({"role": "revision", "what": before})
    found = {
        "id": _id("provenance", one),
        "target": [{"reference": _id("review", one)}],
        "recorded": instant(one.time),
        "activity": {"coding": [coding(f"review-{one.verdict.value}", f"A reader's answer: {one.verdict.value}")]},
        "agent": [
            {"type": {"coding": [participant("author")]}, "who": {"display": one.reviewer}},
            {"type": {"coding": [participant("assembler")]}, "who": {"display": f"cfcam {__version__}"}},
        ],
        "entity": entities,
    }
    return without_nothing(found)


def components(named: Mapping[str, tuple[str, Any]]) -> list[dict[str, Any]]:
    """Returns named values as the components of an Observation: name -> what it is, value; None is left out."""
    return [
        {"code": {"coding": [coding(name, text)]}, **_value(value)}
        for name, (text, value) in named.items()
        if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    """A value as one of the kinds that a component takes (value[x])."""
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int):
        return {"valueInteger": value}
    if isinstance(value, float):
        return {"valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": "1"}}
    return {"valueString": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def subject_of(pseudonym: str | None) -> dict[str, Any] | None:
    """Returns a patient by the pseudonym that cfcam gave; None without one."""
    return None if pseudonym is None else {"identifier": {"system": "urn:cfcam:pseudonym", "value": pseudonym}}


def coding(code: str, display: str) -> dict[str, str]:
    """Returns a code of cfcam's own."""
    return {"system": SYSTEM, "code": code, "display": display}


def participant(code: str) -> dict[str, str]:
    """Returns a code of what an agent had to do with it."""
    return {"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": code}


def _id(kind: str, one: Review) -> str:
    return f"{kind}-{one.record_id.partition('-')[0]}"


def instant(time: datetime | None) -> str | None:
    """Returns a time as FHIR's instant: with its zone, to the millisecond."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def without_nothing(found: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is not known: FHIR has neither null nor empty lists."""
    return {name: value for name, value in found.items() if value not in (None, [], {}, "")}
