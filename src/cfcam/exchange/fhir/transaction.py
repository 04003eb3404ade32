"""A study's result and what readers said of it as one transaction Bundle; the same result gives the same bytes.

Posted twice it makes nothing new: what is on the server is found by its identifier and stays as it is, but for the
report, which the later one replaces, as readers may have answered since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cfcam.clinical.audit.fields import Action
from cfcam.clinical.report.numbers import study_numbers
from cfcam.clinical.report.read import Numbers, checked
from cfcam.clinical.review import Review, by_map
from cfcam.clinical.study_result import StudyResult
from cfcam.errors import InputError
from cfcam.exchange.dicom.job import RESEARCH
from cfcam.exchange.fhir import reviews as of_reviews
from cfcam.exchange.fhir.documents import DicomFile, document, pdf
from cfcam.exchange.fhir.entries import Entry, Resource, identified, tagged
from cfcam.exchange.fhir.imaging import body_site, device, imaging_study, patient
from cfcam.exchange.fhir.numbers import Common, of_checks, of_maps, of_uncertainty
from cfcam.exchange.fhir.record import audit_event, provenance
from cfcam.exchange.fhir.reviews import coding, instant, without_nothing

_NO_PART_OF_IT = ("record_id", "name")  # the same result is no other because it is recorded again, or called otherwise


def bundle(
    study: StudyResult | Numbers,
    *,
    recorded: datetime,
    report: bytes | None = None,
    objects: Sequence[DicomFile] = (),
    reviews: Sequence[Review] = (),
    keep_uids: bool = False,
) -> dict[str, Any]:
    """Returns a result as a transaction Bundle of FHIR R4B, plain values as JSON takes them.

    The patient is known by the pseudonym alone that cfcam gave, and without one not at all.

    Args:
        study: the result, or its numbers (`cfcam.clinical.report.read.read_study`).
        recorded: when it was made, with its zone; the audit's record of it says so.
        report: the PDF.
        objects: DICOM objects that it was written as.
        reviews: of its maps, as they were recorded, oldest first; those on another picture or network are refused.
        keep_uids: name the study by the UID that its DICOM file states, which ``objects`` have; else by what
            ``cfcam deidentify`` made of it, or by a part of its SHA-256.

    Raises:
        InputError: the time has no zone, an object or a review is of another network, a review is of another picture or
            in no record, the report is no PDF, or the study's UID is asked for and not known.
    """
    numbers = checked(study_numbers(study), "the study") if isinstance(study, StudyResult) else checked(study, "study")
    if recorded.tzinfo is None:
        raise InputError("recorded has no zone, and FHIR's instant has one: give a time in UTC")
    _check(numbers, objects, reviews)
    result, moment = _identity(numbers), instant(recorded.astimezone(UTC))
    assert moment is not None  # noqa: S101 (of a time)
    subject = patient(numbers)
    network = device(numbers)
    source = imaging_study(numbers, objects, _study_uid(objects) if keep_uids else "")
    common = Common(result, _of_observations(numbers, moment, subject, network, source))

    panels, members = [], []
    for panel, its in of_maps(numbers, common):
        panels.append(panel)
        members += its
    further = [*of_checks(numbers, common), *of_uncertainty(numbers, common)]
    about = without_nothing({"subject": subject, "date": moment})
    documents = [document(one, about, network.reference, source.reference) for one in objects]
    answers = {one.record_id: _answer(one, subject) for one in reviews}
    counting = [answers[one.latest.record_id] for one in by_map(reviews).values()]
    head = _report(numbers, result, moment, [*panels, *further, *counting], reviews, source, subject, report)
    made = [head, *panels, *members, *further, *documents]
    entries = [
        network,
        source,
        *made,
        *answers.values(),
        provenance(numbers, result, moment, made, network, source),
        *(_answer_provenance(one, answers) for one in reviews),
        *_events(numbers, result, moment, network, source, head, reviews, answers),
    ]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [one.as_dict() for one in entries],
    }


def as_bytes(made: Mapping[str, Any]) -> bytes:
    """Returns a Bundle as the bytes of a JSON file."""
    return f"{json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()


def _identity(numbers: Numbers) -> str:
    """Of a result: all of its numbers, so that no two different ones can be taken for the same."""
    kept = {name: value for name, value in numbers.items() if name not in _NO_PART_OF_IT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _study_uid(objects: Sequence[DicomFile]) -> str:
    if not objects:
        raise InputError("the UID of the study stands in its DICOM objects, and there are none: explain with --dicom")
    found = {one.study for one in objects}
    if len(found) > 1:
        raise InputError(f"the DICOM objects are of {len(found)} studies: give those of one")
    return found.pop()


def _check(numbers: Numbers, objects: Sequence[DicomFile], reviews: Sequence[Review]) -> None:
    other = next((one for one in objects if one.weights != numbers["model"]["weights_sha256"]), None)
    if other is not None:
        raise InputError(f"the DICOM object {other.uid} is of another network: give those of this result")
    for one in reviews:
        if not (one.hash and one.time and one.record_id):
            raise InputError("only an answer that is in the audit becomes a resource: record it first")
        if one.shown.source_sha256 != numbers["source"]["sha256"]:
            raise InputError(f"record {one.record_id} is of another picture: give the answers on this one")
        if one.shown.weights_sha256 not in ("", numbers["model"]["weights_sha256"]):
            raise InputError(f"record {one.record_id} is of another network: give the answers on this one's maps")


def _of_observations(
    numbers: Numbers, moment: str, subject: Resource | None, network: Entry, source: Entry
) -> dict[str, Any]:
    origin = numbers["study"] or {}
    return without_nothing(
        {
            "subject": subject,
            "effectiveDateTime": origin.get("date"),
            "issued": moment,
            "bodySite": body_site(numbers),
            "device": network.reference,
            "derivedFrom": [source.reference],
        }
    )


def _report(
    numbers: Numbers,
    result: str,
    moment: str,
    results: Sequence[Entry],
    reviews: Sequence[Review],
    source: Entry,
    subject: Resource | None,
    report: bytes | None,
) -> Entry:
    maps = by_map(reviews)
    readers = dict.fromkeys(one.latest.reviewer for one in maps.values())
    said = [f"{RESEARCH}.", *([of_reviews.conclusion(maps)] if maps else []), *numbers["limits"]]
    resource = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",  # cfcam knows no report that is final: research use
        "category": [CATEGORY_OF_REPORT],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"},
                coding("maps", "Maps of what a network looked at, and their numbers"),
            ]
        },
        "subject": subject,
        "effectiveDateTime": (numbers["study"] or {}).get("date"),
        "issued": instant(max(one.time for one in reviews if one.time)) if reviews else moment,
        "resultsInterpreter": [{"display": name} for name in readers],
        "result": [one.reference for one in results],
        "imagingStudy": [source.reference],
        "conclusion": " ".join(said),
        "presentedForm": [] if report is None else [pdf(report)],
    }
    return identified(without_nothing(resource), result, replaces=True)


CATEGORY_OF_REPORT = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "IMG", "display": "Diagnostic Imaging"}
    ]
}
"""The service that a report comes from."""


def _answer(one: Review, subject: Resource | None) -> Entry:
    """A reader's answer: the Observation that `cfcam.exchange.fhir.reviews` makes of it."""
    own = {"resourceType": "Observation", **of_reviews.observation(one)}
    del own["id"]  # which is one within a file; a server gives its own
    if subject is not None and "subject" not in own:
        own["subject"] = subject
    return identified(own, "review", one.record_id, one.hash)


def _answer_provenance(one: Review, answers: Mapping[str, Entry]) -> Entry:
    own = {"resourceType": "Provenance", **of_reviews.provenance(one)}
    del own["id"]
    own["target"] = [answers[one.record_id].reference]
    return tagged(own, "review", one.record_id, one.hash)


def _events(
    numbers: Numbers,
    result: str,
    moment: str,
    network: Entry,
    source: Entry,
    head: Entry,
    reviews: Sequence[Review],
    answers: Mapping[str, Entry],
) -> list[Entry]:
    record_id = numbers["record_id"]
    explained = audit_event(
        Action.EXPLAIN,
        moment,
        [source.reference, head.reference],
        network,
        record_id=record_id,
        parts=[result, record_id],
    )
    answered = [
        audit_event(
            Action.REVIEW,
            str(instant(one.time)),
            [answers[one.record_id].reference],
            network,
            record_id=one.record_id,
            parts=[one.record_id, one.hash],
            reader=one.reviewer,
        )
        for one in reviews
    ]
    return [explained, *answered]
