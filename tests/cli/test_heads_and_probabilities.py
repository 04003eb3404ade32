"""The head and the reading of an output, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cfcam.cli.app import app

NETWORKS = """
import torch
from torch import nn


class Heads(nn.Module):
    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.f, self.fc, self.how = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Linear(4, 3), how

    def forward(self, x):
        z = self.fc(self.f(x).mean((2, 3)))
        two = {"age": 60 + z[:, :1], "diagnosis": z}
        return {"two": two, "given": z.softmax(1), "half": 0.5 + z.tanh() / 9}[self.how]


def make(how="two"):
    return Heads(how)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "in").mkdir()
    grey = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "in" / "a.png")
    return tmp_path


def called(folder: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*arguments, "--size", "32", "--device", "cpu"], env={"COLUMNS": "400"})
    return found.exit_code, found.output


def explain(folder: Path, how: str, *arguments: str) -> tuple[int, str]:
    model = ("-m", f"{folder}/nets.py:make(how='{how}')", "--method", "grad-cam", "-o", str(folder / "out"))
    return called(folder, "explain", str(folder / "in"), *model, *arguments)


def recorded(folder: Path) -> dict[str, object]:
    runs = json.loads((folder / "out" / "run.json").read_text())["runs"]
    found: dict[str, object] = list(runs.values())[-1]["settings"]
    return found


def test_several_outputs_ask_for_a_choice(folder: Path) -> None:
    code, said = explain(folder, "two")
    assert code == 2
    assert "'age' (1, 1), 'diagnosis' (1, 3)" in said
    assert "--head diagnosis" in said
    code, said = explain(folder, "two", "--head", "diagnosis")
    assert code == 0
    assert recorded(folder)["output"] == "diagnosis"


def test_names_choose_and_are_counted(folder: Path) -> None:
    code, said = explain(folder, "two", "--classes", "a,b,c")
    assert code == 0
    assert "the class scores are 'diagnosis'" in said
    code, said = explain(folder, "given", "--classes", "a,b")
    assert code == 2
    assert "2 class names for a network with 3 classes" in said


def test_probabilities_are_told(folder: Path) -> None:
    code, said = explain(folder, "given")
    assert code == 0
    assert "given (softmax at the end)" in said
    assert recorded(folder)["probability"] == "given (softmax at the end)"
    code, said = explain(folder, "half", "--probability", "given", "--overwrite")
    assert code == 0
    assert "given (as asked, each by itself)" in said
    code, said = explain(folder, "half", "--probability", "gvien")
    assert code == 2
    assert "--probability 'gvien'" in said


def test_doctor_has_a_line(folder: Path) -> None:
    for how, line in (
        ("given", "they are probabilities already (softmax at the end), taken as they are"),
        ("half", "all outputs lie in [0, 1]"),
    ):
        _, said = called(folder, "doctor", str(folder / "in"), "-m", f"{folder}/nets.py:make(how='{how}')")
        assert line in " ".join(said.split())
    code, said = called(
        folder, "doctor", str(folder / "in"), "-m", f"{folder}/nets.py:make", "--head", "diagnosis", "--json"
    )
    assert code == 0
    findings = {one["check"]: one for one in json.loads(said)["findings"]}
    assert findings["output"]["values"]["output"] == "diagnosis"
