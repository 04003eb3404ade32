"""Folder runs of segmentation networks, and of scores that are no class."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from cfcam.cli.app import app
from tests.jobs.world import draw, written

NETWORK = """
import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(3, 2, 1))
        self.head = nn.Conv2d(2, 3, 1)
        with torch.no_grad():
            self.body[1].weight.fill_(1 / 3), self.body[1].bias.fill_(0)
            self.head.weight.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1]]).reshape(3, 2, 1, 1))
            self.head.bias.copy_(torch.tensor([9.0, 8.5, -9]))  # brighter than 0.5 is class 1, class 2 is nowhere

    def forward(self, x):
        return self.head(self.body(x))


class Mean(Bright):
    def forward(self, x):
        return self.head(self.body(x)).mean((2, 3))
"""


def explain(folder: Path, *arguments: str, network: str = "Bright") -> Result:
    (folder / "nets.py").write_text(NETWORK)
    draw(folder / "a.png", corner=2)
    spec = ["--model", f"{folder / 'nets.py'}:{network}", "--size", "32", "--mean", "0", "--std", "1"]
    options = ["--classes", "background,bright,never", "--method", "hires-cam", "-o", str(folder / "out")]
    return CliRunner().invoke(app, ["explain", str(folder / "a.png"), *spec, *options, *arguments])


def test_the_predicted_class_is_that_of_the_largest_region(tmp_path: Path) -> None:
    result = explain(tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "bright" in result.stdout


def test_a_class_that_a_picture_has_not_is_that_pictures_failure(tmp_path: Path) -> None:
    result = explain(tmp_path, "--target", "never")
    assert result.exit_code != 0
    assert "never is predicted nowhere in this image" in result.stderr.replace("\n", " ")
    assert "0 explained, 1 failed" in result.stdout


def test_scores_of_no_class_are_kept_apart(tmp_path: Path) -> None:
    result = explain(tmp_path, "--target", "bright vs background", "--target", "output-2", network="Mean")
    assert result.exit_code == 0, result.stderr
    files = written(tmp_path / "out")
    assert {"a_hires-cam_bright-against-background.png", "a_hires-cam_output-2.png"} <= set(files)


def test_a_class_that_a_picture_has_not_takes_no_other_with_it(tmp_path: Path) -> None:
    result = explain(tmp_path, "--target", "bright", "--target", "never")
    assert result.exit_code == 0, result.stderr
    line = "never is predicted nowhere in this image: there is no map of it"
    assert line in " ".join((result.stdout + result.stderr).split())
    assert [name for name in written(tmp_path / "out") if "hires-cam" in name] == ["a_hires-cam.png"]
    (row,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert row["notices"] == [line]
