import csv
import json
import math

import pytest
import torch
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.clinical.calibration import brier_score, expected_calibration_error, fit_temperature


def run(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def cases():
    torch.manual_seed(2)
    honest = torch.randn(300, 3, dtype=torch.float64) * 1.5
    return honest * 2, torch.multinomial(honest.softmax(1), 1)[:, 0]


def test_the_numbers_are_those_of_the_functions(tmp_path, cases):
    logits, labels = cases
    names = ["a", "b", "c"]
    rows = [[f"P{n // 2}", names[y], *z] for n, (z, y) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True))]
    done = run(
        write(tmp_path / "p.csv", ["patient", "label", *names], rows), "--json", "--bins", 10, "--resamples", 100
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    temperature = fit_temperature(logits, labels)
    assert found["temperature"]["value"] == pytest.approx(temperature)
    assert found["temperature"]["low"] < temperature < found["temperature"]["high"]
    assert (found["temperature"]["n"], found["temperature"]["patients"]) == (300, 150)
    p = logits.softmax(1)
    assert found["as given"]["Brier score"] == pytest.approx(brier_score(p, labels))
    assert found["as given"]["expected calibration error"] == pytest.approx(expected_calibration_error(p, labels, 10))
    key = "negative log-likelihood"
    assert found["with the temperature"][key] < found["as given"][key]


def test_a_multi_label_network_has_a_label_for_each_class_and_may_lack_some(tmp_path, cases):
    logits, _ = cases
    truth = (torch.rand(300, 2) < (logits[:, :2] / 2).sigmoid()).double()
    truth[::5, 1] = math.nan
    rows = [
        [*z[:2], *("" if math.isnan(v) else int(v) for v in y)]
        for z, y in zip(logits.tolist(), truth.tolist(), strict=True)
    ]
    file = write(tmp_path / "p.csv", ["a", "b", "label:a", "label:b"], rows)
    done = run(file, "--json", "--resamples", 100)
    assert json.loads(done.stdout)["temperature"]["value"] == pytest.approx(fit_temperature(logits[:, :2], truth))
    shown = run(file, "--resamples", 100)
    assert "temperature 2" in shown.output
    assert "column 'patient'" in shown.output


def test_a_single_logit_is_of_class_one(tmp_path, cases):
    logits, labels = cases[0][:, 0], (cases[1] == 0).long()
    rows = list(zip(logits.tolist(), labels.tolist(), strict=True))
    done = run(write(tmp_path / "p.csv", ["logit", "label"], rows), "--json", "--resamples", 100)
    assert json.loads(done.stdout)["temperature"]["value"] == pytest.approx(fit_temperature(logits, labels))


@pytest.mark.parametrize(
    ("header", "row", "why"),
    [
        (["label", "a", "b"], ["x", 1, 2], "line 2: the label is neither"),
        (["label", "a", "b"], ["a", "", 2], "line 2, column a: a number is missing"),
        (["a", "b"], [1, 2], "give a column of logits"),
        (["label:a", "a", "b"], [1, 1, 2], "give a column of logits"),
        (["patient", "label", "a", "b"], ["", "a", 1, 2], "the patient of every case"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_without_a_name(tmp_path, header, row, why):
    done = run(write(tmp_path / "p.csv", header, [row, [0 if v == "x" else v for v in row]]))
    assert done.exit_code == 2
    assert why in " ".join(done.output.split())
    assert run(tmp_path / "missing.csv").exit_code == 2
