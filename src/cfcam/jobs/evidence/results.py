"""From the numbers of the cases to what an evidence pack says: performance, calibration, repeatability, rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from cfcam.clinical.calibration import (
    Estimate,
    bootstrap_by_patient,
    brier_score,
    expected_calibration_error,
    reliability_table,
)
from cfcam.clinical.checks.repeatability import within_subject_sd
from cfcam.clinical.checks.results import CheckResult, Outcome, at_least, at_most, not_assessed, over_cases
from cfcam.errors import InputError
from cfcam.jobs.evaluate.findings import Findings
from cfcam.jobs.evaluate.words import KNOW_NOTHING
from cfcam.jobs.evidence.measure import Record, positives_of
from cfcam.jobs.evidence.protocol import Protocol
from cfcam.metrics.scorecard.card import Summary
from cfcam.metrics.scorecard.catalogue import METRICS
from cfcam.metrics.scorecard.statistics import bootstrap_interval

BINS = 10
"""Of the reliability table."""
COEFFICIENT = 1.96 * math.sqrt(2)
"""Repeatability coefficient over within-subject SD (Bland and Altman 1999, Stat. Methods Med. Res. 8, section 4)."""

ARTEFACT = "most energy in the artefact"
"""The kind of the gallery that the artefact check ranks."""

_SUMS_TO_ONE = 1e-3
_SEVERAL = (
    "the network gives each class its own probability and the data one label a case: which other classes are truly"
    " absent is not known"
)


def patients_of(records: Sequence[Record]) -> list[str]:
    """Returns the patient of each case; a case without one stands for itself."""
    return [record["patient"] or record["case"] for record in records]


def data_sheet(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any]:
    """Returns the counts of a data set: by label, group and patient, sizes, what is missing, what is there twice."""
    read = [record for record in records if "size" in record]
    known = [record["patient"] for record in records if record["patient"] is not None]
    per_patient = sorted(Counter(known).values())
    seen = Counter(record["sha256"].get("image") for record in read)
    shares = [record["finding_share"] for record in read if record["finding_share"] is not None]
    return {
        "cases": len(records),
        "read": len(read),
        "patients": len(per_patient) or None,
        "cases_per_patient": _spread(per_patient),
        "labels": _counted(_name(record.get("label"), names) for record in read),
        "groups": _counted(record["group"] or "not stated" for record in records),
        "labels_by_group": {
            group: _counted(_name(r.get("label"), names) for r in read if (r["group"] or "not stated") == group)
            for group in dict.fromkeys(record["group"] or "not stated" for record in records)
        },
        "heights": _spread(sorted(record["size"][0] for record in read)),
        "widths": _spread(sorted(record["size"][1] for record in read)),
        "bits": _counted(str(record["bits"]) for record in read),
        "finding_share_of_picture": _spread(sorted(shares)),
        "missing": {
            "label": sum(record.get("label") is None for record in read),
            "ground truth": len(read) - len(shares),
            "patient": len(records) - len(known),
            "group": sum(record["group"] is None for record in records),
            "spacing": sum(record["spacing"] is None for record in read),
        },
        "not_measured": {record["case"]: record["failed"] for record in records if "failed" in record},
        "same_picture_more_than_once": sum(n - 1 for image, n in seen.items() if image is not None and n > 1),
    }


def _name(label: int | None, names: Sequence[str]) -> str:
    return "not stated" if label is None else names[label] if label < len(names) else f"class {label}"


def _counted(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"least": values[0], "median": float(np.median(values)), "most": values[-1]}


def performance(records: Sequence[Record], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Returns accuracy, per class sensitivity and AUC, and calibration, with intervals by patient.

    A case is right if its most probable class is among the true ones.
    """
    known = [r for r in records if "probabilities" in r and r["positives"] is not None]
    if not known:
        return {"assessed": False, "reason": "no case that was measured has a label"}
    p = np.array([record["probabilities"] for record in known])
    truth = positives_of(known, p.shape[1])
    patients = patients_of(known)
    exclusive = bool(np.all(np.abs(p.sum(1) - 1) < _SUMS_TO_ONE))
    several = any(len(record["positives"]) > 1 for record in known)
    full = exclusive or all(record["complete"] for record in known)
    right = np.array([record["predicted"] in record["positives"] for record in known], dtype=np.float64)
    return {
        "assessed": True,
        "cases": len(known),
        "patients": len(set(patients)),
        "accuracy": _proportion(right, patients, seed),
        "classes": [
            _of_class(k, name, p, truth, right, patients, full, seed) for k, name in enumerate(names[: p.shape[1]])
        ],
        "confusion": None if several else _confusion(known, names),
        "calibration": _calibration(p, truth, exclusive, patients, seed) if full else {"reason": _SEVERAL},
    }


