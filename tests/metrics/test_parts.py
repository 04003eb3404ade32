"""Causal truth by parts: maps go, or do not, in the order of what the network loses with each part."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from cfcam.errors import InputError
from cfcam.metrics import Part, PartRemoval, Sample, evaluate
from cfcam.metrics.functional.parts import part_density, part_removal, part_removal_ceiling
from cfcam.metrics.scorecard.controls import CentredGaussian

NAN = math.nan


def strips(*widths: int) -> Tensor:
    """Returns parts (1, P, sum of widths) side by side."""
    edges = np.cumsum([0, *widths])
    parts = torch.zeros(1, len(widths), int(edges[-1]), dtype=torch.bool)
    for n, (low, high) in enumerate(pairwise(edges)):
        parts[0, n, low:high] = True
    return parts


def test_by_hand() -> None:
    """Densities 1, 4.5, 4 against falls 0.1, 0.4, 2: ranks 1 3 2 and 1 2 3, Spearman 1 - 6 * 2 / (3 * 8) = 0.5."""
    maps = torch.tensor([[1.0, 5.0, 4.0, 4.0]])
    parts = strips(1, 2, 1)
    torch.testing.assert_close(part_density(maps, parts), torch.tensor([[1.0, 4.5, 4.0]]))
    falls = torch.tensor([[0.1, 0.4, 2.0]])
    assert part_removal(maps, parts, falls).tolist() == [0.5]
    assert part_removal(maps, parts, -falls).tolist() == [-0.5]
    torch.testing.assert_close(part_removal(3 * maps + 1, parts, falls), part_removal(maps, parts, falls))


def test_a_coarse_grid_costs_what_it_blurs() -> None:
    """Falls 2, 0.1, 0.4 of strips of 1, 1 and 2 pixels; cells of two: means 1.05 and 0.4, so that 0.1 seems more."""
    parts, falls = strips(1, 1, 2), torch.tensor([[2.0, 0.1, 0.4]])
    assert part_removal_ceiling(parts, falls, [4]).tolist() == [1.0]
    assert part_removal_ceiling(parts, falls, [2]).tolist() == [0.5]
    assert part_removal_ceiling(parts, falls, [1]).tolist() == [0.0]  # one cell is the same everywhere


@pytest.mark.parametrize("size", [(40,), (20, 15), (8, 9, 10)])
def test_it_is_scipys_correlation_of_means_in_any_dimension(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 6, (3, *size), generator=generator)
    parts = torch.stack([labels == n for n in range(5)], 1)
    maps, falls = torch.randn(3, *size, generator=generator), torch.randn(3, 5, generator=generator)
    found = part_removal(maps, parts, falls)
    for n in range(3):
        means = [float(maps[n][parts[n, k]].mean()) for k in range(5)]
        assert float(found[n]) == pytest.approx(spearmanr(means, falls[n].numpy()).statistic, abs=1e-6)
    torch.testing.assert_close(part_removal_ceiling(parts, falls, size), torch.ones(3))
    assert (part_removal_ceiling(parts, falls, [2] * len(size)) < 1).any()


def test_what_has_no_order_and_what_cannot_be_asked() -> None:
    parts, falls = strips(1, 1, 2).expand(5, -1, -1), torch.tensor([[0.1, 2.0, 0.4]]).repeat(5, 1)
    maps = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0], [1, NAN, 1, 1], [1, 2, 3, 3], [1, 2, 3, 3]])
    falls[3] = 1.0  # nothing differs
    falls[4, 1:] = NAN  # one part alone
    torch.testing.assert_close(
        part_removal(maps, parts, falls), torch.tensor([0.0, NAN, NAN, NAN, NAN]), equal_nan=True
    )


def test_rounding_errors_have_no_order() -> None:
    parts, falls = strips(1, 1, 1), torch.tensor([[2.0, 0.5, 0.1]])
    exact, noisy = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1e-8, 3e-8]])
    assert torch.equal(part_removal(exact, parts, falls), part_removal(noisy, parts, falls))
    assert torch.equal(part_removal(exact, parts, falls), part_removal(exact, parts, falls + 1e-7))


def test_parts_that_an_image_has_not_do_not_count() -> None:
    maps = torch.tensor([[1.0, 5.0, 4.0, 9.0]])
    whole = part_removal(maps, strips(1, 1, 1, 1), torch.tensor([[0.1, 0.4, 2.0, NAN]]))
    empty = strips(1, 1, 1, 1)
    empty[0, 3] = False
    assert whole.tolist() == part_removal(maps, empty, torch.tensor([[0.1, 0.4, 2.0, 9.0]])).tolist() == [0.5]


def test_the_metric_averages_and_keeps_its_ceiling() -> None:
    metric = PartRemoval()
    parts, falls = strips(1, 1, 2), torch.tensor([[2.0, 0.1, 0.4]])
    metric.update(torch.tensor([[3.0, 1.0]]), parts, falls)
    metric.update(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), parts.expand(2, -1, -1), falls.expand(2, -1))
    assert (float(metric.compute()), float(metric.ceiling())) == (0.0, 0.5)
    assert (int(metric.assessed), int(metric.not_assessed)) == (2, 1)
    assert metric.higher_is_better


# --- in the scorecard -------------------------------------------------------------------------------------------------

BLOCKS = {"a": (slice(0, 4), slice(0, 4)), "b": (slice(0, 4), slice(4, 8)), "c": (slice(4, 8), slice(0, 8))}
WORTH = {"a": 3.0, "b": 1.0, "c": 2.0}


class _Flat(CentredGaussian):
    name = "flat"

    def __call__(self, capture: object) -> Tensor:
        return torch.ones_like(super().__call__(capture))


def adding() -> nn.Module:
    """A network whose first logit is four times the mean of its input."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    net[3].weight.data, net[3].bias.data = torch.tensor([[4.0], [-4.0]]), torch.tensor([1.0, 0.0])
    return net


