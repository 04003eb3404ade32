"""What became of each rule of the protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cfcam.clinical.checks.results import CheckResult, Outcome, at_least, at_most, not_assessed, over_cases
from cfcam.jobs.evaluate.findings import Findings
from cfcam.jobs.evaluate.words import KNOW_NOTHING
from cfcam.jobs.evidence.measure import CaseRecord
from cfcam.jobs.evidence.performance import BINS
from cfcam.jobs.evidence.protocol import Protocol
from cfcam.metrics.scorecard.card import Summary
from cfcam.metrics.scorecard.catalogue import METRICS


def check_results(records: Sequence[CaseRecord]) -> list[list[CheckResult]]:
    """Returns the checks of each measured case."""
    return [
        [CheckResult(**{**one, "outcome": Outcome(one["outcome"])}) for one in record["checks"]]
        for record in records
        if "checks" in record
    ]


def judged(
    protocol: Protocol, findings: Findings, records: Sequence[CaseRecord], performed: Mapping[str, Any]
) -> list[CheckResult]:
    """Returns what became of each rule of the protocol."""
    rules = protocol.rules
    found = [
        _randomised(protocol, findings),
        _class_sensitive(protocol, findings),
        *_controlled(protocol, findings),
        *over_cases(check_results(records), protocol.limits),
    ]
    if rules.accuracy is not None:
        accuracy = performed.get("accuracy")
        title = "network: accuracy"
        found += (
            [at_least(title, accuracy["low"], rules.accuracy, "lower end of its 95 % interval by patient")]
            if accuracy
            else not_assessed(title, str(performed.get("reason")))
        )
    if rules.ece is not None:
        ece = performed.get("calibration", {}).get("ece")
        title = "network: calibration error"
        found += (
            [at_most(title, ece["value"], rules.ece, f"expected calibration error in {BINS} bins")]
            if ece
            else not_assessed(title, str(performed.get("calibration", performed).get("reason")))
        )
    return [one for one in found if one is not None]


def _summary(findings: Findings, method: str, metric: str) -> Summary | None:
    lines = [line for line in findings.summary if (line.method, line.metric) == (method, metric)]
    return lines[0] if lines else None


def _too_few(line: Summary | None, what: str) -> str:
    return "not measured" if line is None else f"only {0 if math.isnan(line.mean) else line.n} images have {what}"


def _randomised(protocol: Protocol, findings: Findings) -> CheckResult | None:
    limit, title = protocol.rules.randomised_below_chance, "sanity: randomised weights"
    if limit is None:
        return None
    line = _summary(findings, protocol.method, "mprt-passed")
    if line is None or math.isnan(line.mean) or line.n < protocol.rules.fewest:
        return not_assessed(title, _too_few(line, "a map with random weights that has positive evidence"))[0]
    detail = f"share of {line.n} images whose map with random weights is less like theirs than other images' maps are"
    return at_least(title, line.mean, limit, detail)


def _class_sensitive(protocol: Protocol, findings: Findings) -> CheckResult | None:
    limit, title = protocol.rules.class_sensitivity, "sanity: class sensitivity"
    if limit is None:
        return None
    line = _summary(findings, protocol.method, "class-sensitivity")
    if line is None or math.isnan(line.mean) or line.n < protocol.rules.fewest:
        return not_assessed(title, _too_few(line, "maps of two classes"))[0]
    return at_least(title, line.mean, limit, f"mean over {line.n} images of 1 - soft IoU of the maps of two classes")


def primary_of(protocol: Protocol, findings: Findings) -> str | None:
    """Returns the first of the protocol's primary measures that has a number for the method."""
    known = findings.assessed(name for name in protocol.primary if name in findings.card.metrics)
    return next((name for name in protocol.primary if name in known), None)


def _controlled(protocol: Protocol, findings: Findings) -> list[CheckResult]:
    limit = protocol.rules.above_controls
    if limit is None:
        return []
    metric = primary_of(protocol, findings)
    found = []
    for control in KNOW_NOTHING:
        title = f"sanity: beside the control {control}"
        lines = [
            one
            for one in findings.comparisons.get(control, [])
            if (one.method, one.metric) == (protocol.method, metric)
        ]
        if metric is None or not lines or math.isnan(lines[0].low):
            found += not_assessed(title, "no primary measure with an interval: too few images, or no ground truth")
            continue
        better = METRICS[metric].higher_is_better is not False
        low = lines[0].low if better else -lines[0].high
        detail = f"lower end of the 95 % interval of the difference in {METRICS[metric].title}, {lines[0].n} images"
        found.append(at_least(title, low, limit, detail, "difference"))
    return found