def _of_class(
    k: int,
    name: str,
    p: NDArray[np.float64],
    truth: NDArray[np.float64],
    right: NDArray[np.float64],
    patients: Sequence[str],
    full: bool,
    seed: int,
) -> dict[str, Any]:
    there = truth[:, k] == 1
    found = {"class": name, "cases": int(there.sum()), "named_first": int((p.argmax(1) == k).sum()), "auc": None}
    if not there.any():
        return found | {"sensitivity": None, "reason": "no case of this class"}
    first = np.where(there, (p.argmax(1) == k).astype(np.float64), np.nan)
    found["sensitivity"] = _proportion(first, patients, seed)
    if not full or there.all():
        return found | {"reason": _SEVERAL if not full else "every case is of this class"}
    estimate = bootstrap_by_patient(
        _auc, torch.from_numpy(p[:, k]), torch.from_numpy(truth[:, k]), patients, resamples=500, seed=seed
    )
    return found | {"auc": _estimate(estimate)}


def _proportion(values: NDArray[np.float64], patients: Sequence[str], seed: int) -> dict[str, Any]:
    """A share with its interval by patient; where all cases are alike, Clopper and Pearson's for as many patients.

    A bootstrap of values that do not vary has no width, as if the share were certain.
    """
    interval = bootstrap_interval(values, patients, seed=seed)
    low, high = interval.low, interval.high
    if interval.mean in (0.0, 1.0) and interval.clusters:
        exact = binomtest(round(interval.mean * interval.clusters), interval.clusters).proportion_ci(method="exact")
        low, high = float(exact.low), float(exact.high)
    return {"value": interval.mean, "low": low, "high": high, "n": interval.n}


def _auc(scores: torch.Tensor, truth: torch.Tensor) -> float:
    """Area under the ROC curve by Mann and Whitney's U; raises `InputError` where one of the two kinds is missing."""
    y = truth.numpy() == 1
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        raise InputError("one class only: there is no ROC curve")
    ranks = rankdata(scores.numpy())
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _confusion(known: Sequence[Record], names: Sequence[str]) -> list[list[int]]:
    table = np.zeros((len(names), len(names)), dtype=int)
    for record in known:
        for label in record["positives"]:
            table[label, record["predicted"]] += 1
    return table.tolist()


