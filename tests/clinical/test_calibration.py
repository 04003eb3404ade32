import math

import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from cfcam.clinical.bootstrap import bootstrap_by_patient
from cfcam.clinical.calibration import (
    brier_score,
    calibrated,
    expected_calibration_error,
    fit_temperature,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability_table,
)
from cfcam.errors import InputError


def test_the_errors_are_the_numbers_worked_out_by_hand():
    p = torch.tensor([0.05, 0.15, 0.35, 0.45, 0.95, 0.85, 1.0])
    y = torch.tensor([0, 1, 0, 1, 1, 1, 0])
    # Below 0.5: four of mean 0.25, of which two came true; above: three of mean 2.8 / 3, of which two did.
    table = reliability_table(p, y, bins=2)
    assert table.count == (4, 3)
    assert table.confidence == pytest.approx((0.25, 2.8 / 3))
    assert table.frequency == pytest.approx((0.5, 2 / 3))
    assert table.gaps == pytest.approx((0.25, 2 / 3 - 2.8 / 3))
    assert expected_calibration_error(p, y, bins=2) == pytest.approx((4 * 0.25 + 3 * 0.8 / 3) / 7)
    assert maximum_calibration_error(p, y, bins=2) == pytest.approx(0.8 / 3)
    assert "0.500 - 1.000      3   0.933      0.667" in table.to_text()


def test_bins_of_equal_mass_hold_equally_many_cases_and_keep_ties_together():
    p = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 0, 1, 1, 0, 1])
    table = reliability_table(p, y, bins=4, scheme="mass")
    assert table.count == (2, 2, 2, 2)
    assert table.confidence == pytest.approx((0.15, 0.35, 0.55, 0.75))
    assert table.frequency == (0, 0.5, 1, 0.5)
    expected = (0.15 + 0.15 + 0.45 + 0.25) / 4
    assert expected_calibration_error(p, y, bins=4, scheme="mass") == pytest.approx(expected)
    order = torch.tensor([7, 2, 5, 0, 1, 4, 3, 6])
    tied = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9])
    first = reliability_table(tied, y, 4, "mass")
    assert first == reliability_table(tied[order], y[order], 4, "mass")
    assert first.count == (5, 3)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_errors_are_those_of_torchmetrics(cases, bins):
    logits, labels = cases
    p = logits.float().softmax(1)
    p = p[p.max(1).values < 1]  # at exactly 1 torchmetrics opens a bin of its own
    labels = labels[: len(p)]
    theirs = {
        norm: float(multiclass_calibration_error(p, labels, num_classes=4, n_bins=bins, norm=norm))
        for norm in ("l1", "max")
    }
    assert expected_calibration_error(p, labels, bins) == pytest.approx(theirs["l1"], abs=1e-5)
    assert maximum_calibration_error(p, labels, bins) == pytest.approx(theirs["max"], abs=1e-5)


def test_a_binary_calibration_error_is_of_the_probability_of_the_class():
    torch.manual_seed(1)
    p = torch.rand(500)
    y = (torch.rand(500) < p**2).long()
    loop = 0.0
    for k in range(10):
        inside = [(a, b) for a, b in zip(p.double().tolist(), y.tolist(), strict=True) if k / 10 <= a < (k + 1) / 10]
        if inside:
            loop += abs(sum(b for _, b in inside) - sum(a for a, _ in inside)) / 500
    assert expected_calibration_error(p, y, 10) == pytest.approx(loop)
    # torchmetrics' binary error is of the same confidences, which it takes as they are.
    assert loop == pytest.approx(float(binary_calibration_error(p, y, n_bins=10, norm="l1")), abs=1e-5)


def test_brier_and_likelihood_are_those_of_scikit_learn(cases):
    logits, labels = cases
    p = logits.softmax(1)
    assert brier_score(p, labels) == pytest.approx(
        brier_score_loss(labels.numpy(), p.numpy(), labels=range(4), scale_by_half=False)
    )
    assert negative_log_likelihood(p, labels) == pytest.approx(log_loss(labels.numpy(), p.numpy(), labels=range(4)))
    binary, y = p[:, 0], (labels == 0).long()
    assert brier_score(binary, y) == pytest.approx(brier_score_loss(y.numpy(), binary.numpy()))
    assert negative_log_likelihood(binary, y) == pytest.approx(log_loss(y.numpy(), binary.numpy()))


