"""Intervals by patient: whole patients are drawn, and what has no value is counted."""

import math

import numpy as np
import pytest
import torch

from cfcam.clinical.bootstrap import bootstrap_by_patient
from cfcam.clinical.calibration import (
    brier_score,
    fit_temperature,
)


def test_the_interval_draws_patients_and_not_cases():
    torch.manual_seed(5)
    level = (torch.rand(40) < 0.5).double()  # one outcome for each patient, in 25 cases each
    y, patients = level.repeat_interleave(25).long(), np.arange(40).repeat(25)
    p = torch.full((1000,), 0.5, dtype=torch.float64)

    def rate(predictions, labels):
        return float(labels.double().mean())

    state = torch.get_rng_state()
    by_patient = bootstrap_by_patient(rate, p, y, patients.tolist(), seed=1)
    by_case = bootstrap_by_patient(rate, p, y, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert (by_patient.n, by_patient.patients, by_case.patients) == (1000, 40, 1000)
    expected = 2 * 1.96 * float(level.std(correction=0)) / math.sqrt(40)
    assert by_patient.high - by_patient.low == pytest.approx(expected, rel=0.15)
    assert by_case.high - by_case.low == pytest.approx(expected / 5, rel=0.15)
    assert by_patient == bootstrap_by_patient(rate, p, y, patients.tolist(), seed=1)


def test_the_interval_of_a_temperature_covers_the_true_one(cases):
    logits, labels = (part[:600] for part in cases)
    found = bootstrap_by_patient(fit_temperature, logits, labels, [f"p{n // 3}" for n in range(600)], resamples=200)
    assert found.low < 2.5 < found.high
    assert found.value == fit_temperature(logits, labels)
    assert (found.patients, found.failed) == (200, 0)
    brier = [bootstrap_by_patient(brier_score, logits.softmax(1), labels, resamples=100, seed=n) for n in (1, 1, 2)]
    assert brier[0] == brier[1] != brier[2]


def test_resamples_without_a_value_are_counted():
    z, y = torch.tensor([2.0, 2.0, 2.0, -2.0]), torch.tensor([1, 1, 0, 0])
    found = bootstrap_by_patient(fit_temperature, z, y, resamples=400)
    # The one wrong case not drawn, or drawn twice or more: with one of four it is 1 - 4 x 0.25 x 0.75^3.
    assert found.failed == pytest.approx(400 * (1 - 0.75**3), rel=0.1)
    assert math.isnan(bootstrap_by_patient(brier_score, z[:2].sigmoid(), y[:2]).low)
