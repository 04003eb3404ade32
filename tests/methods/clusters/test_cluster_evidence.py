"""Masked passes end when those left are not expected to move the map; the update itself is in test_oracles.py."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import cfcam
from cfcam.capture.kernels import PackedKernels
from cfcam.errors import MethodError
from cfcam.methods import CFCAM
from cfcam.methods.clusters.cluster_evidence import ROUND, Posterior, error_variance
from cfcam.methods.scored.score_cam import blurred
from tests import oracles
from tests.networks import GapNet, redundant, rescale

GROUPS = 12


class Counted(nn.Module):
    """A network whose inputs are counted, in the class: what a network keeps itself is as before after a map."""

    seen: ClassVar[int] = 0

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        Counted.seen += len(x)
        return self.net(x)


class Blind(nn.Module):
    """Its logits do not depend on the picture, but the layer has channels alight in eight places."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(8, 8, 1, bias=False)
        nn.init.dirac_(self.features.weight)

    def forward(self, x: Tensor) -> Tensor:
        return 0 * self.features(x).mean((2, 3))


def trained(seed: int = 1) -> GapNet:
    torch.manual_seed(seed)
    return redundant(rescale(GapNet(channels=24).double().eval()), groups=9)


def passes(
    net: nn.Module, x: Tensor, tolerance: float, targets: object = 1, groups: int = GROUPS
) -> tuple[int, Tensor]:
    """Returns how many inputs the network saw for masks, with those of the whole and of nothing, and the maps."""
    counts = []
    for method in (CFCAM(groups=groups), CFCAM(groups=groups, evidence=True, doubt=5.0, tolerance=tolerance)):
        before = Counted.seen
        maps = cfcam.explain(Counted(net), x, {"it": method}, targets=targets, layer="net.features").maps["it"]
        counts.append(Counted.seen - before)
    return counts[1] - counts[0], maps


def by_hand(net: GapNet, x: Tensor, shown: int) -> np.ndarray:
    """The map of class 1 from the largest masks alone, by explicit inverses."""
    A = net.features(x).detach()
    leaf = A.clone().requires_grad_()
    net.tail(leaf)[0, 1].backward()
    prior, labels = oracles.cf_cam_shrunk(A[0].numpy(), leaf.grad[0].numpy(), groups=GROUPS, signed=True)
    masks = oracles.group_masks(A[0].numpy(), labels, GROUPS)
    masks = sorted(masks, key=lambda mask: -mask.sum())[:shown]
    hidden = blurred(blurred(blurred(x)))

    def odds(picture: Tensor) -> float:
        with torch.no_grad():
            return float(net(picture).softmax(1)[0, 1].logit())

    rows, y = [np.ones(prior.size)], [odds(x) - odds(hidden)]
    for mask in masks:
        up = interpolate(torch.from_numpy(mask)[None, None], x.shape[2:], mode="bilinear", align_corners=False)
        rows += [mask.ravel()] * 2
        y += [odds(up * x + (1 - up) * hidden) - odds(hidden), odds(x) - odds((1 - up) * x + up * hidden)]
    return oracles.posterior(prior, np.array(rows), np.array(y), 5.0)


@pytest.mark.parametrize(("tolerance", "shown"), [(100.0, ROUND), (0.0, GROUPS), (1e-12, GROUPS)])
def test_a_map_is_that_of_the_masks_shown_the_largest_first(tolerance: float, shown: int) -> None:
    net, x = trained(), torch.randn(1, 3, 14, 10, dtype=torch.float64)
    count, maps = passes(net, x, tolerance)
    assert count == 2 + 2 * shown + 3  # rows alone, once a network: whether it mixes a batch
    expected = by_hand(net, x, shown)
    assert np.abs(maps[0, 0].numpy() - expected).max() <= 1e-4 * expected.max()


def test_a_network_that_does_not_look_is_shown_one_round() -> None:
    """No answer differs from another, and the gradient is 0: nothing is left that could move the map."""
    x = torch.eye(8, dtype=torch.float64).reshape(1, 8, 2, 4)
    count, maps = passes(Blind().double(), x, 1e-9, groups=8)
    assert count == 2 + 2 * ROUND + 3
    assert not maps.any()


def test_images_and_targets_stop_for_themselves() -> None:
    """What an image's map is made of does not depend on the images and the classes beside it."""
    net, x, tolerance = trained(2), torch.randn(6, 3, 14, 10, dtype=torch.float64), 0.02
    weight = net.classifier.weight.data  # two classes that half of the channels speak for, so that answers fit the maps
    weight[:2] = weight[:2].abs() * (torch.arange(24) % 2 == torch.arange(2)[:, None])
    weight[2:] = 0
    alone = [[passes(net, one, tolerance, targets=k) for k in (0, 1)] for one in x.split(1)]
    counts = torch.tensor([[count for count, _ in row] for row in alone])
    assert len(counts.unique()) > 1  # some stop early, and not all at once
    together, maps = passes(net, x, tolerance, targets=[0, 1])
    # An image's passes serve all of its classes; whether the network mixes a batch takes two more rows, or three.
    assert together == int((counts.amax(1) - 3).sum()) + 2
    for n, row in enumerate(alone):
        for k, (_, one) in enumerate(row):
            assert torch.allclose(maps[n, k], one[0, 0], rtol=1e-6, atol=1e-9)


