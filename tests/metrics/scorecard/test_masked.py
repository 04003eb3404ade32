"""What is shown under a map is worked out by hand: a network that answers with the mean of two pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.metrics import Row, Sample, resolve_metrics
from cfcam.metrics.functional import adcc, arcc, baseline_image
from cfcam.metrics.scorecard.catalogue import BASELINES, CATALOGUE, MASKED, NAMED

SEEN: list[int] = []
"""The images of each pass."""
PICTURE = torch.tensor([[[0.8], [0.4]]])  # p = 0.6; Grad-CAM marks (1, 0.5)


class MeanOfPixels(nn.Module):
    """p is the mean of the pixels, so Grad-CAM's map is the picture itself."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, x: Tensor) -> Tensor:
        SEEN.append(len(x))
        p = self.features(x).mean((1, 2, 3))
        return torch.stack([p, 1 - p], 1)


def measured(*metrics: str, picture: Tensor = PICTURE, black: float = 0.1) -> Row:
    how = {"controls": False, "layer": "features", "probability": "given", "black": black}
    (row,) = cfcam.evaluate(MeanOfPixels(), [Sample(picture)], "grad-cam", metrics, **how).rows
    return row


def passes(*metrics: str) -> int:
    SEEN.clear()
    measured(*metrics)
    return sum(SEEN)


def test_each_baseline_fills_in_what_the_map_leaves_out() -> None:
    kinds = ("", "-mean", "-black")
    values = measured(*(f"{metric}{kind}" for metric in MASKED if metric != "arcc" for kind in kinds), black=2.0).values
    by_hand = {  # what the network sees: the second pixel is half its 0.4 and half the filling; p; Grad-CAM's map of it
        "": (100 / 6, 0, 0, 1, 3 / (1 + 1 / 0.25 + 6 / 5)),  # zeros: (0.8, 0.2), p = 0.5, (1, 0.25)
        "-mean": (0, 100, 12.5, 1, 3 / (1 + 1 / 0.25 + 1)),  # 0.6: (0.8, 0.5), p = 0.65, (1, 0.625)
        "-black": (0, 100, 100, 0, 0),  # 2: (0.8, 1.2), p = 1, (2 / 3, 1), which says the opposite
    }
    for kind, numbers in by_hand.items():
        for metric, number in zip(MASKED, numbers, strict=False):
            assert values[f"{metric}{kind}"] == pytest.approx(number, abs=1e-4), f"{metric}{kind}"


@pytest.mark.parametrize("kind", BASELINES)
def test_the_baselines_are_those_of_insertion_and_deletion(kind: str) -> None:
    picture = torch.tensor([[[0.9, 0.5, 0.4], [0.6, 0.8, 0.5]]])
    heat = picture[0] / 0.9
    seen = heat * picture + (1 - heat) * baseline_image(picture[None], kind, 0.1)[0]  # type: ignore[arg-type]
    before, after = float(picture.mean()), float(seen.mean())
    values = measured(f"average-drop-{kind}", f"average-gain-{kind}", picture=picture).values
    assert values[f"average-drop-{kind}"] == pytest.approx(100 * max(0, before - after) / before, abs=1e-4)
    assert values[f"average-gain-{kind}"] == pytest.approx(100 * max(0, after - before) / (1 - before), abs=1e-4)


def test_adcc_and_arcc_take_the_coherency_of_their_baseline() -> None:
    picture = 0.5 + 0.5 * torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    names = ("complexity", "road", "coherency-noise", "average-drop-noise", "adcc-noise", "arcc-noise", "arcc")
    values = measured(*names, picture=picture).values
    assert set(values) == set(names)  # nothing else is entered
    coherency, complexity, road, drop = (
        torch.tensor(values[name]) for name in ("coherency-noise", "complexity", "road", "average-drop-noise")
    )
    assert values["adcc-noise"] == pytest.approx(float(adcc(coherency, complexity, drop)), abs=1e-6)
    assert values["arcc-noise"] == pytest.approx(float(arcc(coherency, complexity, road)), abs=1e-6)
    assert values["arcc-noise"] != values["arcc"]


def test_one_pass_a_baseline_serves_all_and_they_cost_nothing_where_they_are_not_asked_for() -> None:
    alone = passes("complexity")  # of the map itself
    assert passes("average-drop") == alone + 1
    assert passes("average-drop", "average-drop-blur", "increase-in-confidence-blur", "average-gain-blur") == alone + 2
    assert passes("average-drop-blur", "coherency-blur", "adcc-blur") == alone + 1
    assert not NAMED & set(resolve_metrics(["all", "faithfulness", "quick"]))
    assert set(CATALOGUE) >= NAMED


def test_a_map_without_evidence_has_no_number_with_any_baseline() -> None:
    against = measured("average-drop-mean", "adcc-mean", "arcc-mean", picture=PICTURE / 2)  # p = 0.3, so 1 - p it is
    assert against.status == "no positive evidence"
    assert against.values == {}
