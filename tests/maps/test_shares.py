"""Shares of regions: worked out by hand in two and three dimensions; what has no number; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import cfcam
from cfcam.errors import InputError
from cfcam.explanation import Explanation, ExplanationError
from cfcam.imaging import superpixels
from cfcam.maps import region_shares
from cfcam.metrics.functional import energy_in_ground_truth, enrichment

SIGNED = torch.tensor([[4.0, 2.0, 0.0, -2.0], [0.0, 2.0, 0.0, 0.0]])
LEFT = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]])
CORNER = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]])


def of(maps: Tensor, size: tuple[int, ...]) -> Explanation:
    zeros = torch.zeros(1, 1)
    return Explanation({"m": maps[None, None]}, zeros.long(), zeros + 3, zeros, None, "layer", size)


@pytest.mark.parametrize("axes", [2, 3])
def test_shares_signed_contributions_areas_and_enrichment_by_hand(axes: int) -> None:
    deep = [one if axes == 2 else torch.stack([one, one]) for one in (SIGNED, LEFT, CORNER)]
    signed, left, corner = deep
    table = of(signed, tuple(signed.shape)).by_region({"left": left, "corner": corner, "none": torch.zeros_like(left)})
    found = {one.name: (one.area, one.share, one.contribution, one.enrichment) for one in table}
    assert found["left"] == (0.5, 1.0, pytest.approx(0.8), 2.0)  # 8 of 8 positive; 8 of |8| + |-2|; 1 over a half
    assert found["corner"] == (0.125, 0.0, pytest.approx(-0.2), 0.0)
    assert found["none"] == (0.0, None, None, None)
    assert (table.outside, table.overlapping, table.label, table.score) == (0.0, False, "class 0", 3.0)


def test_they_are_the_energy_and_the_enrichment_of_the_scorecard() -> None:
    heat, mask = torch.rand(6, 5), torch.rand(6, 5) > 0.5
    one = of(heat, (6, 5)).by_region({"a": mask})["a"]
    assert one.share == pytest.approx(float(energy_in_ground_truth(heat[None], mask[None])), rel=1e-5)
    assert one.enrichment == pytest.approx(float(enrichment(heat[None], mask[None])), rel=1e-5)
    assert one.contribution is None  # nothing is negative: the share says it all


def test_a_map_is_measured_at_the_size_of_the_input() -> None:
    table = of(torch.tensor([[1.0, 3.0]]), (2, 4)).by_region(torch.tensor([[1, 1, 2, 2]] * 2))
    assert [(one.name, one.share) for one in table] == [("region 1", pytest.approx(0.3125)), ("region 2", 0.6875)]
    # along the row 1, 1.5, 2.5, 3: 2.5 and 5.5 of 8


def test_a_label_map_has_names_and_one_of_them_that_no_place_bears_has_no_number() -> None:
    labels = np.array([[0, 1, 5, 5], [0, 1, 1, 1]], np.uint8)
    table = of(SIGNED, (2, 4)).by_region(labels, names={0: "air", 1: "liver", 7: "spleen"})
    assert [(one.name, one.positions, one.share) for one in table] == [
        ("liver", 4, 0.5),
        ("region 5", 2, 0.0),
        ("spleen", 0, None),
    ]
    assert table.outside == 0.5
    assert [one.name for one in table.largest(1)] == ["liver"]


def test_regions_may_share_positions_and_it_is_said() -> None:
    assert of(SIGNED, (2, 4)).by_region({"a": LEFT, "b": torch.ones(2, 4)}).overlapping


@pytest.mark.parametrize(
    ("maps", "status", "contribution"),
    [(-SIGNED.abs(), "no positive evidence", -1.0), (SIGNED / 0, "not finite", None)],
)
def test_a_map_that_cannot_be_read_has_no_shares(maps: Tensor, status: str, contribution: float | None) -> None:
    table = of(maps, (2, 4)).by_region({"all": torch.ones(2, 4)})
    assert (table.status, table["all"].share, table.outside) == (status, None, None)
    assert table["all"].contribution == contribution


def test_the_table_goes_into_json_and_csv() -> None:
    table = replace(of(SIGNED, (2, 4)), classes=("=cat",)).by_region({"left": LEFT, "none": torch.zeros(2, 4)})
    told = json.loads(table.to_json())
    assert told["regions"][0]["share"] == 1.0
    assert told["regions"][1]["share"] is None
    lines = table.to_csv().splitlines()
    assert lines[0] == "method,label,name,positions,area,share,contribution,enrichment,removal"
    assert lines[1:] == ["m,'=cat,left,4,0.5,1.0,0.8,2.0,", "m,'=cat,none,0,0.0,,,,"]


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (torch.ones(4, 2, dtype=torch.int), r"the label map has the shape \(4, 2\) and the network's input \(2, 4\): "),
        ({"a": torch.ones(2, 5)}, r"the mask 'a' has the shape \(2, 5\) and the network's input \(2, 4\): "),
        ({"a": torch.full((2, 4), 0.5)}, "the mask 'a' has other values than 0 and 1: "),
        (torch.full((2, 4), 0.5), r"a label map of torch.float32: give whole numbers"),
        (torch.zeros(2, 4, dtype=torch.int), "the label map is 0 everywhere: "),
        ({}, r"no regions: give a mask for each under its name, \{'liver': mask\}, or a label map \(2, 4\)"),
        ([], r"no regions: give a mask for each under its name"),
        ([torch.ones(2, 4)], r"a list of 1 mask without names: give a mask for each under its name"),
        ([np.ones((2, 4)), np.ones((2, 4))], r"a list of 2 masks without names: give a mask for each under its name"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(masks: object, said: str) -> None:
    with pytest.raises(InputError, match=rf"^{said}") as refused:
        of(SIGNED, (2, 4)).by_region(masks)
    assert "\n" not in str(refused.value)


def test_what_is_not_there_is_told() -> None:
    explanation = of(SIGNED, (2, 4))
    with pytest.raises(InputError, match=r"^image 1, target 0: there are 1 and 1"):
        explanation.by_region(LEFT, image=1)
    with pytest.raises(ExplanationError, match=r"^no maps of 'n'"):
        explanation.by_region(LEFT, "n")
    with pytest.raises(InputError, match=r"^two labels have one name"):
        explanation.by_region(LEFT, names={1: "a", 2: "a"})
    with pytest.raises(InputError, match=r"^no region 'b' here: there are region 1$"):
        explanation.by_region(LEFT)["b"]


def test_removal_is_asked_of_regions_that_have_a_place() -> None:
    table = region_shares(
        SIGNED, (2, 4), {"left": LEFT, "none": torch.zeros(2, 4)}, removal=lambda mask: float(mask.sum())
    )
    assert [one.removal for one in table] == [4.0, None]


def test_superpixels_are_regions_whose_shares_add_up() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2)
    )
    x = torch.rand(1, 1, 16, 16)
    table = cfcam.explain(net.eval(), x, "hires-cam", layer="0").by_region(superpixels(x[0], 9, compactness=10))
    assert len(table) > 3
    assert sum(one.share or 0.0 for one in table) == pytest.approx(1)
    assert table.outside == 0.0
