"""What is 0 in exact arithmetic is no map: not of means, not of scores, and no sign hangs on it."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import cfcam
from cfcam.methods import (
    CFCAM,
    KPCACAM,
    SESS,
    SSCAM,
    AblationCAM,
    ExpectedGradCAM,
    GradCAM,
    GuidedFilter,
    Method,
    Occlusion,
    ReciproCAM,
    ScoreCAM,
    ShapleyCAM,
    WinsorCAM,
)
from cfcam.metrics.functional.similarity import pearson
from tests.networks import FlattenNet, GapNet, rescale

EMPTY = "no positive evidence"


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def normalised(axes: int) -> nn.Module:
    """A network whose first convolution has its means taken away by what follows it, and its second has not."""
    torch.manual_seed(0)
    conv, norm, pool = (
        [nn.Conv1d, nn.InstanceNorm1d, nn.AdaptiveAvgPool1d],
        [nn.Conv2d, nn.InstanceNorm2d, nn.AdaptiveAvgPool2d],
        [nn.Conv3d, nn.InstanceNorm3d, nn.AdaptiveAvgPool3d],
    )[axes - 1]
    layers = [conv(2, 6, 3, padding=1), norm(6), nn.ReLU(), conv(6, 6, 3), nn.ReLU(), pool(1)]
    return nn.Sequential(*cast("list[nn.Module]", layers), nn.Flatten(), nn.Linear(6, 3)).eval()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("method", [GradCAM(), ShapleyCAM(), ExpectedGradCAM(samples=2)], ids=lambda m: m.name)
def test_gradients_that_average_to_nothing_give_an_empty_map_and_that_is_said(method: Method, axes: int) -> None:
    """d score / d (a constant added to a channel) is 0 before an instance norm, whatever the picture."""
    x = seeded(2, 2, *[9] * axes)
    found = cfcam.explain(normalised(axes), x, method, targets=[0, 2], layer="0")
    assert not found.maps[method.name].any()
    assert {status for row in found.status[method.name] for status in row} == {EMPTY}
    assert any("layer '0' average to 0" in note for note in found.provenance["notes"])
    behind = cfcam.explain(normalised(axes), x, method, targets=[0, 2], layer="2")
    assert bool(behind.maps[method.name].flatten(2).any(2).all())
    assert "notes" not in behind.provenance


@pytest.mark.parametrize(
    "method",
    [
        CFCAM(filter=None),
        CFCAM(shrinkage=0.0),
        CFCAM(filter=None, shrinkage=1.0, clustering="dbscan", outliers="keep"),
        CFCAM(filter=GuidedFilter(regularization=0.0)),  # which leaves everything as it is
        CFCAM(filter=None, views=2),
        CFCAM(filter=None, layers=("0",)),
        CFCAM(filter=None, evidence=True),
    ],
    ids=str,
)
def test_means_of_clusters_are_nothing_either(method: CFCAM) -> None:
    """Whose filter changes no mean; that of a filter that does is a map, and the same in all precisions."""
    x = seeded(2, 2, 9, 9)
    found = cfcam.explain(normalised(2), x, {"it": method}, targets=[0, 2], layer="0")
    assert not found.maps["it"].any()
    assert any("layer '0' average to 0" in note for note in found.provenance["notes"])
    filtered = [
        cfcam.explain(normalised(2).to(dtype), x.to(dtype), CFCAM(), targets=[0, 2], layer="0")
        for dtype in (torch.float32, torch.float64)
    ]
    single, double = (one.maps["cf-cam"].double() for one in filtered)
    torch.testing.assert_close(single, double, atol=1e-5 * float(double.max()), rtol=1e-3)
    assert single.any()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_gradients_times_activations_add_up_to_nothing_before_a_norm_of_large_activations(scale: float) -> None:
    """Its epsilon alone keeps the sums from 0. Beside activations a hundred times as large, it was all rounding."""
    network, x = normalised(2), seeded(2, 2, 9, 9)
    with torch.no_grad():
        network[0].weight.mul_(scale)  # type: ignore[index]
    found = cfcam.explain(network, x, "xgrad-cam", targets=[0, 2], layer="0")
    double = cfcam.explain(network.double(), x.double(), "xgrad-cam", targets=[0, 2], layer="0").maps["xgrad-cam"]
    if scale > 1:
        assert not found.maps["xgrad-cam"].any()
        assert any("layer '0' average to 0" in note for note in found.provenance["notes"])
    else:
        single = found.maps["xgrad-cam"].double()
        torch.testing.assert_close(single, double, atol=0.01 * float(double.max()), rtol=0.01)


def test_gradients_times_activations_add_up_to_nothing_at_each_place_before_a_layer_norm() -> None:
    """It takes their size away, so that no step along them changes a score: hires-cam drew the rounding."""

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.norm, self.head = nn.Conv2d(2, 6, 3), nn.LayerNorm(6), nn.Linear(6, 3)
            nn.init.normal_(self.body.weight, std=30)  # beside the epsilon of the norm

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.body(x).movedim(1, -1)).movedim(-1, 1).relu().mean((2, 3)))

    network, x = Normalised().eval(), seeded(2, 2, 9, 9)
    before = cfcam.explain(network, x, "hires-cam", targets=[0, 2], layer="body")
    assert not before.maps["hires-cam"].any()
    assert any("layer 'body' times its activations add up to 0" in note for note in before.provenance["notes"])
    behind = cfcam.explain(network, x, "hires-cam", targets=[0, 2], layer="norm")
    assert behind.maps["hires-cam"].abs().amax((2, 3)).min() > 0
    assert not any("add up to 0" in note for note in behind.provenance.get("notes", ()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_same_holds_in_other_precisions(dtype: torch.dtype) -> None:
    network, x = normalised(2).to(dtype), seeded(2, 2, 9, 9).to(dtype)
    assert not cfcam.explain(network, x, "grad-cam", layer="0").maps["grad-cam"].any()
    assert cfcam.explain(network, x, "grad-cam", layer="2").maps["grad-cam"].any()


def test_one_image_alone_is_emptied_and_named() -> None:
    """The other one's score goes around the normalisation."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            seen = self.body(x)
            around = (x.flatten(1).mean(1) > 0).to(x.dtype)[:, None, None, None]
            return self.head((around * seen + (1 - around) * self.norm(seen)).relu().mean((2, 3)))

    x = seeded(1, 1, 8, 8)
    both = torch.cat([x - x.mean() - 1, x - x.mean() + 1])
    found = cfcam.explain(Around().eval(), both, "grad-cam", targets=[0, 1], layer="body")
    assert not found.maps["grad-cam"][0].any()
    assert found.maps["grad-cam"][1].any()
    assert [note[-9:] for note in found.provenance["notes"]] == ["(image 0)"]


