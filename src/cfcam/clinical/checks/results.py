"""What a check says, and the limits that a site sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam.errors import InputError


class Outcome(StrEnum):
    """What came of a check."""

    PASS = "pass"  # noqa: S105
    FLAG = "flag"
    NOT_ASSESSED = "not assessed"


@dataclass(frozen=True)
class CheckResult:
    """One check of one map.

    Attributes:
        name: of the check.
        outcome: "flag" asks a person to look; it is no proof of an error, as "pass" is none of correctness.
        value: the number; None if it was not assessed.
        limit: the site's limit that it was held against; None if there is none.
        detail: in one line what the number means, or why there is none.
        unit: of the number: "share", "ratio", "probability" or "count".
    """

    name: str
    outcome: Outcome
    value: float | None
    limit: float | None
    detail: str
    unit: str = "share"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, without NaN."""
        return asdict(self)


@dataclass(frozen=True)
class Limits:
    """The limits of a site; every default is an arbitrary starting point, to be set on the site's own cases.

    Attributes:
        min_probability: below it a map is not assessed against organs and artefacts: it explains a class that the
            network does not see.
        organ_energy: least share of the map's energy in the organ.
        organ_enrichment: least enrichment in the organ; 1 is chance.
        organ_rank_accuracy: least share of the strongest positions (as many as the organ has) that lie in the organ.
        tolerance_mm: how far outside of the organ still counts as inside; not applied where the spacing is unknown.
        artefact_energy: largest share of the energy in the artefact.
        artefact_enrichment: largest enrichment in the artefact.
        artefact_probability_change: largest change of the probability when the artefact is taken away or put in.
        artefact_map_change: largest 1 - soft IoU of the maps before and after that.
        retest_agreement: least soft IoU between the map and that of a slightly changed image.
        retest_probability_change: largest change of the probability under such changes.
        peak_stays: least share of small motions (1 and 2 pixels, JPEG 90) under which the map's peak stays.
        similar_cases: least consistency (C-score-style) of the maps of similar cases.
        finding_threshold: the map marks from here on, when findings are counted.
        finding_overlap: share of a finding that must be marked.
        findings_covered: least share of findings that the map hits.
        false_regions: largest number of marked regions that touch no finding.
        flagged_cases: largest share of the assessed cases of a set in which a check may be flagged.
    """

    min_probability: float = 0.5
    organ_energy: float = 0.5
    organ_enrichment: float = 1.0
    organ_rank_accuracy: float = 0.5
    tolerance_mm: float = 5.0
    artefact_energy: float = 0.25
    artefact_enrichment: float = 3.0
    artefact_probability_change: float = 0.1
    artefact_map_change: float = 0.4
    retest_agreement: float = 0.5
    retest_probability_change: float = 0.1
    peak_stays: float = 0.5
    similar_cases: float = 0.2
    finding_threshold: float = 0.5
    finding_overlap: float = 0.1
    findings_covered: float = 1.0
    false_regions: float = 1.0
    flagged_cases: float = 0.25

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < math.inf):
                raise InputError(f"limit {name} is {value!r}: give a number, 0 or more")

    @classmethod
    def read(cls, path: str | Path) -> Limits:
        """Reads a JSON object with some or all of the fields; what it leaves out keeps its default.

        Raises:
            InputError: the file is missing, is no such object, or names an unknown limit.
        """
        values = json_text.read(Path(path), shown=str(path), then="give a JSON object of limits")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else [type(values).__name__]
        if unknown:
            raise InputError(f"{path}: {unknown[0]!r} is no limit: give a JSON object of {', '.join(known)}")
        return cls(**values)


DEFAULT_LIMITS = Limits()


def at_least(name: str, value: float, limit: float, detail: str, unit: str = "share") -> CheckResult:
    """Returns a pass if the value reaches the limit; a value that is no number was not assessed."""
    return _judged(name, value, limit, detail, unit, good=value >= limit)


def at_most(name: str, value: float, limit: float, detail: str, unit: str = "share") -> CheckResult:
    """Returns a pass if the value does not exceed the limit; a value that is no number was not assessed."""
    return _judged(name, value, limit, detail, unit, good=value <= limit)


def not_assessed(names: str | Iterable[str], reason: str) -> list[CheckResult]:
    """Returns results without a number, for one check or several, that say why."""
    several = [names] if isinstance(names, str) else names
    return [CheckResult(name, Outcome.NOT_ASSESSED, None, None, reason) for name in several]


def count_outcomes(cases: Sequence[Sequence[CheckResult]]) -> dict[str, dict[str, int]]:
    """Returns for each check how many cases passed, were flagged, and were not assessed."""
    counts: dict[str, dict[str, int]] = {}
    for result in (result for case in cases for result in case):
        of_check = counts.setdefault(result.name, {outcome.value: 0 for outcome in Outcome})
        of_check[result.outcome.value] += 1
    return counts


def over_cases(cases: Sequence[Sequence[CheckResult]], limits: Limits) -> list[CheckResult]:
    """Judges a set: for each check, in which share of the assessed cases it was flagged.

    Single flags happen with a sound network too; a network that rests on an artefact is flagged again and again.

    Args:
        cases: the results of each case.
        limits: ``flagged_cases`` decides.

    Returns:
        One result for each check, named "all cases: NAME".
    """
    results = []
    for name, counts in count_outcomes(cases).items():
        flagged, assessed = counts[Outcome.FLAG], counts[Outcome.FLAG] + counts[Outcome.PASS]
        title = f"all cases: {name}"
        if assessed:
            detail = f"flagged in {flagged} of {assessed} assessed cases"
            results.append(at_most(title, flagged / assessed, limits.flagged_cases, detail))
        else:
            results += not_assessed(title, "assessed in no case")
    return results


def _judged(name: str, value: float, limit: float, detail: str, unit: str, *, good: bool) -> CheckResult:
    if math.isnan(value):
        return not_assessed(name, "no number: the map has no positive evidence, or the mask fills the picture")[0]
    return CheckResult(name, Outcome.PASS if good else Outcome.FLAG, value, limit, detail, unit)
