"""Repeatability and the gallery, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cfcam.jobs.evidence import results


def record(case, patient, probability, agreement=(0.5,), predicted=0, positives=(0,), p=(0.9, 0.1)):
    retests = {"probability": probability, "marked": [0.1] * len(probability), "agreement": list(agreement)}
    return {
        "case": case, "patient": patient, "retests": retests, "predicted": predicted, "positives": list(positives),
        "complete": True, "probabilities": list(p), "status": "ok", "checks": [],
    }  # fmt: skip


def test_the_repeatability_coefficient_is_worked_out_by_hand():
    records = [record(f"c{n}", f"p{n // 2}", [0.5, 0.5 + 0.02 * n, 0.5]) for n in range(6)]
    found = results.repeatability(records, 0)["quantities"]["probability of the predicted class"]
    variances = [np.var([0.5, 0.5 + 0.02 * n, 0.5], ddof=1) for n in range(6)]
    assert found["sd"]["value"] == pytest.approx(math.sqrt(np.mean(variances)))
    assert found["coefficient"]["value"] == pytest.approx(1.96 * math.sqrt(2) * math.sqrt(np.mean(variances)))
    assert found["sd"]["low"] < found["sd"]["value"] < found["sd"]["high"]
    assert found["coefficient"]["low"] == pytest.approx(1.96 * math.sqrt(2) * found["sd"]["low"])


def test_without_retests_repeatability_is_not_assessed():
    assert not results.repeatability([record("c", "p", [0.5])], 0)["assessed"]


def test_the_gallery_holds_the_worst_by_number_whatever_the_order():
    from types import SimpleNamespace

    records = [
        record("c1", "p", [0.5], (0.9,), 0, (1,), (0.6, 0.4)),
        record("c2", "p", [0.5], (0.2,), 0, (1,), (0.8, 0.2)),
        record("c3", "p", [0.5], (0.4,), 0, (0,), (0.99, 0.01)),
    ]
    values = {"c1": 3.0, "c2": 2.0, "c3": 1.0}
    for several in (records, records[::-1]):
        shown = results.gallery(SimpleNamespace(gallery=1), several, values, "enrichment")
        assert [(one["kind"], one["case"], one["value"]) for one in shown] == [
            ("wrong with the highest probability", "c2", 0.8),
            ("worst map by Enrichment", "c3", 1.0),
            ("least repeatable map", "c2", 0.2),
        ]
    assert results.gallery(SimpleNamespace(gallery=1), records, values, "complexity")[1]["case"] == "c1"