def test_multi_label_pools_the_known_decisions_of_all_classes():
    p = torch.tensor([[0.2, 0.9], [0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    y = torch.tensor([[0.0, 1.0], [1.0, math.nan], [math.nan, 0.0]], dtype=torch.float64)
    flat, known = torch.tensor([0.2, 0.9, 0.6, 0.7], dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    for measure in (brier_score, negative_log_likelihood, expected_calibration_error, maximum_calibration_error):
        assert measure(p, y) == pytest.approx(measure(flat, known))
    assert brier_score(p, y) == pytest.approx((0.04 + 0.01 + 0.16 + 0.49) / 4)


def test_temperature_scaling_finds_the_factor_by_which_the_network_is_too_sure(cases):
    logits, labels = cases
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.08)
    before, after = calibrated(logits, 1.0), calibrated(logits, temperature)
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert negative_log_likelihood(after, labels) < negative_log_likelihood(before, labels)
    assert expected_calibration_error(after, labels) < 0.03 < expected_calibration_error(before, labels)


def test_no_other_temperature_has_a_smaller_likelihood_loss(cases):
    logits, labels = cases
    multi = (torch.rand(len(logits), 4, generator=torch.Generator().manual_seed(0)) < (logits / 3).sigmoid()).double()
    multi[::7] = math.nan
    single, binary = logits[:, 0], (labels == 0).long()
    for z, y, kind in ((logits, labels, "softmax"), (logits, multi, "sigmoid"), (single, binary, "sigmoid")):
        best = fit_temperature(z, y)
        loss = [negative_log_likelihood(calibrated(z, best * f, kind), y) for f in (0.5, 0.99, 1, 1.01, 2)]
        assert min(loss) == loss[2]
    # Of a multi-label network: drawn with logits / 3.
    assert fit_temperature(logits, multi) == pytest.approx(3, rel=0.08)
    assert fit_temperature(single[:, None], binary) == fit_temperature(single, binary)


def test_a_temperature_scales_with_the_logits(cases):
    logits, labels = cases
    assert fit_temperature(4 * logits, labels) == pytest.approx(4 * fit_temperature(logits, labels), rel=1e-9)


def test_where_no_temperature_is_best_it_says_so():
    right = torch.tensor([3.0, 1.0, -2.0])
    with pytest.raises(InputError, match="right in every case"):
        fit_temperature(right, torch.tensor([1, 1, 0]))
    with pytest.raises(InputError, match="guessing"):
        fit_temperature(right, torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("measure", "values", "labels", "why"),
    [
        (brier_score, torch.tensor([0.5, 1.5]), torch.tensor([0, 1]), "in \\[0, 1\\]"),
        (brier_score, torch.tensor([[0.5, 0.9]]), torch.tensor([1]), "do not sum to 1"),
        (brier_score, torch.tensor([[0.5, 0.5]]), torch.tensor([2]), "class indices"),
        (brier_score, torch.tensor([0.5, math.nan]), torch.tensor([0, 1]), "not finite"),
        (brier_score, torch.tensor([0.5, 0.5]), torch.tensor([0, 1, 1]), "give \\(n, classes\\)"),
        (brier_score, torch.tensor([0.5, 0.5]), torch.tensor([0, 3]), "0 or 1"),
        (fit_temperature, torch.tensor([]), torch.tensor([]), "missing"),
        (lambda p, y: reliability_table(p, y, 0), torch.tensor([0.5]), torch.tensor([1]), "1 or more"),
        (lambda p, y: reliability_table(p, y, 3, "other"), torch.tensor([0.5]), torch.tensor([1]), "'width' or"),
        (lambda p, y: calibrated(p, 0), torch.tensor([0.5]), torch.tensor([1]), "above 0"),
        (lambda p, y: bootstrap_by_patient(brier_score, p, y, ["a", ""]), torch.ones(2), torch.ones(2), "every case"),
        (lambda p, y: bootstrap_by_patient(brier_score, p, y, resamples=9), torch.ones(2), torch.ones(2), "100"),
    ],
)
def test_wrong_input_is_refused_in_one_line(measure, values, labels, why):
    with pytest.raises(InputError, match=why) as caught:
        measure(values, labels)
    assert "\n" not in str(caught.value)
