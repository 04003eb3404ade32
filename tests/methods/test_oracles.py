"""Each method against the same method written out by hand: 2-D and 3-D, several images, several targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import cfcam
from cfcam.capture.layers.placement import LINEAR
from cfcam.methods import CFCAM, ScoreCAM
from cfcam.methods.scored.score_cam import blurred
from tests import oracles
from tests.networks import FlattenNet, GapNet, redundant, rescale

SIZES = {1: (30,), 2: (14, 10), 3: (6, 8, 10)}
TARGETS = torch.tensor([[1, 3], [0, 2], [2, 1]])


def network(dims: int, kind: type[GapNet], dtype: torch.dtype = torch.float64, channels: int = 24) -> GapNet:
    arguments = {"size": SIZES[dims]} if kind is FlattenNet else {}
    return redundant(rescale(kind(dims, channels=channels, **arguments).to(dtype).eval()))


def inputs(dims: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(3, 3, *SIZES[dims], dtype=dtype)


def head_and_gradients(net: GapNet, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Activations (N, C, *s) and gradients (N, K, C, *s) by plain differentiation of the tail, image by image."""
    net = net.double()
    A = net.features(x.double()).detach()
    rows = []
    for n, classes in enumerate(TARGETS):
        rows.append([])
        for c in classes:
            leaf = A[n : n + 1].clone().requires_grad_()
            net.tail(leaf)[0, c].backward()
            rows[-1].append(leaf.grad[0].numpy())
    return A.numpy(), np.array(rows)


