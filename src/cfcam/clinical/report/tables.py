"""The tables of a report, as text: probabilities, regions, checks, provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cfcam.clinical.checks.results import CheckResult, Outcome
from cfcam.clinical.regions import Region
from cfcam.clinical.report import words
from cfcam.clinical.report.numbers import study_numbers
from cfcam.clinical.report.sections import readable
from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.clinical.where import NOT_MEASURED, place_of, steadiness, where

_MOST_CLASSES = 5


@dataclass(frozen=True)
class ClassBar:
    """One class in the table of probabilities; `width` is the bar's, in percent."""

    name: str
    probability: str
    width: float
    explained: bool


@dataclass(frozen=True)
class RegionRow:
    """One region of one map, every number as text; what has several lines is a tuple.

    `class_number` counts the explained classes; `detail` has the number of positions, and the threshold that was used.
    """

    class_number: int
    class_name: str
    method: str
    region: str
    detail: str
    size: tuple[str, ...]
    largest: tuple[str, ...]
    components: str
    mean: str
    sd: str
    maximum: str
    energy: str
    peak: tuple[str, ...]
    centroid: tuple[str, ...]


@dataclass(frozen=True)
class CheckRow:
    """One check as text; `kind` is "pass", "flag" or "none"."""

    name: str
    kind: str
    outcome: str
    value: str
    limit: str
    detail: str


def class_bars(study: StudyResult) -> tuple[list[ClassBar], int]:
    """Returns the most probable classes and every explained one, and how many are left out."""
    explained = {one.class_name for one in study.maps}
    ranked = sorted(study.probabilities.items(), key=lambda item: -_finite(item[1]))
    kept = [item for n, item in enumerate(ranked) if n < _MOST_CLASSES or item[0] in explained]
    bars = [
        ClassBar(name, words.probability(value), round(100 * min(1.0, max(0.0, _finite(value))), 1), name in explained)
        for name, value in kept
    ]
    return bars, len(ranked) - len(kept)


def region_rows(study: StudyResult) -> list[RegionRow]:
    """Returns the regions of all maps, the thresholded one of each map first."""
    classes = list(dict.fromkeys((one.class_index, one.class_name) for one in study.maps))
    return [
        region_row(study, one, region, classes.index((one.class_index, one.class_name)))
        for one in readable(study.maps)
        for region in one.regions.regions
    ]


def region_row(study: StudyResult, one: MapResult, region: Region, class_number: int) -> RegionRow:
    """Returns the numbers of a region as text; an empty one has none."""
    number = words.number if region.count else lambda value: ""
    positions = "pixels" if one.heatmap.ndim == 2 else "voxels"
    marked = region.name == "map"
    count = "" if region.unit == positions else f"{region.count} {positions}"
    threshold = words.threshold(one.regions) if marked else ""
    return RegionRow(
        class_number=class_number,
        class_name=one.class_name,
        method=one.method,
        region="marked by the map" if marked else region.name,
        detail=", ".join(filter(None, ("" if region.count else "empty", count, threshold))),
        size=words.size_lines(region.size, region.unit),
        largest=words.size_lines(region.largest, region.unit),
        components=str(region.components),
        mean=number(region.mean),
        sd=number(region.sd),
        maximum=number(region.maximum),
        energy=number(region.energy),
        peak=_peak(study, one, region),
        centroid=_places(region.centroid, region.centroid_mm, region.centroid_patient),
    )


def _peak(study: StudyResult, one: MapResult, region: Region) -> tuple[str, ...]:
    """In which part it lies, its place, and how steady that is; a mask's own peak is not tried."""
    if region.peak is None:
        return ()
    of_map = region.peak == one.regions.regions[0].peak
    part = where(study, one) if of_map else place_of(study, region.peak, one.heatmap.shape)
    steady = steadiness(study, one) if of_map else NOT_MEASURED
    return (part, *_places(region.peak, region.peak_mm, region.peak_patient), steady)


def check_rows(checks: tuple[CheckResult, ...]) -> list[CheckRow]:
    """Returns the checks, flagged ones first, then those not assessed."""
    kinds = {Outcome.FLAG: "flag", Outcome.NOT_ASSESSED: "none", Outcome.PASS: "pass"}
    order = list(kinds)
    return [
        CheckRow(
            name=check.name,
            kind=kinds[check.outcome],
            outcome=check.outcome.value,
            value="" if check.value is None else words.check_value(check.value, check.unit),
            limit="" if check.value is None else words.limit(check),
            detail=check.detail,
        )
        for check in sorted(checks, key=lambda check: order.index(check.outcome))
    ]


def settings(study: StudyResult) -> list[tuple[str, str]]:
    """Returns provenance and the parameters of every method, name and value; what is not set is left out."""
    numbers = study_numbers(study)
    rows = _flat(numbers["provenance"])
    seen: dict[str, str] = {}
    for one in numbers["maps"]:
        seen.setdefault(f"method {one['method']}", _text(one["parameters"]) if one["parameters"] else "no parameters")
    return rows + list(seen.items())


def _places(*places: tuple[float, ...] | None) -> tuple[str, ...]:
    at, mm, patient = places
    if at is None:
        return ()
    lines = (
        words.index(at),
        "" if mm is None else words.millimetres(mm),
        "" if patient is None else words.in_patient(patient),
    )
    return tuple(line for line in lines if line)


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in values.items():
        title = f"{above}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{title}, ")
        elif value is not None:
            rows.append((title, _text(value)))
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0