def test_the_expected_movement_by_hand() -> None:
    """Two places with prior variances 1 and 3 and a mask each, none shown: the gains are 1/2 and 3/4.

    Answers scatter by 1 + 2/2 and 3 + 2/2, so the squares of the movements are 1/2 and 9/4; the map (3, 1) has 2
    about its mean.
    """
    design = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    spread = design * torch.tensor([1.0, 3.0])
    two = torch.full((1, 1, 1), 2.0, dtype=torch.float64)
    found = Posterior(
        maps=torch.tensor([[[3.0, 1.0]]], dtype=torch.float64),
        prior=torch.ones(1, 1, 2, dtype=torch.float64),
        design=design[None, None],
        known=torch.zeros(1, 1, 5, dtype=torch.float64),
        spread=spread[None, None],
        gram=(spread @ design.T)[None, None],
        covariance=2 * torch.eye(5, dtype=torch.float64)[None, None],
        residual=two,
        noise=two,
        fits=torch.tensor([[True]]),
    )
    movement = {left: found.movement(torch.tensor([[left]])).item() for left in ((True, True), (False, True))}
    assert movement[True, True] == pytest.approx((1 / 2 + 9 / 4) / 2 / 2)
    assert movement[False, True] == pytest.approx(9 / 4 / 2 / 2)
    assert found.movement(torch.tensor([[(False, False)]])).item() == 0


def test_the_expected_movement_is_that_of_answers_drawn_from_the_model() -> None:
    generator = np.random.default_rng(0)
    H, prior, y = generator.random((4, 6)), generator.normal(size=6) + 1, generator.normal(size=9) + 2
    known = torch.tensor([[[True, False, True, False]]])
    found = Posterior.of(
        torch.from_numpy(prior)[None, None],
        torch.from_numpy(H)[None],
        torch.from_numpy(y)[None, None],
        known,
        doubt=3.0,
    )
    noise, residual = found.noise.item(), found.residual.item()
    V = np.diag(found.spread[0, 0, -1].numpy())  # the whole sees each place as it is
    seen, rest = np.vstack([H[[0, 2, 0, 2]], np.ones(6)]), H[[1, 3, 1, 3]]
    before = np.linalg.inv(V) + seen.T @ seen / noise  # precision of the map so far
    after = before + rest.T @ rest / noise
    center = found.maps[0, 0].numpy()
    truth = generator.multivariate_normal(center, np.linalg.inv(before), size=40_000)
    answers = truth @ rest.T + generator.normal(size=(40_000, 4)) * residual**0.5
    maps = np.linalg.solve(after, (before @ center)[:, None] + rest.T @ answers.T / noise).T
    moved = np.square(maps - center).sum(1).mean()
    shown = np.maximum(center, 0)
    expected = moved / np.square(shown - shown.mean()).sum() / 2
    assert found.movement(~known).item() == pytest.approx(expected, rel=0.03)


def test_what_rounding_costs_is_what_it_takes_from_the_correlation() -> None:
    """Each pass's score is moved a little for itself, and the maps compared; the noise stays as it was taken."""
    generator, groups = np.random.default_rng(0), 4
    H, prior = generator.random((groups, 6)), generator.normal(size=6) + 0.5
    used = np.array([True, True, False, True])
    H[2] = 0
    brought, whole = 2 * H @ prior, 2 * prior.sum()
    scores = np.array([0, whole, *brought, *(whole - brought)])  # of nothing and the whole, then alone and without
    scores += generator.normal(size=len(scores)) / 10
    design = np.vstack([H, H, np.ones(6)])[[*used, *used, True]]

    def answers(scores: np.ndarray) -> np.ndarray:
        nothing, whole = scores[:2]
        return np.array([*(scores[2 : 2 + groups] - nothing), *(whole - scores[2 + groups :]), whole - nothing])

    found = Posterior.of(
        torch.from_numpy(prior)[None, None],
        torch.from_numpy(H)[None],
        torch.from_numpy(answers(scores))[None, None],
        torch.tensor([[[True, False, False, True]]]),
        doubt=3.0,
    )
    noise, V = found.noise.item(), np.diag(found.spread[0, 0, -1].numpy())
    gain = V @ design.T @ np.linalg.inv(design @ V @ design.T + noise * np.eye(len(design)))

    def mean(y: np.ndarray) -> np.ndarray:
        fitted = design @ prior
        m = prior * (fitted @ y) / (fitted @ fitted)
        return m + gain @ (y - design @ m)

    # It is asked before all masks are shown: the map is the one so far.
    y, size, lost = answers(scores)[[*used, *used, True]], 1e-4, 0.0
    center = found.maps[0, 0].numpy()
    for step in np.eye(len(scores)) * size:
        moved = mean(answers(scores + step)[[*used, *used, True]]) - mean(y)
        moved = np.where(center > 0, center + moved, 0)
        lost += 1 - np.corrcoef(moved, np.maximum(center, 0))[0, 1]
    assert found.fits.all()
    asked = found.rounding(torch.from_numpy(used)[None], torch.full((1, 1), size**2, dtype=torch.float64))
    assert asked.item() == pytest.approx(lost, rel=1e-3)
    infinite = found.rounding(torch.from_numpy(used)[None], torch.full((1, 1), torch.nan, dtype=torch.float64))
    assert infinite.isinf().all()