def test_a_layer_whose_channels_cancel_counts_for_nothing_in_winsor_cam() -> None:
    """Before a norm over all channels and places, what all of them add together does not show: importance 0."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.SiLU(), nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(1, 6), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip
    x = seeded(3, 3, 10, 12)
    every, first = (
        cfcam.explain(network, x, WinsorCAM(layers=layers), targets=[0, 1, 2, 3]).maps["winsor-cam"]
        for layers in (("0", "2"), ("0",))
    )
    torch.testing.assert_close(every, first)
    assert every.any()


class LastDigits(nn.Module):
    """Scores that depend on no place, but for their last digits on the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.scores = nn.Conv2d(1, 4, 3, padding=1), nn.Parameter(torch.tensor([0.7, -1.3, 2.1]))

    def forward(self, x: Tensor) -> Tensor:
        nothing = self.body(x).relu().mean((1, 2, 3))[:, None] * 0
        return nothing + self.scores * (1 + 3 * 2.0**-23 * (torch.arange(len(x))[:, None] % 2))


@pytest.mark.parametrize(
    "method",
    [
        AblationCAM(),
        Occlusion(),
        Occlusion(score="logit"),
        ReciproCAM(),
        ReciproCAM(zero="masked"),
        ScoreCAM(),
        SSCAM(samples=2),
    ],
    ids=lambda m: m.name,
)
def test_last_digits_of_scores_are_no_map(method: Method) -> None:
    found = cfcam.explain(LastDigits().eval(), seeded(2, 1, 6, 6), method, targets=[0, 1, 2], layer="body")
    assert not found.maps[method.name].any()
    assert {status for row in found.status[method.name] for status in row} == {EMPTY}


@pytest.mark.parametrize(
    ("pooled", "method"),
    [
        (True, ReciproCAM("logit")),
        (False, ReciproCAM("logit")),
        (False, Occlusion(score="logit")),
        (False, AblationCAM()),
    ],
    ids=str,
)
def test_small_changes_of_large_logits_are_a_map(method: Method, *, pooled: bool) -> None:
    """One of 900 places moves a logit of 100 by a thousandth: what a logit is rounded by was taken times the logit."""
    torch.manual_seed(0)
    network = rescale(GapNet(channels=16) if pooled else FlattenNet(size=(60, 60))).eval()
    with torch.no_grad():
        network.classifier.weight.mul_(0.1)
        network.classifier.bias.copy_(torch.tensor([100.0, 100.0, 50.0, 0.0]))
    x = seeded(2, 3, 60, 60)
    found, exact = (
        cfcam.explain(network.to(dtype), x.to(dtype), method, targets=[0, 1], layer="features")
        for dtype in (torch.float32, torch.float64)
    )
    assert (found.status[method.name] == exact.status[method.name]).all()
    assert set(exact.status[method.name].flatten()) == {"ok"}
    single, double = (one.maps[method.name].double().flatten(0, 1) for one in (found, exact))
    assert pearson(single, double).min() > 0.99


