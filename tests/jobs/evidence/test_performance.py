"""How well a network predicts, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.jobs.evidence.performance import performance
from tests.jobs.evidence.test_results import record


def test_auc_accuracy_and_confusion_are_worked_out_by_hand():
    rows = [((0.9, 0.1), 0), ((0.4, 0.6), 0), ((0.3, 0.7), 1), ((0.6, 0.4), 1)]
    records = [
        record(f"c{n}", f"p{n}", [0.5], predicted=int(np.argmax(p)), positives=[label], p=p)
        for n, (p, label) in enumerate(rows)
    ]
    found = performance(records, ["a", "b"], 0)
    assert found["accuracy"]["value"] == 0.5
    assert found["confusion"] == [[1, 1], [1, 1]]
    pairs = [(a[0] > b[0]) + 0.5 * (a[0] == b[0]) for a, x in rows if x == 0 for b, y in rows if y == 1]
    assert found["classes"][0]["auc"]["value"] == pytest.approx(np.mean(pairs))
    brier = np.mean([sum((p[k] - (k == label)) ** 2 for k in range(2)) for p, label in rows])
    assert found["calibration"]["brier"]["value"] == pytest.approx(brier)


def test_a_share_of_one_has_the_exact_interval_of_as_many_patients():
    records = [record(f"c{n}", f"p{n // 2}", [0.5], predicted=0, positives=[0]) for n in range(8)]
    accuracy = performance(records, ["a", "b"], 0)["accuracy"]
    assert (accuracy["value"], accuracy["high"]) == (1.0, 1.0)
    assert accuracy["low"] == pytest.approx(0.025 ** (1 / 4))  # four patients
