"""The numbers of a study as Observations: one for each, with its unit, its place in the body and its algorithm.

Which numbers of a region there are, what they are called and in which unit, is said in one place for the DICOM SR and
for this: `cfcam.exchange.dicom.structured_report.MEASUREMENTS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cfcam.clinical.checks.peak_stability import PeakStability
from cfcam.clinical.regions import Region
from cfcam.clinical.report.read import Numbers
from cfcam.exchange.dicom.structured_report import MEASUREMENTS, PROBABILITY, Quantity, measurements_of
from cfcam.exchange.fhir.entries import SNOMED, UCUM, Entry, Resource, identified
from cfcam.exchange.fhir.reviews import CATEGORY, SYSTEM, coding, components, without_nothing

UNITS: Mapping[str, str] = {"1": "1", "mm": "mm", "mm2": "mm²", "mm3": "mm³"}
"""The codes of UCUM that Observations use, and how people write them."""

_COUNTS = frozenset({"components", "pixels", "peak_stayed", "peak_motions", "peak_row", "peak_column"})
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_OF_UNCERTAINTY = {
    "agreement": "Agreement of the samples' maps (mean pairwise soft IoU)",
    "probability_mean": "Mean probability of the class over the samples",
    "probability_sd": "Standard deviation of the probability of the class over the samples",
    "entropy": "Predictive entropy, in nats",
    "mutual_information": "Mutual information of prediction and sample, in nats",
}


@dataclass(frozen=True)
class Common:
    """What all Observations of a result share.

    Attributes:
        result: what tells this result from others.
        elements: subject, time, place in the body, source and device.
    """

    result: str
    elements: Mapping[str, Any]


def of_maps(study: Numbers, common: Common) -> Iterator[tuple[Entry, list[Entry]]]:
    """Yields for each map an Observation that says what it is of, and those of its numbers, which are its members."""
    for n, one in enumerate(study["maps"]):
        members = [
            _number(common, quantity, value, one, region, [n, name, region])
            for name, quantity, value, region in _numbers(one)
        ]
        yield _panel(common, one, n, members), members


def _numbers(one: Mapping[str, Any]) -> Iterator[tuple[str, Quantity, float, str]]:
    """The numbers of a map: name, how it is coded, value, and of which region ("" for none)."""
    if one["probability"] is not None:
        yield "probability", PROBABILITY, one["probability"], ""
    table = one["regions"]
    if one["status"] != "ok" or table["threshold"] is None:
        return
    for place, values in enumerate(table["regions"]):
        steady = table["stability"] if place == 0 else None  # of the map's own peak alone
        found = measurements_of(Region(**values), None if steady is None else PeakStability(**steady))
        for name, value in found.items():
            yield name, MEASUREMENTS[name], int(value) if name in _COUNTS else value, values["name"]


def _panel(common: Common, one: Mapping[str, Any], n: int, members: list[Entry]) -> Entry:
    told = {
        "class": ("Number of the explained class", one["class_index"]),
        "class-name": ("Name of the explained class", one["class_name"]),
        "status": ("Whether the map can be read", one["status"]),
        "where": ("Where the map is highest", one["where"] or None),
        "peak": ("How steady that place is", one["peak"] or None),
        "doubt": ("Doubt", one["doubt"] or None),
        "threshold": ("Threshold of the region", one["regions"]["threshold"]),
        "threshold-rule": ("How the threshold was chosen", one["regions"]["rule"]),
        "margin": ("Margin of a contrast of two classes", one["margin"]),
    }
    resource = {
        **_head(common, coding("map", "Map of what a network looked at for a class: no finding")),
        "method": {"text": one["method"]},
        "hasMember": [member.reference for member in members],
        "component": components(told),
    }
    return identified(without_nothing(resource), common.result, "map", n)


def _number(
    common: Common, quantity: Quantity, value: float, one: Mapping[str, Any], region: str, parts: list[object]
) -> Entry:
    told = {
        "class": ("Number of the explained class", one["class_index"]),
        "class-name": ("Name of the explained class", one["class_name"]),
        "region": ("Region that was measured: the map's own, or a mask", region or None),
    }
    if quantity.unit in ("mm", "mm2"):  # of a radiograph: files of earlier versions do not say it
        told["measured"] = ("Where millimetres are measured", one["regions"].get("measured"))
    system = SNOMED if quantity.scheme == "SCT" else SYSTEM
    code = {"system": system, "code": quantity.value, "display": quantity.meaning}
    resource = {
        **_head(common, code),
        "method": {"text": one["method"]},
        "valueQuantity": in_unit(value, quantity.unit),
        "component": components(told),
    }
    return identified(resource, common.result, "number", *parts)


def of_checks(study: Numbers, common: Common) -> Iterator[Entry]:
    """Yields an Observation for each check; of one that was not assessed it says so."""
    for n, check in enumerate(study["checks"]):
        found = {
            **_head(common, coding("check", "Check of the first map: a flag asks a person to look")),
            "interpretation": [{"text": check["outcome"]}],
            **_value(check["value"]),
            "component": components(
                {
                    "check": ("Name of the check", check["name"]),
                    "check-detail": ("What the number means", check["detail"] or None),
                    "check-unit": ("Kind of the number", check["unit"]),
                    "check-limit": ("Limit of the site", check["limit"]),
                }
            ),
        }
        yield identified(found, common.result, "check", n)


def of_uncertainty(study: Numbers, common: Common) -> Iterator[Entry]:
    """Yields an Observation for each number of how much the first map varies."""
    for n, one in enumerate(study["uncertainty"]):
        told = {
            "class": ("Number of the explained class", one["class_index"]),
            "class-name": ("Name of the explained class", one["class_name"]),
            "samples": ("Number of samples", one["samples"]),
            "varied": ("What was varied", one["source"]),
            "varied-note": ("What the number means", one["note"] or None),
        }
        for name, meaning in _OF_UNCERTAINTY.items():
            if one[name] is not None:
                found = {
                    **_head(common, coding(f"uncertainty-{name.replace('_', '-')}", meaning)),
                    "method": {"text": one["method"]},
                    "valueQuantity": in_unit(one[name], "1"),
                    "component": components(told),
                }
                yield identified(found, common.result, "uncertainty", n, name)


def in_unit(value: float, unit: str) -> dict[str, Any]:
    """Returns a number with its unit; of the digits nothing is lost.

    Args:
        value: finite.
        unit: a code of `UNITS`.
    """
    return {"value": value, "unit": UNITS[unit], "system": UCUM, "code": unit}


def _value(value: float | None) -> dict[str, Any]:
    if value is None or not math.isfinite(value):
        return {"dataAbsentReason": {"coding": [{"system": _ABSENT, "code": "not-performed"}]}}
    return {"valueQuantity": in_unit(value, "1")}


def _head(common: Common, code: Mapping[str, str]) -> Resource:
    """A preliminary Observation: no person has confirmed it."""
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [CATEGORY],
        "code": {"coding": [dict(code)]},
        **common.elements,
    }
