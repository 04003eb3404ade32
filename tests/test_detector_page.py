"""docs/how-to/detectors.md from nothing: the page's commands, and what a small detector's maps lie on."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import cfcam
from cfcam.cli.app import app
from cfcam.models import load
from cfcam.models.demo import make_phantom
from tests.jobs.world import lines

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detector") / "example"
    made = [sys.executable, ROOT / "docs" / "detector_picture.py", "--out", out, "--epochs", "10", "--phantoms", "128"]
    subprocess.run(made, check=True)
    return out


def test_the_pages_command_explains_two_boxes_and_one_that_is_not_there(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "how-to" / "detectors.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"^cfcam (explain chest.png .*)$", page, re.MULTILINE)
    monkeypatch.chdir(made)
    result = CliRunner().invoke(app, [*shlex.split(words), "--save", "overlay"])
    assert result.exit_code == 0, result.stderr
    (record,) = lines(made / "output")
    first, second, missing = record["targets"]
    assert {first["label"], second["label"]} == {"box 1: consolidation", "box 2: effusion"}
    assert missing["label"] == "no effusion at 296,272,368,360"
    assert first["probability"] > second["probability"] > 0.5
    masks = make_phantom(3, findings=["consolidation", "effusion"], size=96).masks
    for target in (first, second):
        x0, y0, x1, y1 = (corner / 4 for corner in target["box"])
        rows, columns = masks[target["label"].partition(": ")[2]].nonzero()
        assert x0 < columns.mean() < x1
        assert y0 < rows.mean() < y1


def test_the_maps_lie_on_what_the_boxes_are_of(made: Path) -> None:
    """Enrichment: the share of the map's evidence in the finding over the finding's share of the picture."""
    network = load(f"{made / 'network.py'}:finder").module
    for number in (3, 7):
        phantom = make_phantom(number, findings=["consolidation", "effusion"], size=96)
        x = (torch.from_numpy(phantom.image).float()[None, None] / 255 - 0.5) / 0.25
        names = ["consolidation", "effusion"]
        e = cfcam.explain(network, x, "hires-cam", targets=["box-1", "box-2"], layer="trunk.11", classes=names)
        for k, label in enumerate(e.target_names):
            mask = torch.from_numpy(phantom.masks[label.partition(": ")[2]])
            (share,) = e.by_region({"finding": mask}, target=k)
            assert share.enrichment > 3
