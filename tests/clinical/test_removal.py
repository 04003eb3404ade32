"""How far the score falls without a region, by hand: a network that sums two channels, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cfcam
from cfcam.clinical.checks.interventions import remove_artefact
from cfcam.clinical.removal import Removal
from cfcam.errors import InputError
from cfcam.explainer_windows import Windows, explain_windows
from cfcam.metrics.functional.imputation import noisy_linear_imputation
from tests.networks import CONV


class Sums(nn.Module):
    """Logit 0 is the sum of the first channel, logit 1 that of the second less the first."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.layer = CONV[axes](2, 2, 1, bias=False)
        self.layer.weight.data = torch.eye(2)[(..., *[None] * axes)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.layer(x).flatten(2).sum(2).unbind(1)
        return torch.stack([first, second - first], 1)


def spot(axes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An even picture of ones, a spot of 5 in its first channel, and its mask."""
    x, mask = torch.ones(1, 2, *[4] * axes), torch.zeros([4] * axes, dtype=torch.bool)
    mask[(1,) * axes] = True
    x[0, 0][mask] = 5.0
    return x, mask


@pytest.mark.parametrize("axes", [2, 3])
def test_the_score_falls_by_what_the_spot_is_above_its_surroundings(axes: int) -> None:
    x, mask = spot(axes)
    explainer = cfcam.Explainer(Sums(axes).eval(), "hires-cam", layer="layer")
    explanation = explainer(x, [0, 1])
    for target, fall in ((0, 4.0), (1, -4.0)):  # 5 becomes 1, the value around it
        removal = Removal(explainer, x, [0, 1], target=target)
        table = explanation.by_region({"spot": mask, "all": torch.ones_like(mask)}, target=target, removal=removal)
        assert table["spot"].removal == pytest.approx(fall, abs=1e-4)
        assert table["all"].removal is None  # nothing is left to fill it from


def test_the_class_stays_the_predicted_one_of_the_untouched_image() -> None:
    x, mask = spot(2)
    x[0, 0] *= 0.01
    x[0, 0][mask] = 20.0  # class 0 is predicted only because of the spot
    removal = Removal(cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer"), x)
    assert removal(mask) == pytest.approx(20 - 0.01, abs=1e-3)
    assert removal(torch.zeros_like(mask)) is None


def test_another_image_or_target_is_refused() -> None:
    x, _ = spot(2)
    explainer = cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer")
    with pytest.raises(InputError, match=r"^x holds 2 images"):
        Removal(explainer, torch.cat([x, x]), 0)
    with pytest.raises(InputError, match=r"^target 1: there are 1"):
        Removal(explainer, x, 0, target=1)


def test_a_region_of_another_shape_is_refused() -> None:
    x, mask = spot(2)
    removal = Removal(cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer"), x, 0)
    for wrong in (mask[:3], mask.float(), mask[None]):
        with pytest.raises(InputError, match=r"^a region .* give bool"):
            removal(wrong)


def row(*bright: tuple[int, float], width: int = 8) -> torch.Tensor:
    """An even picture of ones, 4 high, and bright spots in its second row."""
    x = torch.ones(1, 2, 4, width)
    for column, value in bright:
        x[0, 0, 1, column] = value
    return x


def at(column: int, width: int = 8) -> torch.Tensor:
    mask = torch.zeros(4, width, dtype=torch.bool)
    mask[1, column] = True
    return mask


def test_of_windows_the_mean_falls_by_what_those_that_see_the_spot_fall_and_no_other_is_run() -> None:
    network, x = Sums(2).eval(), row((1, 5.0), (3, 7.0))
    explainer, passes = cfcam.Explainer(network, "hires-cam", layer="layer"), list[int]()
    for overlap, once, twice in ((0.0, 4 / 2, 6 / 2), (0.5, 4 / 3, 2 * 6 / 3)):  # windows at 0, 4 and at 0, 2, 4
        removal = Removal(explainer, x, [0, 1], windows=Windows(4, overlap))
        removal(at(3))  # the first time, another pass tries its kernels
        passes.clear()
        with network.register_forward_hook(lambda *_: passes.append(1)):
            falls = removal.of_regions({"once": at(1), "twice": at(3), "nothing": at(0) & at(1)})
        assert falls["once"] == pytest.approx([once, -once], abs=1e-4)
        assert falls["twice"] == pytest.approx([twice, -twice], abs=1e-4)
        assert falls["nothing"] == [None, None]
        assert len(passes) == (3 if overlap == 0 else 5)  # each window that sees a spot, and again without each of them


def test_of_windows_the_max_falls_only_as_far_as_the_next_window() -> None:
    x = row((1, 5.0), (6, 9.0))  # windows at 0 and 4 sum to 20 and 24
    explainer = cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer")
    for target in (0, torch.tensor([[0]])):
        removal = Removal(explainer, x, target, windows=Windows(4, 0.0, "max"))
        assert removal(at(1)) == pytest.approx(0, abs=1e-4)  # 24 stays
        assert removal(at(6)) == pytest.approx(4, abs=1e-4)  # 20 is left
        assert removal(at(1) | at(6)) == pytest.approx(8, abs=1e-4)  # 16 is left


class Places(nn.Module):
    """Three classes at each place: the two channels less what the whole window shows on average, and their product."""

    def __init__(self, axes: int, *, share: float, step: int = 1) -> None:
        super().__init__()
        self.layer = CONV[axes](2, 2, step, stride=step, bias=False)
        nn.init.constant_(self.layer.weight, 1 / step**axes)
        self.layer.weight.data[0, 1], self.layer.weight.data[1, 0] = 0.0, 0.0
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        y = y - self.share * y.flatten(2).mean(2)[(..., *[None] * (y.ndim - 2))]
        return torch.cat([y[:, :1] * y[:, 1:], y], 1)


@pytest.mark.parametrize("weight", ["gaussian", "hann", "constant"])
def test_a_class_at_places_falls_as_in_the_whole_image_if_the_network_sees_no_farther_than_a_place(weight: str) -> None:
    x = torch.rand(1, 2, 6, 10, 8, generator=torch.Generator().manual_seed(0))
    places, mask = torch.zeros(6, 10, 8), torch.zeros(6, 10, 8, dtype=torch.bool)
    places[2:5, 3:9, 1:7], mask[1:4, 4:6, 2:5] = 1.0, True
    asked = [1, cfcam.Segmentation(2, places), cfcam.Segmentation(0, places, reduction="mean")]
    explainer = cfcam.Explainer(Places(3, share=0.0).eval(), "hires-cam", layer="layer")
    whole = Removal(explainer, x, asked).falls(mask)
    assert all(abs(fall) > 1e-3 for fall in whole)
    in_windows = Removal(explainer, x, asked, windows=Windows((4, 4, 8)), weight=weight).falls(mask)
    assert in_windows == pytest.approx(whole, rel=1e-4, abs=1e-4)


def filled(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return noisy_linear_imputation(x, ~mask[None], noise=0.0)


@pytest.mark.parametrize(("size", "step"), [((4, 6), 1), ((4, 6), 2), ((6, 11), 2)])
@pytest.mark.parametrize("overlap", [0.0, 0.6])
def test_the_fall_is_what_an_explanation_of_the_filled_image_at_the_same_places_is_less(
    size: tuple[int, int], step: int, overlap: float
) -> None:
    """Brute force: all windows again, for the places of the untouched image. The last window reaches beyond it."""
    x = torch.rand(1, 2, 11, 13, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(11, 13, dtype=torch.bool)
    mask[6:, 8:] = True
    explainer = cfcam.Explainer(Places(2, share=0.7, step=step).eval(), "hires-cam", layer="layer")
    size = tuple(min(side, most) // step * step for side, most in zip(size, x.shape[2:], strict=True))
    e = explain_windows(explainer, x, size, overlap, [1, 2])
    predicted = e.logits[0].argmax(0)
    again = [cfcam.Segmentation(c, predicted == c) for c in (1, 2)]
    falls = Removal(explainer, x, [1, 2], windows=Windows(size, overlap)).falls(mask)
    by_image = Removal(explainer, x, torch.tensor([[1, 2]]), windows=Windows(size, overlap))
    assert by_image.falls(mask) == falls
    less = e.scores - explain_windows(explainer, filled(x, mask), size, overlap, again).scores
    assert falls == pytest.approx(less[0].tolist(), rel=1e-3, abs=1e-3)
    assert max(map(abs, falls)) > 0.1


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_a_network_of_classes_falls_by_what_all_windows_say_again(aggregate: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)]
    x = torch.rand(1, 1, 6, 9, 12)
    masks = {"left": torch.zeros(6, 9, 12, dtype=torch.bool), "right": torch.zeros(6, 9, 12, dtype=torch.bool)}
    masks["left"][1:5, 2:6, 1:4], masks["right"][:, :, 8:] = True, True
    explainer = cfcam.Explainer(nn.Sequential(*layers).eval(), "hires-cam", layer="0")
    e = explain_windows(explainer, x, (4, 9, 5), 0.5, "top-2", aggregate=aggregate)
    removal = Removal(explainer, x, ["top-2", "0 vs 1"], windows=Windows((4, 9, 5), 0.5, aggregate))
    falls = removal.of_regions(masks)
    for name, mask in masks.items():
        asked = [*e.targets[0].tolist(), "0 vs 1"]
        pair = [explain_windows(explainer, y, (4, 9, 5), 0.5, asked, aggregate=aggregate) for y in (x, filled(x, mask))]
        assert falls[name] == pytest.approx((pair[0].scores - pair[1].scores)[0].tolist(), rel=1e-3, abs=1e-5)
    by_image = Removal(explainer, x, e.targets, windows=Windows((4, 9, 5), 0.5, aggregate)).of_regions(masks)
    for name, found in by_image.items():
        assert found == pytest.approx(falls[name][:2])


def test_where_one_window_holds_the_image_it_is_asked_as_a_whole() -> None:
    x, mask = torch.rand(1, 2, 6, 5), torch.zeros(6, 5, dtype=torch.bool)
    mask[2:4, 1:3] = True
    explainer = cfcam.Explainer(Places(2, share=0.5).eval(), "hires-cam", layer="layer")
    for size in (6, (8, 5)):
        assert Removal(explainer, x, [1, 2], windows=Windows(size)).falls(mask) == Removal(explainer, x, [1, 2]).falls(
            mask
        )
    with pytest.raises(InputError, match=r"^window \(4,\) for an input with 2 spatial axes"):
        Removal(explainer, x, 1, windows=Windows((4,)))
    with pytest.raises(InputError, match=r"^target 2: there are 2"):
        Removal(explainer, x, [1, 2], target=2, windows=Windows(4))


def test_what_is_filled_in_does_not_depend_on_the_picture_far_around() -> None:
    x, mask = torch.rand(1, 2, 30, 40), torch.zeros(30, 40, dtype=torch.bool)
    mask[10:16, :7] = True
    explainer = cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer")
    for inpaint, rim in (("linear", 0.0), ("linear", 1.5), ("biharmonic", 1.0)):
        changed = remove_artefact(x, mask, inpaint, rim)
        fall = Removal(explainer, x, 0, inpaint=inpaint, rim=rim)(mask)
        assert fall == pytest.approx(float((x - changed)[0, 0].sum()), abs=2e-2)