def assert_equal_maps(actual: Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0
    for n, k in np.ndindex(*actual.shape[:2]):
        error = np.abs(actual[n, k].double().numpy() - expected[n, k]).max()
        assert error <= tolerance * max(np.abs(expected[n, k]).max(), 1e-12), (n, k, error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", ["grad-cam", "grad-cam++"])
def test_gradient_methods(name: str, dims: int, kind: type[GapNet], dtype: torch.dtype) -> None:
    net, x = network(dims, kind, dtype), inputs(dims, dtype)
    maps = cfcam.explain(net, x, name, targets=TARGETS, layer="features").maps[name]
    A, g = head_and_gradients(net, x)
    function = oracles.grad_cam if name == "grad-cam" else oracles.grad_cam_plus_plus
    assert_equal_maps(maps, np.array([[function(A[n], g[n, k]) for k in range(2)] for n in range(3)]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_cam(dims: int) -> None:
    net, x = network(dims, GapNet), inputs(dims)
    maps = cfcam.explain(net, x, "cam", targets=TARGETS, layer="features").maps["cam"]
    A, W = net.features(x).detach().numpy(), net.classifier.weight.detach().numpy()
    expected = np.array([[oracles.cam(A[n], W[c]) for c in TARGETS[n]] for n in range(3)])
    assert expected.min() < 0  # no ReLU: the map is signed
    assert_equal_maps(maps, expected)


@pytest.mark.parametrize("settings", [{}, {"normalize": "softmax"}, {"score": "logit"}, {"batch_size": 5}])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_score_cam(dims: int, settings: dict) -> None:
    net, x = network(dims, GapNet, channels=12), inputs(dims)
    with torch.no_grad():
        net.features[-2].bias[4] = -100  # a dead channel: no mask, no weight
    maps = cfcam.explain(net, x, ScoreCAM(**settings), targets=TARGETS, layer="features").maps["score-cam"]
    A = net.features(x).detach().numpy()

    def score(c: int):
        def run(image: np.ndarray) -> float:
            with torch.no_grad():
                logits = net(torch.from_numpy(image)[None])[0]
            return float(logits[c] if settings.get("score") == "logit" else logits.softmax(0)[c])

        return run

    softmax = "normalize" in settings
    expected = [[oracles.score_cam(A[n], x[n].numpy(), score(c), softmax) for c in TARGETS[n]] for n in range(3)]
    assert_equal_maps(maps, np.array(expected))


@pytest.mark.parametrize("dims", [2, 3])
def test_approximate_score_cam_is_exact_where_channels_share_their_masks(dims: int) -> None:
    """Scaled copies have one mask: as many groups as different channels lose nothing, and cost that many passes."""
    net, x = network(dims, GapNet, channels=12), inputs(dims)
    with torch.no_grad():
        conv = net.features[-2]
        copied, scale = torch.arange(12) % 4, 0.1 + torch.rand(12, dtype=torch.float64)
        conv.weight.copy_(conv.weight[copied] * scale.reshape(-1, *[1] * (dims + 1)))
        conv.bias.copy_(conv.bias[copied] * scale)
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    exact, approximate = (
        cfcam.explain(net, x, method, targets=TARGETS, layer="features").maps["score-cam"]
        for method in (ScoreCAM(), ScoreCAM(approximate=4))
    )
    assert_equal_maps(approximate, exact.numpy())
    assert sum(passes) == (3 + 3 + 3 * 12 + 2) + (3 + 3 + 3 * 4 + 2)  # two masked images alone, once a network
    # One group of all channels is another map: the groups matter.
    one = cfcam.explain(net, x, ScoreCAM(approximate=1), targets=TARGETS, layer="features").maps["score-cam"]
    assert (one - exact).abs().max() > 0.01 * exact.max()


@pytest.mark.parametrize("groups", [12, 99])
def test_as_many_groups_as_channels_are_the_exact_method(groups: int) -> None:
    net, x = network(2, GapNet, channels=12), inputs(2)
    exact, other = (
        cfcam.explain(net, x, method, targets=TARGETS, layer="features").maps["score-cam"]
        for method in (ScoreCAM(), ScoreCAM(approximate=groups))
    )
    assert torch.equal(exact, other)


DBSCAN = {"clustering": "dbscan", "shrinkage": 1.0, "important_quantile": 0.75}
CF_CAM = {
    "hierarchical": (CFCAM.hierarchical(), {}),
    "bilateral": (CFCAM.bilateral(), {"important_quantile": None}),
    "guided": (CFCAM.guided(), {"important_quantile": None, "filter": "guided", "eps_diagonal": True}),
    "reference": (CFCAM.reference(), {"filter": "published", "weighting": "softmax", "eps_minimum": 1e-5}),
    "outliers kept": (CFCAM(**DBSCAN, outliers="keep", filter="guided"), {"outliers": "keep", "filter": "guided"}),
    "no filter": (
        CFCAM(**DBSCAN | {"important_quantile": 0.5}, filter=None, eps_quantile=0.1, min_samples_fraction=0.15),
        {"filter": None, "eps_quantile": 0.1, "min_samples_fraction": 0.15, "important_quantile": 0.5},
    ),
}


@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("setting", CF_CAM)
def test_cf_cam(setting: str, dims: int, kind: type[GapNet]) -> None:
    method, settings = CF_CAM[setting]
    net, x = network(dims, kind), inputs(dims)
    A, g = head_and_gradients(net, x)
    found = [[oracles.cf_cam(A[n], g[n, k], **settings) for k in range(2)] for n in range(3)]
    labels = np.concatenate([row[0][1] for row in found])
    assert {0, -1} <= set(labels.tolist())  # the case has clusters and outliers: every branch is taken
    maps = cfcam.explain(net, x, {"it": method}, targets=TARGETS, layer="features").maps["it"]
    assert_equal_maps(maps, np.array([[m for m, _ in row] for row in found]))


def test_cf_cam_in_float32_on_a_wide_layer() -> None:
    net, x = network(2, FlattenNet, torch.float32, channels=160), inputs(2, torch.float32)
    maps = cfcam.explain(net, x, {"it": "cf-cam-hierarchical"}, targets=TARGETS, layer="features").maps["it"]
    A, g = head_and_gradients(net, x)
    assert_equal_maps(maps, np.array([[oracles.cf_cam(A[n], g[n, k])[0] for k in range(2)] for n in range(3)]))


@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (CFCAM(), {}),
        (CFCAM(groups=4, shrinkage=0.8, filter="guided"), {"groups": 4, "shrinkage": 0.8, "filter": "guided"}),
        (CFCAM(groups=5, important_quantile=0.5), {"groups": 5, "important_quantile": 0.5}),
    ],
)
def test_cf_cam_by_k_means(method: CFCAM, settings: dict[str, object], dims: int, kind: type[GapNet]) -> None:
    net, x = network(dims, kind), inputs(dims)
    A, g = head_and_gradients(net, x)
    maps = cfcam.explain(net, x, {"it": method}, targets=TARGETS, layer="features").maps["it"]
    assert_equal_maps(
        maps, np.array([[oracles.cf_cam_shrunk(A[n], g[n, k], **settings)[0] for k in range(2)] for n in range(3)])
    )


@pytest.mark.parametrize("doubt", [1.0, 5.0])
@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_cf_cam_corrected_by_masked_passes(dims: int, kind: type[GapNet], doubt: float) -> None:
    net, x = network(dims, kind), inputs(dims)
    A, g = head_and_gradients(net, x)
    method = CFCAM(groups=4, evidence=True, doubt=doubt)
    maps = cfcam.explain(net, x, {"it": method}, targets=TARGETS, layer="features").maps["it"]

    def log_odds(images: Tensor, target: int) -> Tensor:
        with torch.no_grad():
            return net(images).softmax(1)[:, target].logit()

    hidden = blurred(blurred(blurred(x)))
    expected = []
    for n in range(3):
        for k, target in enumerate(TARGETS[n]):
            prior, labels = oracles.cf_cam_shrunk(A[n], g[n, k], groups=4, signed=True)
            masks = oracles.group_masks(A[n], labels, 4)
            rows, y = [], []
            for mask in masks:
                up = interpolate(
                    torch.from_numpy(mask)[None, None], x.shape[2:], mode=LINEAR[dims], align_corners=False
                )
                seen, rest = up * x[n] + (1 - up) * hidden[n], (1 - up) * x[n] + up * hidden[n]
                versions = torch.cat([seen, rest, x[n : n + 1], hidden[n : n + 1]])
                inside, outside, whole, nothing = log_odds(versions, int(target)).tolist()
                rows += [mask.ravel(), mask.ravel()]
                y += [inside - nothing, whole - outside]
            rows.append(np.ones(masks[0].size))
            y.append(whole - nothing)
            expected.append(oracles.posterior(prior, np.array(rows), np.array(y), doubt))
    assert_equal_maps(maps, np.array(expected).reshape(maps.shape), 1e-4)


def test_filters_matter_where_gradients_vary_and_only_there() -> None:
    for kind, differs in ((FlattenNet, True), (GapNet, False)):
        net, x = network(2, kind), inputs(2)
        methods = {name: CFCAM(**DBSCAN, filter=name) for name in (None, "bilateral", "guided")}
        methods = {str(name): method for name, method in methods.items()}
        maps = cfcam.explain(net, x, methods, targets=1, layer="features").maps
        for name in ("bilateral", "guided"):
            assert torch.allclose(maps["None"], maps[name], rtol=1e-9) is not differs


class TwoChannels(nn.Module):
    """Activations are the input's channels; logits are (2 mean(A0) - mean(A1), mean(A1))."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 2, 1, bias=False)
        self.classifier = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(2)[..., None, None])
            self.classifier.weight.copy_(torch.tensor([[2.0, -1.0], [0.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def test_closed_form_on_two_channels() -> None:
    """Worked by hand: A0 = [[1,0],[0,0]], A1 = [[0,0],[0,4]]; four positions."""
    x = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    e = cfcam.explain(TwoChannels(), x, ["cam", "grad-cam", "grad-cam++"], targets=[0, 1], layer="features")
    assert e.logits.tolist() == [[-0.5, 1.0]]
    assert e.maps["cam"][0].tolist() == [[[2.0, 0.0], [0.0, -4.0]], [[0.0, 0.0], [0.0, 4.0]]]
    # gradients are W / 4 everywhere
    assert e.maps["grad-cam"][0].tolist() == [[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]
    # class 0: g0 = 1/2, sum A0 = 1: alpha = .25 / (.5 + .125) = 0.4, w0 = 4 * 0.4 * 0.5; g1 < 0 gives 0
    # class 1: g1 = 1/4, sum A1 = 4: alpha = 1/16 / (1/8 + 1/16) = 1/3, w1 = 4 / 3 / 4
    torch.testing.assert_close(e.maps["grad-cam++"][0, 0], torch.tensor([[0.8, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(e.maps["grad-cam++"][0, 1], torch.tensor([[0.0, 0.0], [0.0, 4 / 3]]))
