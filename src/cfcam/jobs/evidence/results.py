"""From the numbers of the cases to what an evidence pack says: performance, calibration, repeatability, rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfcam.clinical.checks.repeatability import within_subject_sd
from cfcam.jobs.evidence.measure import CaseRecord, patients_of
from cfcam.jobs.evidence.protocol import Protocol
from cfcam.metrics.scorecard.catalogue import METRICS
from cfcam.metrics.scorecard.statistics import bootstrap_interval

COEFFICIENT = 1.96 * math.sqrt(2)
"""Repeatability coefficient over within-subject SD (Bland and Altman 1999, Stat. Methods Med. Res. 8, section 4)."""

ARTEFACT = "most energy in the artefact"
"""The kind of the gallery that the artefact check ranks."""


def data_sheet(records: Sequence[CaseRecord], names: Sequence[str]) -> dict[str, Any]:
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


def repeatability(records: Sequence[CaseRecord], seed: int) -> dict[str, Any]:
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


def _repeated(records: Sequence[CaseRecord], key: str, seed: int) -> dict[str, Any]:
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


def gallery(
    protocol: Protocol,
    records: Sequence[CaseRecord],
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
    kinds: list[tuple[str, list[tuple[float, CaseRecord]]]] = [
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


def _answer(record: CaseRecord, names: Sequence[str]) -> dict[str, Any]:
    """What is true of a case and what the network said, in words."""
    truth = [_name(label, names) for label in record["positives"] or [None]]
    predicted = record["predicted"]
    return {
        "truth": " and ".join(truth),
        "answer": _name(predicted, names),
        "probability": record["probabilities"][predicted],
    }


def _value(record: CaseRecord, check: str) -> float | None:
    return next((one["value"] for one in record["checks"] if one["name"] == check), None)


def _agreement(record: CaseRecord) -> float | None:
    values = [value for value in record["retests"]["agreement"] if value is not None]
    return float(np.mean(values)) if values else None