def test_the_variance_of_errors_is_about_a_line_by_hand() -> None:
    """Scores 0, 1, 2, 3 are off by 5 + s / 10, and by 1, -1, -1, 1 hundredths: squares of 4e-4, less two numbers."""
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 7.0], dtype=torch.float64)
    off = 5 + scores / 10 + torch.tensor([1.0, -1.0, -1.0, 1.0, 50.0], dtype=torch.float64) / 100
    shown = torch.tensor([[True, True, True, True, False]])
    found = error_variance(scores[None, :, None], (scores + off)[None, :, None], shown)
    assert found.item() == pytest.approx(2e-4)
    of_two = error_variance(scores[None, :2, None], (scores + off)[None, :2, None], shown[:, :2])
    assert not of_two.isfinite().any()


class Sum(nn.Module):
    """Scores classes by how bright their places are, on top of numbers that rounding to three digits blurs."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 16, 3, padding=1)
        self.classifier = nn.Linear(16, 2)
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        A = self.features(x + self.offset).relu()
        return self.classifier(A.mean((2, 3)))


@pytest.mark.parametrize("far", [False, True])
def test_passes_are_rounded_where_this_is_measured_to_leave_the_map_alone(far: bool) -> None:
    """Of a picture about 0 bfloat16 keeps three digits; of one about 300 nothing but steps of 2."""
    torch.manual_seed(0)
    net, x = Sum(300.0 if far else 0.0).eval(), torch.rand(2, 3, 24, 24)
    net.classifier.weight.data[1] = net.classifier.weight.data[0].abs()
    methods = {"auto": CFCAM.best(), "exact": replace(CFCAM.best(), precision="float32")}
    found, alone = (cfcam.explain(net, part, methods, targets=1, layer="features") for part in (x, x[:1]))
    notes = [note for note in found.provenance.get("notes", []) if "bfloat16" in note]
    assert bool(notes) == (PackedKernels.rounding() and not far)
    assert all("cf-cam-best: " in note and " in float32" in note for note in notes)
    torch.testing.assert_close(alone.maps["auto"], found.maps["auto"][:1], rtol=1e-4, atol=1e-5)
    if notes:
        pairs = zip(found.maps["auto"].flatten(1), found.maps["exact"].flatten(1), strict=True)
        assert all(torch.stack(pair).corrcoef()[0, 1] >= 0.999 for pair in pairs)
    else:
        assert torch.equal(found.maps["auto"], found.maps["exact"])


@pytest.mark.parametrize(("answers", "known"), [((2.0, 2.0), True), ((2.0, -2.0), False)])
def test_nothing_is_foretold_where_answers_do_not_follow_the_map(answers: tuple[float, float], known: bool) -> None:
    """One mask of two places in which the map is 1, and the whole, which brings 2: each is foretold to bring 2.

    Answers of 2 and 2 fit without error; of 2 and -2 the scale is (4 - 4 + 4) / 12, its error (16 / 3 / 12) ** 0.5.
    """
    H, y = torch.ones(1, 2, 2, dtype=torch.float64), torch.zeros(1, 1, 5, dtype=torch.float64)
    y[..., 0], y[..., 2], y[..., 4] = *answers, 2.0
    shown = torch.tensor([[[True, False]]])
    found = Posterior.of(torch.ones(1, 1, 2, dtype=torch.float64), H, y, shown, 5.0)
    assert found.fits.item() is known
    assert known or found.movement(~shown).isinf().item()


@pytest.mark.parametrize("tolerance", [-1e-3, float("nan")])
def test_a_tolerance_is_not_below_0(tolerance: float) -> None:
    with pytest.raises(MethodError, match=r"CFCAM\(tolerance="):
        CFCAM(tolerance=tolerance)


def test_its_passes_are_told_as_a_bound() -> None:
    exact = replace(CFCAM.best(), precision="float32")
    assert exact.cost == "up to 63 + backward"  # the pass of the picture, it again, it blurred, twice 30 masks
    assert CFCAM.best().cost == "up to 73 + backward"  # and ten in bfloat16, where its rounding turns out too large