def _calibration(
    p: NDArray[np.float64], truth: NDArray[np.float64], exclusive: bool, patients: Sequence[str], seed: int
) -> dict[str, Any]:
    values = torch.from_numpy(p)
    labels = torch.from_numpy(truth.argmax(1)) if exclusive else torch.from_numpy(truth)
    table = reliability_table(values, labels, BINS)
    ece = partial(expected_calibration_error, bins=BINS)
    return {
        "kind": "softmax: the predicted class" if exclusive else "sigmoid: all decisions pooled",
        "ece": _estimate(bootstrap_by_patient(ece, values, labels, patients, resamples=500, seed=seed)),
        "brier": _estimate(bootstrap_by_patient(brier_score, values, labels, patients, resamples=500, seed=seed)),
        "bins": [
            {"low": low, "high": high, "count": n, "confidence": confidence, "frequency": frequency}
            for low, high, n, confidence, frequency in zip(
                table.low, table.high, table.count, table.confidence, table.frequency, strict=True
            )
        ],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def repeatability(records: Sequence[Record], seed: int) -> dict[str, Any]:
    """Returns within-subject SD and repeatability coefficient of probability and marked share, and the agreement.

    wSD is the root of the mean over cases of the variance of a case's repeated measurements; the coefficient is
    1.96 * sqrt(2) * wSD. Intervals: bootstrap of the variances by patient, of which the root is taken.
    """
    measured = [record for record in records if "retests" in record]
    if not measured or len(measured[0]["retests"]["probability"]) < 2:
        return {"assessed": False, "reason": "no case was measured more than once"}
    agreement = [
        float(np.mean(values)) if (values := [v for v in r["retests"]["agreement"] if v is not None]) else math.nan
        for r in measured
    ]
    interval = bootstrap_interval(agreement, patients_of(measured), seed=seed)
    return {
        "assessed": True,
        "cases": len(measured),
        "retests": len(measured[0]["retests"]["probability"]) - 1,
        "quantities": {
            "probability of the predicted class": _repeated(measured, "probability", seed),
            "share of the picture that the map marks": _repeated(measured, "marked", seed),
        },
        "agreement": {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n},
    }


def _repeated(records: Sequence[Record], key: str, seed: int) -> dict[str, Any]:
    states = [[v for v in record["retests"][key] if v is not None] for record in records]
    kept = [(state, patient) for state, patient in zip(states, patients_of(records), strict=True) if len(state) > 1]
    if not kept:
        return {"reason": "no map with positive evidence"}
    deviation = within_subject_sd([state for state, _ in kept], lambda a, b: a - b)
    variances = [float(np.var(state, ddof=1)) for state, _ in kept]
    interval = bootstrap_interval(variances, [patient for _, patient in kept], seed=seed)
    low, high = (math.sqrt(max(0.0, end)) for end in (interval.low, interval.high))
    return {
        "n": len(kept),
        "sd": {"value": deviation, "low": low, "high": high},
        "coefficient": {
            "value": None if deviation is None else COEFFICIENT * deviation,
            "low": COEFFICIENT * low,
            "high": COEFFICIENT * high,
        },
    }


def check_results(records: Sequence[Record]) -> list[list[CheckResult]]:
    """Returns the checks of each measured case."""
    return [
        [CheckResult(**{**one, "outcome": Outcome(one["outcome"])}) for one in record["checks"]]
        for record in records
        if "checks" in record
    ]


def judged(
    protocol: Protocol, findings: Findings, records: Sequence[Record], performed: Mapping[str, Any]
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


def gallery(
    protocol: Protocol,
    records: Sequence[Record],
    values: Mapping[str, float | None],
    metric: str | None,
    names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns the cases that the pack shows: the worst of each kind by number, ties by the case's own number.

    Args:
        protocol: says how many of each kind.
        records: of the cases.
        values: case -> the primary measure of its map.
        metric: name of that measure.
        names: of the classes.
    """
    measured = [record for record in records if "predicted" in record]
    wrong = [r for r in measured if r["positives"] is not None and r["predicted"] not in r["positives"]]
    kinds: list[tuple[str, list[tuple[float, Record]]]] = [
        ("wrong with the highest probability", [(-r["probabilities"][r["predicted"]], r) for r in wrong]),
    ]
    if metric is not None:
        sign = -1.0 if METRICS[metric].higher_is_better is False else 1.0
        known = [(sign * v, r) for r in measured if (v := values.get(r["case"])) is not None]
        kinds.append((f"worst map by {METRICS[metric].title}", known))
    kinds.append((ARTEFACT, [(-v, r) for r in measured if (v := _value(r, "artefact: energy"))]))
    kinds.append(("least repeatable map", [(v, r) for r in measured if (v := _agreement(r)) is not None]))
    kinds.append(("map without positive evidence", [(0.0, r) for r in measured if r["status"] != "ok"]))
    shown = []
    for kind, several in kinds:
        for value, record in sorted(several, key=lambda one: (one[0], one[1]["case"]))[: protocol.gallery]:
            entry = {"kind": kind, "case": record["case"], "value": abs(value), **_answer(record, names)}
            if kind == ARTEFACT:  # which may have been asked of another picture of the case
                entry |= {"answer": None, "probability": None}
            shown.append(entry)
    return shown


def _answer(record: Record, names: Sequence[str]) -> dict[str, Any]:
    """What is true of a case and what the network said, in words."""
    truth = [_name(label, names) for label in record["positives"] or [None]]
    predicted = record["predicted"]
    return {
        "truth": " and ".join(truth),
        "answer": _name(predicted, names),
        "probability": record["probabilities"][predicted],
    }


def _value(record: Record, check: str) -> float | None:
    return next((one["value"] for one in record["checks"] if one["name"] == check), None)


def _agreement(record: Record) -> float | None:
    values = [value for value in record["retests"]["agreement"] if value is not None]
    return float(np.mean(values)) if values else None
