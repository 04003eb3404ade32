"""The first lines of a report: what the network said, where it looked, what the checks found."""

from __future__ import annotations

from collections import Counter

from cfcam.clinical.checks.results import Outcome
from cfcam.clinical.report import words
from cfcam.clinical.report.planes import is_volume
from cfcam.clinical.report.sections import OK
from cfcam.clinical.study_result import MapResult, StudyResult
from cfcam.clinical.where import steadiness, where
from cfcam.shown import counted


def summary(study: StudyResult) -> list[str]:
    """Returns the sentences of a report's first section."""
    return [line for line in (_answer(study), *_maps(study), _checks(study), *_uncertainty(study)) if line]


def _answer(study: StudyResult) -> str:
    known = {name: value for name, value in study.probabilities.items() if value is not None}
    if not known:
        return "The network's probabilities are not known."
    name, value = max(known.items(), key=lambda item: item[1])
    return f"The network's strongest answer is “{name}”, probability {words.probability(value)}."


def _maps(study: StudyResult) -> list[str]:
    if not study.maps:
        return ["No map was made."]
    failed = [one for one in study.maps if one.status != OK]
    missing = [_without(study, failed)] if failed else []
    return missing if study.maps[0].status != OK else [_where(study, study.maps[0]), *missing]


def _where(study: StudyResult, one: MapResult) -> str:
    region = one.regions.regions[0]
    parts = counted(region.components, "part")
    size = " ".join(filter(None, (words.size(region.size, region.unit), one.regions.measured)))
    marked = f"marks {size} in {parts}" if region.count else "marks no region"
    what = "volume" if is_volume(study) else "picture"
    doubt = words.doubt(study, one)
    return (
        f"Asked which parts of the {what} speak for “{one.class_name}”, {one.method} points most strongly to:"
        f" {where(study, one)}. Its peak: {steadiness(study, one)}. From its threshold on it {marked}."
        + (f" This is a {doubt}." if doubt else "")
    )


def _without(study: StudyResult, failed: list[MapResult]) -> str:
    reasons = "; ".join(f"{one.method} for “{one.class_name}”: {one.status}" for one in failed)
    return f"{len(failed)} of {counted(len(study.maps), 'map')} cannot be read ({reasons})."


def _checks(study: StudyResult) -> str:
    if not study.checks:
        return ""
    counts = Counter(check.outcome for check in study.checks)
    return (
        f"Of {counted(len(study.checks), 'check')}, {counts[Outcome.FLAG] or 'none'} flagged,"
        f" {counts[Outcome.PASS] or 'none'} passed, {counts[Outcome.NOT_ASSESSED] or 'none'} not assessed."
    )


def _uncertainty(study: StudyResult) -> list[str]:
    known = [one for one in study.uncertainty if one.agreement is not None]
    said = [
        f"{words.SOURCES.get(one.source, one.source).lower()}: {words.number(one.agreement)}"
        f" over {counted(one.samples, 'sample')}"
        for one in known
        if one.source != "methods"
    ]
    lines = [f"How far repeated maps overlap (1 is the same map, 0 nothing): {'; '.join(said)}."] if said else []
    methods = [
        f"Maps of {counted(one.samples, 'method')} overlap by {words.number(one.agreement)}. {words.BY_CONSTRUCTION}"
        for one in known
        if one.source == "methods"
    ]
    return lines + methods
