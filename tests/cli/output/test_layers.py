"""``cfcam layers --measure --picture``: the best layers' maps side by side."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict

import torch

from cfcam import explain
from cfcam.cli.output import layers
from cfcam.cli.output.console import print_json
from cfcam.imaging import read_image
from cfcam.log import Log
from cfcam.metrics import LayerScore
from cfcam.models import load
from tests.jobs.world import NETWORKS, PLAIN, draw


def score(name, rank, *more, fusion=None):
    return LayerScore((name, *more), fusion, (4, 4), 0.1, 0.2, 0.3, rank, 0)


def test_single_layers_are_drawn_best_first_with_their_rank_and_the_networks_name(tmp_path, monkeypatch):
    drawn = {}

    def sheet(rgb, panels, **texts):
        drawn.update(rgb=rgb, panels=panels, **texts)
        return rgb

    monkeypatch.setattr("cfcam.imaging.contact_sheet", sheet)
    loaded = load(f"{NETWORKS}:brightness", classes=["bright", "dark"])
    image = read_image(draw(tmp_path / "a.png"))
    scores = [score("features", 1.0), score("features", 1.5, "features", fusion="mean"), score("features", 2.0)]
    layers.draw(loaded, PLAIN, image, scores, tmp_path / "layers.png", most=9)
    assert (tmp_path / "layers.png").stat().st_size > 0
    assert [panel.method for panel in drawn["panels"]] == ["features: rank 1.0", "features: rank 2.0"]
    assert {panel.label for panel in drawn["panels"]} == {"bright"}
    assert drawn["footer"] == "user_networks.py:brightness"
    e = explain(loaded.module, PLAIN(image)[None], "grad-cam", layer="features")
    right = PLAIN.to_original(e.heatmaps("grad-cam")[0, 0], drawn["rgb"].shape[:2])
    assert torch.allclose(torch.as_tensor(drawn["panels"][0].heatmap), right, atol=1e-6)


def test_no_more_layers_are_drawn_than_can_be_looked_at(tmp_path, monkeypatch):
    panels = []
    monkeypatch.setattr("cfcam.imaging.contact_sheet", lambda rgb, shown, **_: panels.extend(shown) or rgb)
    loaded = load(f"{NETWORKS}:brightness")
    image = read_image(draw(tmp_path / "a.png"))
    layers.draw(loaded, PLAIN, image, [score("features", n) for n in range(5)], tmp_path / "b.png", most=3)
    assert [panel.method for panel in panels] == [f"features: rank {n}.0" for n in range(3)]


def test_what_no_picture_tells_is_a_dash_in_the_table_and_null_in_json(capsys):
    unknown = LayerScore(("a",), None, (4, 4), 0.1, math.nan, math.inf, 1.0, 2)
    layers.show_ranking([unknown], "grad-cam", "1 picture")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("a "))
    assert line.split() == ["a", "4", "x", "4", "1.0", "0.100", "–", "inf", "2"]
    print_json({"layers": [asdict(unknown)]})
    Log(sys.stdout, as_json=True).info("measured", adcc=unknown.adcc)
    *told, line = capsys.readouterr().out.splitlines()
    assert (
        json.loads("".join(told), parse_constant=str)["layers"][0] | {"adcc": None, "stability": None}
        == (json.loads("".join(told))["layers"][0])
    )
    assert json.loads(line, parse_constant=str)["adcc"] is None