class HalfDigits(LastDigits):
    """The same with steps of half precision: each second row is a step higher."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        steps = 1 + torch.finfo(x.dtype).eps * (torch.arange(len(x))[:, None] % 2)
        return (self.body(x).relu().mean((1, 2, 3))[:, None] * 0 + self.scores * steps.to(x.dtype)).to(x.dtype)


COARSE = "scores change by no more than a few steps of half precision, "


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "method",
    [AblationCAM(), Occlusion(), Occlusion(score="logit"), ReciproCAM(), ReciproCAM(zero="masked"), ScoreCAM()],
    ids=lambda m: m.name,
)
def test_steps_of_half_precision_that_come_without_any_change_are_no_map(method: Method, dtype: torch.dtype) -> None:
    x = seeded(2, 1, 6, 6).to(dtype)
    found = cfcam.explain(HalfDigits(dtype).eval(), x, method, targets=[0, 1, 2], layer="body")
    assert not found.maps[method.name].any()
    if isinstance(method, (Occlusion, ScoreCAM)):  # rows of a layer that differ are taken for mixed: they run alone
        assert any(note.startswith(f"{COARSE}and as much without any change") for note in found.provenance["notes"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", [AblationCAM(), Occlusion(score="logit"), ReciproCAM("logit")], ids=lambda m: m.name)
def test_a_few_steps_of_half_precision_that_follow_the_picture_are_a_map_and_that_it_is_coarse_is_said(
    method: Method, dtype: torch.dtype
) -> None:
    """Against float32: a hundredth of the usual changes still goes with it, by a few steps of 1/256 in bfloat16."""
    torch.manual_seed(1)
    network = rescale(FlattenNet()).eval()
    with torch.no_grad():
        network.classifier.weight.mul_(0.01)
    x = seeded(3, 3, 14, 10)
    exact = cfcam.explain(network, x, method, targets=[0, 2], layer="features").maps[method.name].flatten(0, 1)
    found = cfcam.explain(network.to(dtype), x.to(dtype), method, targets=[0, 2], layer="features")
    alike = pearson(found.maps[method.name].flatten(0, 1).float(), exact)
    assert alike.isnan().sum() <= 2  # of some maps no value is positive
    assert alike.nan_to_num(1).min() > 0.4
    assert any(note.startswith(f"{COARSE}so that the map is coarse") for note in found.provenance["notes"])


def test_no_sign_hangs_on_the_last_digits_of_a_mean() -> None:
    """Behind a layer norm the mean over channels is 0; in another order of the channels it rounds otherwise."""

    class Tokens(nn.Module):
        def __init__(self, order: Tensor) -> None:
            super().__init__()
            self.order, self.norm, self.head = order, nn.LayerNorm(7), nn.Linear(7, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(x.flatten(2).mT[..., self.order]).mean(1))

    x = seeded(24, 7, 4, 5)
    orders = [torch.arange(7), torch.arange(6, -1, -1), torch.tensor([3, 5, 0, 6, 1, 4, 2])]
    maps = [cfcam.explain(Tokens(order).eval(), x, KPCACAM(), layer="norm").maps["kpca-cam"] for order in orders]
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], atol=1e-5, rtol=1e-4)


def test_sess_does_not_count_places_that_a_window_shows_by_rounding_only() -> None:
    """Where a window's map is 0, interpolation leaves some 1e-6 of its peak: in double precision much less."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(12, 3),
    ).eval()  # fmt: skip
    x = seeded(2, 3, 97, 130)
    single = cfcam.explain(network, x, SESS(GradCAM()), targets=[0, 1, 2]).maps["grad-cam-sess"]
    double = cfcam.explain(copy.deepcopy(network).double(), x.double(), SESS(GradCAM()), targets=[0, 1, 2])
    torch.testing.assert_close(single.double(), double.maps["grad-cam-sess"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("method", ["cam", "ablation-cam", "recipro-cam"])
def test_reading_weights_moves_no_spectral_norm_that_trains(method: str) -> None:
    torch.manual_seed(0)
    head = parametrizations.spectral_norm(nn.Linear(4, 3))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).train()
    before = copy.deepcopy(network.state_dict())
    cfcam.explain(network, seeded(2, 1, 8, 8), method, targets=[0, 1], layer="1")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
