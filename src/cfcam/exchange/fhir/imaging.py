"""What was explained and what explained it: the ImagingStudy, the place in the body, and the network as a Device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cfcam._version import __version__
from cfcam.clinical.report.read import Numbers
from cfcam.exchange.dicom.anatomy import REGIONS
from cfcam.exchange.dicom.job import MANUFACTURER, RESEARCH
from cfcam.exchange.dicom.origin import term_of
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.exchange.fhir.documents import DicomFile
from cfcam.exchange.fhir.entries import DCM, SNOMED, URI, Entry, Resource, identified, of_uid, search, uuid_of
from cfcam.exchange.fhir.reviews import subject_of, without_nothing

_OURS = "2.25."
_SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right"), "both": ("51440002", "Right and left")}
_UNKNOWN = {
    "type": "Patient",
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}],
}


def device(study: Numbers) -> Entry:
    """Returns the network; its UID is that of the device observer of the DICOM SR."""
    model = study["model"]
    version = str(study["provenance"].get("cfcam") or __version__)
    weights = model["weights_sha256"]
    versions = {"cfcam": version, "network": model["version"]}
    resource = {
        "resourceType": "Device",
        "identifier": [
            of_uid(derived_uid("device", version, weights)),
            {"system": "urn:cfcam:weights-sha256", "value": weights},
        ],
        "status": "active",
        "manufacturer": MANUFACTURER,
        "serialNumber": weights,
        "deviceName": [{"name": model["name"], "type": "model-name"}],
        "type": {"text": "Neural network that classifies images, explained by cfcam"},
        "version": [{"type": {"text": name}, "value": value} for name, value in versions.items()],
        "note": [{"text": f"{RESEARCH}. Layer {model['layer']}."}],
    }
    if not weights:
        del resource["serialNumber"], resource["identifier"]
    return identified(resource, weights, model["name"], model["version"], model["layer"], version)


def imaging_study(study: Numbers, objects: Sequence[DicomFile], study_uid: str) -> Entry:
    """Returns the study that was explained, with the series that were made of it.

    A server that knows the study already keeps its own.

    Args:
        study: the numbers.
        objects: DICOM objects that were made of it.
        study_uid: the UID of the study as its DICOM file states it; "": only what stands for it is told.
    """
    known = _identifier(study, study_uid)
    modality = [_modality(study["modality"])] if study["modality"] else []
    series = _series(study, objects)
    origin = study["study"] or {}
    resource = {
        "resourceType": "ImagingStudy",
        "identifier": [known],
        "status": "available",
        "modality": modality,
        "subject": patient(study) or _UNKNOWN,
        "started": origin.get("date"),
        "numberOfSeries": len(series) or None,
        "numberOfInstances": len(objects) or None,
        "series": series,
    }
    return Entry(without_nothing(resource), uuid_of("ImagingStudy", known), search(known))


def patient(study: Numbers) -> dict[str, Any] | None:
    """Returns the patient by the pseudonym that cfcam gave; None without one."""
    found = subject_of(study["pseudonym"])
    return None if found is None else {"type": "Patient", **found}


def body_site(study: Numbers) -> Resource | None:
    """Returns the part of the body and its side, as far as the source says them in words of the standard."""
    origin = study["study"] or {}
    part, side = origin.get("body_part", ""), origin.get("laterality", "")
    if not part:
        return None
    region = REGIONS.get(term_of(part))
    code = [] if region is None else [{"system": SNOMED, "code": region[0], "display": region[1]}]
    return without_nothing({"coding": code, "text": f"{part}, {side}" if side else part})


def _identifier(study: Numbers, study_uid: str) -> dict[str, str]:
    told = ((study["study"] or {}).get("uids") or {}).get("study", "")
    if uid := study_uid or (told if told.startswith(_OURS) else ""):
        return of_uid(uid)
    if told:
        return {"system": "urn:cfcam:study-uid-sha256", "value": told}
    return {"system": "urn:cfcam:source-sha256", "value": study["source"]["sha256"] or "unknown"}


def _series(study: Numbers, objects: Sequence[DicomFile]) -> list[Resource]:
    origin: Mapping[str, Any] = study["study"] or {}
    region = REGIONS.get(term_of(origin.get("body_part", "")))
    side = _SIDES.get(origin.get("laterality", ""))
    place = {
        "bodySite": None if region is None else {"system": SNOMED, "code": region[0], "display": region[1]},
        "laterality": None if side is None else {"system": SNOMED, "code": side[0], "display": side[1]},
    }
    found: dict[str, list[DicomFile]] = {}
    for one in objects:
        found.setdefault(one.series, []).append(one)
    return [
        without_nothing(
            {
                "uid": uid,
                "modality": _modality(several[0].modality),
                "description": several[0].title,
                "numberOfInstances": len(several),
                **place,
                "instance": [
                    {"uid": one.uid, "sopClass": {"system": URI, "code": f"urn:oid:{one.sop_class}"}} for one in several
                ],
            }
        )
        for uid, several in found.items()
    ]


def _modality(code: str) -> dict[str, str]:
    return {"system": DCM, "code": code}
