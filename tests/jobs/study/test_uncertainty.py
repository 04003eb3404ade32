"""Uncertainty of a study: on the grid of the source, in report numbers and JSON, honest where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cfcam.clinical.uncertainty import method_disagreement, summarise
from cfcam.imaging import VolumePreprocess, read_volume
from cfcam.jobs import Settings, VolumeRun, find_inputs
from cfcam.jobs.study.run import Studies
from cfcam.jobs.study.settings import StudySettings
from cfcam.models import load
from tests.jobs.studies import BRIGHT_3D, MARKER, SHAPE, THREE_D, ct_study, explain, study_json
from tests.jobs.volume_networks import Bright

UNSURE = [part.replace(":bright", ":unsure") for part in BRIGHT_3D]


@pytest.fixture
def studies(monkeypatch):
    """The studies of a run, as they are made."""
    made = []
    tables = Studies._tables
    monkeypatch.setattr(Studies, "_tables", lambda self, study, stem: made.append(study) or tables(self, study, stem))
    return made


def test_every_way_gives_maps_on_the_source_grid_and_numbers_in_the_json(tmp_path, studies):
    ct_study(tmp_path / "in")
    ways = ["--uncertainty", "methods", "--uncertainty", "augmentation", "--uncertainty", "mc-dropout"]
    result = explain(tmp_path / "in", tmp_path / "out", *UNSURE, "--method", "cam", *ways, "--samples", "8")
    assert result.exit_code == 0, result.output
    (study,) = studies
    assert [(one.source, one.method) for one in study.uncertainty] == [
        ("methods", "several"),
        ("augmentation", "grad-cam"),
        ("mc-dropout", "grad-cam"),
    ]
    for one in study.uncertainty:
        for heat in (one.mean, one.sd, one.inclusion):
            assert heat.shape == SHAPE
            assert 0 <= heat.min() <= heat.max() <= 1
        assert np.abs(np.argwhere(one.mean == one.mean.max()).mean(0) - MARKER).max() <= 1
        assert one.class_name == "bright"
        assert one.threshold == study.maps[0].regions.threshold
    told = study_json(tmp_path / "out")["uncertainty"]
    assert [one["source"] for one in told] == ["methods", "augmentation", "mc-dropout"]
    assert told[2]["samples"] == 8
    assert told[2]["probability_sd"] > 0
    assert told[0]["entropy"] is None  # methods share one prediction
    assert told[1]["agreement"] == study.uncertainty[1].agreement


def test_a_second_run_gives_the_same_numbers_and_the_random_state_stays(tmp_path):
    ct_study(tmp_path / "in")
    state = torch.get_rng_state()
    told = []
    for output in ("a", "b"):
        result = explain(tmp_path / "in", tmp_path / output, *UNSURE, "--uncertainty", "mc-dropout", "--samples", "6")
        assert result.exit_code == 0, result.output
        told.append(study_json(tmp_path / output)["uncertainty"])
    assert told[0] == told[1]
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_without_dropout_is_told_so_and_the_study_is_done(tmp_path):
    ct_study(tmp_path / "in")
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--uncertainty", "mc-dropout")
    assert result.exit_code == 0, result.output
    assert "note: MC dropout is not available" in result.stderr
    told = study_json(tmp_path / "out")
    assert told["uncertainty"] == []
    assert any(line.startswith("MC dropout is not available") for line in told["limits"])


def test_an_ensemble_takes_further_checkpoints_and_its_spread_is_theirs(tmp_path):
    ct_study(tmp_path / "in")
    probabilities = []
    for n, factor in enumerate((1.0, 3.0)):
        network = Bright()
        with torch.no_grad():
            network.head.weight.mul_(factor)
        save_file(network.state_dict(), tmp_path / f"{n}.safetensors")
        result = explain(tmp_path / "in", tmp_path / f"one{n}", *BRIGHT_3D, "--weights", tmp_path / f"{n}.safetensors",
                         "--regions")  # fmt: skip
        assert result.exit_code == 0, result.output
        probabilities.append(study_json(tmp_path / f"one{n}")["maps"][0]["probability"])
    result = explain(
        tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--weights", tmp_path / "0.safetensors", "--uncertainty",
        "ensemble", "--ensemble", tmp_path / "1.safetensors",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (one,) = study_json(tmp_path / "out")["uncertainty"]
    assert one["samples"] == 2
    assert one["probability_mean"] == pytest.approx(np.mean(probabilities))
    assert one["probability_sd"] == pytest.approx(np.std(probabilities), rel=1e-4)


def test_in_windows_the_samples_are_explained_in_windows_too(tmp_path, studies):
    ct_study(tmp_path / "in")
    result = explain(
        tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--uncertainty", "augmentation", "--sliding", "9",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (study,) = studies
    assert np.abs(np.argwhere(study.uncertainty[0].mean == study.uncertainty[0].mean.max()).mean(0) - MARKER).max() <= 2
    assert any("in windows" in line for line in study.limits)


def test_disagreement_is_that_of_the_maps_of_the_study(tmp_path, studies):
    ct_study(tmp_path / "in")
    settings = Settings(
        output=tmp_path / "out",
        methods=("grad-cam", "cam"),
        preprocess=VolumePreprocess(intensity="unit"),
        study=StudySettings(uncertainty=("methods",), threshold=0.5),
    )
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    run = VolumeRun(model, find_inputs([tmp_path / "in"], output=tmp_path / "out"), settings)
    (outcome,) = run
    assert outcome.status == "done", outcome.error
    volume = read_volume(tmp_path / "in")
    explanation = run._work.engine.explainer(run.preprocess(volume)[None], [0])
    expected = summarise(method_disagreement(explanation), 0.5)
    moved = run.preprocess.to_original(expected.mean[0, 0], volume).clamp(0, 1).numpy()
    np.testing.assert_allclose(studies[0].uncertainty[0].mean, moved, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--uncertainty", "methods"], "there is one: give --method twice"),
        (["--uncertainty", "luck"], "--uncertainty 'luck'"),
        (["--uncertainty", "ensemble"], "an ensemble needs checkpoints"),
        (["--ensemble", "a.pt"], "an ensemble needs checkpoints"),
        (["--regions", "--samples", "9"], "--samples is for --uncertainty"),
    ],
)
def test_ways_that_do_not_fit_are_one_line(tmp_path, options, words):
    ct_study(tmp_path / "in")
    (tmp_path / "a.pt").touch()
    given = [str(tmp_path / word) if word == "a.pt" else word for word in options]
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, *given)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line
