"""How well a network predicts: accuracy, sensitivity, ROC, calibration, with intervals by patient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from cfcam.clinical.bootstrap import Estimate, bootstrap_by_patient
from cfcam.clinical.calibration import brier_score, expected_calibration_error, reliability_table
from cfcam.errors import InputError
from cfcam.jobs.evidence.measure import CaseRecord, patients_of, positives_of
from cfcam.metrics.scorecard.statistics import bootstrap_interval

BINS = 10
"""Of the reliability table."""
_SUMS_TO_ONE = 1e-3
_SEVERAL = (
    "the network gives each class its own probability and the data one label a case: which other classes are truly"
    " absent is not known"
)


def performance(records: Sequence[CaseRecord], names: Sequence[str], seed: int) -> dict[str, Any]:
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
        "classes": [_of_class(k, name, p, truth, patients, full, seed) for k, name in enumerate(names[: p.shape[1]])],
        "confusion": None if several else _confusion(known, names),
        "calibration": _calibration(p, truth, exclusive, patients, seed) if full else {"reason": _SEVERAL},
    }


def _of_class(
    k: int,
    name: str,
    p: NDArray[np.float64],
    truth: NDArray[np.float64],
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


def _confusion(known: Sequence[CaseRecord], names: Sequence[str]) -> list[list[int]]:
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
