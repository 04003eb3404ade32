"""What was done, by what, on what: a Provenance of the result, and an AuditEvent of each record of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfcam.clinical.audit.fields import EVENTS, OUTCOMES, Action, Code
from cfcam.clinical.report.read import Numbers
from cfcam.exchange.fhir.entries import DCM, Entry, tagged
from cfcam.exchange.fhir.reviews import coding, participant, without_nothing

Reference = dict[str, Any]

_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"


def provenance(
    study: Numbers, result: str, moment: str, targets: Sequence[Entry], network: Entry, source: Entry
) -> Entry:
    """Returns where a result comes from: the picture, the network and the settings.

    Args:
        study: the numbers.
        result: what tells this result from others.
        moment: when it was made, as FHIR's instant.
        targets: all that was made.
        network: the Device.
        source: the ImagingStudy.
    """
    hashes = {
        "urn:cfcam:source-sha256": study["source"]["sha256"],
        "urn:cfcam:weights-sha256": study["model"]["weights_sha256"],
        "urn:cfcam:settings-sha256": study["provenance"].get("settings_sha256"),
    }
    known = [{"role": "source", "what": {"identifier": {"system": s, "value": v}}} for s, v in hashes.items() if v]
    resource = {
        "resourceType": "Provenance",
        "target": [one.reference for one in targets],
        "recorded": moment,
        "activity": {"coding": [coding("explain", "A network's answer was explained by maps, which were measured")]},
        "agent": [{"type": {"coding": [participant("assembler")]}, "who": network.reference}],
        "entity": [{"role": "source", "what": source.reference}, *known],
    }
    return tagged(resource, result)


def audit_event(
    action: Action,
    moment: str,
    about: Sequence[Reference],
    network: Entry,
    *,
    record_id: str | None,
    parts: Sequence[object],
    reader: str = "",
) -> Entry:
    """Returns what happened as the audit calls it: with the codes of DICOM's audit messages (PS3.15 A.5.2).

    Args:
        action: what was done.
        moment: when, as FHIR's instant.
        about: references to what it was done with.
        network: the Device, which observed it.
        record_id: of the audit; None: there is none.
        parts: what tells this event from others.
        reader: the person who did it; "": the network did.
    """
    event = EVENTS[action]
    record = {"identifier": {"system": "urn:cfcam:audit-record", "value": record_id}}
    objects = {"type": {"system": _ENTITY, "code": "2", "display": "System Object"},
               "role": {"system": _ROLE, "code": "3", "display": "Report"}}  # fmt: skip
    resource = {
        "resourceType": "AuditEvent",
        "type": _coded(event.id),
        "subtype": [] if event.type is None else [_coded(event.type)],
        "action": event.action_code,
        "recorded": moment,
        "outcome": str(OUTCOMES["success"]),
        "agent": [{"who": {"display": reader} if reader else network.reference, "requestor": bool(reader)}],
        "source": {"observer": network.reference},
        "entity": [{"what": one, **objects} for one in (*([record] if record_id else []), *about)],
    }
    return tagged(without_nothing(resource), action.value, *parts)


def _coded(code: Code) -> dict[str, str]:
    return {"system": DCM, "code": code.value, "display": code.meaning}