def sample(name: str, *parts: str, seed: int = 0) -> Sample:
    """Returns a picture of blocks, and the same without some of them."""
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed)).tolist()
    worth = dict(zip(BLOCKS, [list(WORTH.values())[n] for n in order], strict=True))

    def without(left_out: str | None = None) -> Tensor:
        image = torch.zeros(1, 8, 8)
        for block, where in BLOCKS.items():
            image[0][where] = 0 if block == left_out else worth[block]
        return image

    def mask(block: str) -> Tensor:
        found = torch.zeros(8, 8, dtype=torch.bool)
        found[BLOCKS[block]] = True
        return found

    return Sample(without(), 0, name=name, parts=tuple(Part(p, mask(p), without(p)) for p in parts))


def test_a_map_of_what_each_place_adds_has_the_right_order_where_parts_are_of_one_size() -> None:
    samples = [sample(str(n), "a", "b", seed=n) for n in range(6)]
    card = evaluate(adding(), samples, {"cam": "cam", "flat": _Flat()}, ["part-removal", "part-removal-ceiling"],
                    controls=False, layer="0")  # fmt: skip
    of = {(line.method, line.metric): line.mean for line in card.summary()}
    assert of["cam", "part-removal"] == of["cam", "part-removal-ceiling"] == 1
    assert of["flat", "part-removal"] == 0
    falls = card.rows[0].extra["falls"]
    for block, fall in falls.items():  # 16 of 64 places: a quarter of four times its value
        assert fall == pytest.approx(float(samples[0].image[0][BLOCKS[block]].mean()))
    assert set(falls) == {"a", "b"}


def test_falls_are_of_the_logit_and_images_may_have_any_number_of_parts() -> None:
    samples = [sample("three", "a", "b", "c"), sample("two", "a", "c"), sample("none")]
    net = adding()
    card = evaluate(net, samples, "cam", "part-removal", controls=False, layer="0", passes_at_once=2)
    values = [row.values.get("part-removal") for row in card.rows]
    assert values[2] is None
    assert card.rows[2].extra["falls"] == {}
    for one, row in zip(samples[:2], card.rows, strict=False):
        for part in one.parts:
            fall = (net(one.image[None])[0, 0] - net(part.without[None])[0, 0]).item()
            assert row.extra["falls"][part.name] == pytest.approx(fall, abs=1e-5)
    alone = evaluate(net, samples[1:2], "cam", "part-removal", controls=False, layer="0")
    assert alone.rows[0].values == card.rows[1].values


def test_chance_earns_nothing() -> None:
    samples = [sample(f"{n}", "a", "b", seed=n) for n in range(60)]
    for n, one in enumerate(samples):
        one.image[0, 7, 7] += n  # noise is drawn from the picture
    card = evaluate(adding(), samples, "cam", "part-removal", layer="0")
    of = {line.method: line.mean for line in card.summary()}
    assert abs(of["random"]) < 0.35  # 60 times -1 or 1: a standard error of 0.13
    assert of["cam"] > 0.9


def test_arguments_that_do_not_fit_are_named() -> None:
    parts, falls = strips(2, 2), torch.ones(1, 2)
    with pytest.raises(InputError, match=r"give bool \(B, P, \*spatial\) and one number for each part"):
        part_removal(torch.rand(1, 4), parts, torch.ones(1, 3))
    with pytest.raises(InputError, match=r"give floats \(B, \*cells\)"):
        part_removal(torch.rand(2, 4), parts, falls)
    with pytest.raises(InputError, match="falls by an infinite number"):
        part_removal(torch.rand(1, 4), parts, torch.tensor([[torch.inf, 1.0]]))
    with pytest.raises(InputError, match=r"a grid of \(9,\) cells for parts of \(4,\)"):
        part_removal_ceiling(parts, falls, [9])
    with pytest.raises(InputError, match=r"give \(B, \*spatial\) and bool"):
        part_density(torch.rand(1, 5), parts)
    with pytest.raises(InputError, match="part 'a' has a mask"):
        Sample(torch.zeros(1, 8, 8), parts=(Part("a", torch.zeros(4, 4, dtype=torch.bool), torch.zeros(1, 8, 8)),))
    with pytest.raises(InputError, match=r"a grid of \(2.5,\) cells for parts of \(4,\)"):
        part_removal_ceiling(strips(2, 2), torch.rand(1, 2), [2.5])
    with pytest.raises(InputError, match=r"of torch\.bool with falls"):
        part_removal(torch.rand(1, 4), strips(2, 2), torch.ones(1, 2, dtype=torch.complex64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.float64])
def test_falls_have_their_order_in_any_precision(dtype: torch.dtype) -> None:
    """In half precision the largest, in steps of a hundred-thousandth, would be infinite."""
    falls = torch.tensor([[1, 2, 3, 4]]).to(dtype)
    assert part_removal(torch.tensor([[1.0, 2, 3, 4]]), strips(1, 1, 1, 1), falls).tolist() == [1]
    assert part_removal_ceiling(strips(1, 1, 1, 1), falls, [4]).tolist() == [1]
