"""What is wrong with a Bundle: by fhir.resources, and in what that does not look at.

It knows types, cardinalities and the forms of values, but takes null for what has to be there, any code, any reference,
and any request. What codes an element has, and to what a reference may lead, its classes say, and is held against them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cfcam.errors import MissingExtraError
from cfcam.exchange.fhir.entries import DCM, DICOM_UID, OURS, SNOMED, UCUM, URI
from cfcam.exchange.fhir.numbers import UNITS
from cfcam.exchange.fhir.reviews import SYSTEM

SYSTEMS = frozenset({
    DCM, OURS, SNOMED, SYSTEM, UCUM, URI, "http://loinc.org",
    "http://terminology.hl7.org/CodeSystem/audit-entity-type",
    "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "http://terminology.hl7.org/CodeSystem/object-role",
    "http://terminology.hl7.org/CodeSystem/observation-category",
    "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
    "http://terminology.hl7.org/CodeSystem/v2-0074",
})  # fmt: skip
"""The code systems of codings and of units."""

_URN = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEARCH = re.compile(r"(?:identifier|_tag)=[^|&?\s]+\|[^|&?\s]+")
_MOST = 20


def problems(bundle: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong with a transaction Bundle, a line each, at most twenty; empty: nothing that is known.

    Args:
        bundle: plain values, as `cfcam.exchange.fhir.bundle` makes them.

    Raises:
        MissingExtraError: fhir.resources is not installed.
    """
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ModuleNotFoundError as error:
        raise MissingExtraError("fhir.resources", "fhir", "checking a FHIR Bundle") from error
    from pydantic import ValidationError

    if empty := list(_empty("", bundle)):
        return empty[:_MOST]
    try:
        parsed: Any = Bundle.model_validate(dict(bundle))
    except ValidationError as error:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        return found[:_MOST]
    entries = parsed.entry or []
    types = {one.fullUrl: one.resource.get_resource_type() for one in entries if one.resource is not None}
    found = [] if parsed.type == "transaction" else [f"type: is {parsed.type}, and has to be transaction"]
    found += [line for n, one in enumerate(entries) for line in _of_entry(f"entry.{n}", one)]
    if len(types) < len(entries):
        found.append("entry: a fullUrl is there twice, or an entry has no resource")
    for n, one in enumerate(entries):
        found += _of_element(f"entry.{n}", one.resource, types)
    return found[:_MOST]


def _empty(where: str, value: Any) -> Iterator[str]:
    """FHIR has neither null nor anything that is empty."""
    if value is None or value in ("", [], {}):
        yield f"{where.lstrip('.')}: is empty"
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _empty(f"{where}.{name}", one)
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from _empty(f"{where}.{n}", one)


def _of_entry(where: str, entry: Any) -> Iterator[str]:
    if not _URN.fullmatch(entry.fullUrl or ""):
        yield f"{where}.fullUrl: is no urn:uuid"
    request, kind = entry.request, entry.resource and entry.resource.get_resource_type()
    if request is None:
        yield f"{where}: has no request"
    elif request.method == "POST":
        if request.url != kind:
            yield f"{where}.request.url: is {request.url}, and the resource is a {kind}"
        if not _SEARCH.fullmatch(request.ifNoneExist or ""):
            yield f"{where}.request: a POST without ifNoneExist makes a second one when it is posted twice"
    elif request.method == "PUT":
        named, _, search = (request.url or "").partition("?")
        if named != kind or not _SEARCH.fullmatch(search):
            yield f"{where}.request.url: names no {kind} by its identifier"
    else:
        yield f"{where}.request.method: is {request.method}, and has to be POST or PUT"


def _of_element(where: str, element: Any, types: Mapping[str, str]) -> Iterator[str]:
    for name, info in type(element).model_fields.items():
        value = getattr(element, name, None)
        if value is None:
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        several = value if isinstance(value, list) else [value]
        codes = [code for code in extra.get("enum_values") or [] if code != "+"]
        for n, one in enumerate(several):
            at = f"{where}.{name}" + (f".{n}" if isinstance(value, list) else "")
            if codes and isinstance(one, str) and one not in codes:
                yield f"{at}: {one} is none of {', '.join(codes)}"
            if not hasattr(type(one), "model_fields"):
                continue
            kind = type(one).__name__
            if kind == "Reference":
                yield from _of_reference(at, one, extra.get("enum_reference_types") or [], types)
            elif kind in ("Coding", "Quantity") and one.system not in SYSTEMS:
                yield f"{at}.system: {one.system} is no system that cfcam uses"
            if kind == "Quantity" and one.system == UCUM and one.code not in UNITS:
                yield f"{at}.code: {one.code} is none of the units {', '.join(UNITS)}"
            yield from _of_element(at, one, types)


def _of_reference(where: str, reference: Any, allowed: list[str], types: Mapping[str, str]) -> Iterator[str]:
    kind = reference.type
    if reference.reference is not None:
        found = types.get(reference.reference)
        if found is None:
            yield f"{where}: leads to {reference.reference}, which is not in the Bundle"
        elif kind not in (None, found):
            yield f"{where}.type: is {kind}, and what it leads to is a {found}"
        kind = found or kind
    elif reference.identifier is None and reference.display is None and not reference.extension:
        yield f"{where}: leads nowhere"
    if kind is not None and allowed and not {kind, "Resource", "Any"} & set(allowed):
        yield f"{where}: leads to a {kind}, and may lead to {', '.join(allowed)}"
    system = reference.identifier and reference.identifier.system
    if system and not system.startswith("urn:cfcam:") and system not in (DICOM_UID, URI):
        yield f"{where}.identifier.system: {system} is none of cfcam's own"
