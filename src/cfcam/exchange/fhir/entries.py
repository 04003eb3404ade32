"""An entry of a transaction: what it is known by, so that posting it again makes nothing new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cfcam.exchange.dicom.uids import derived_uid

URI = "urn:ietf:rfc:3986"
"""The system of identifiers that are URIs (https://hl7.org/fhir/R4/datatypes.html#Identifier)."""
DICOM_UID = "urn:dicom:uid"
"""The system of UIDs of DICOM (https://hl7.org/fhir/R4/imagingstudy.html#notes)."""
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
OURS = "urn:cfcam:resource"
"""The system of the identifiers that follow from what a resource is, and of the tags of those that have none."""

Resource = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A resource on its way to a server.

    Attributes:
        resource: with its type.
        uuid: that follows from what it is; others in the Bundle refer to it by this.
        known_by: the search that finds it on the server: ``name=system|value``.
        replaces: it takes the place of what is found; else what is found stays as it is.
    """

    resource: Resource
    uuid: UUID
    known_by: str
    replaces: bool = False

    @property
    def full_url(self) -> str:
        """By which the other resources of the Bundle refer to it."""
        return f"urn:uuid:{self.uuid}"

    @property
    def reference(self) -> dict[str, str]:
        """A reference to it."""
        return {"reference": self.full_url, "type": self.resource["resourceType"]}

    def as_dict(self) -> dict[str, Any]:
        """Returns the entry of a transaction: a conditional create, or a conditional update."""
        kind = self.resource["resourceType"]
        request = (
            {"method": "PUT", "url": f"{kind}?{self.known_by}"}
            if self.replaces
            else {"method": "POST", "url": kind, "ifNoneExist": self.known_by}
        )
        return {"fullUrl": self.full_url, "resource": self.resource, "request": request}


def uuid_of(*parts: object) -> UUID:
    """Returns the UUID that belongs to these parts, as `cfcam.exchange.dicom.uids.derived_uid` does."""
    return UUID(int=int(derived_uid("fhir", *parts).rpartition(".")[2]))


def identified(resource: Resource, *parts: object, replaces: bool = False) -> Entry:
    """Returns an entry that is known by an identifier that follows from these parts; it is put before all others.

    It is not the URL by which the others refer to the resource: servers put their own in its place wherever it stands.
    """
    uuid = uuid_of(resource["resourceType"], *parts)
    identifier = {"system": OURS, "value": str(uuid)}
    own = {"identifier": [identifier, *resource.get("identifier", ())]}
    first = {"resourceType": resource["resourceType"]}
    return Entry(first | own | {k: v for k, v in resource.items() if k not in own}, uuid, search(identifier), replaces)


def tagged(resource: Resource, *parts: object) -> Entry:
    """Returns an entry of a kind that has no identifier, known by a tag."""
    uuid = uuid_of(resource["resourceType"], *parts)
    first = {"resourceType": resource["resourceType"], "meta": {"tag": [{"system": OURS, "code": str(uuid)}]}}
    return Entry(first | resource, uuid, f"_tag={OURS}|{uuid}")


def search(identifier: dict[str, str]) -> str:
    """Returns the search for an identifier."""
    return f"identifier={identifier['system']}|{identifier['value']}"


def of_uid(uid: str) -> dict[str, str]:
    """Returns a UID of DICOM as an identifier."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}
