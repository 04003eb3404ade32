"""The relatives: each against the same method written out by hand, against other libraries, and against its theory."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import InputError, LayerError, MethodError, TargetError
from cfcam.methods import (
    CAM,
    CFCAM,
    ISCAM,
    SSCAM,
    AblationCAM,
    Augmented,
    EigenCAM,
    EigenGradCAM,
    FinerCAM,
    Fusion,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    Method,
    Occlusion,
    RefineCAM,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    XGradCAM,
)
from cfcam.methods.combined.fusion import fused, grid_layers
from tests import oracles
from tests.contract.snapshot import snapshot
from tests.methods.test_oracles import (
    TARGETS,
    TwoChannels,
    assert_equal_maps,
    head_and_gradients,
    inputs,
    network,
)
from tests.networks import CONV, POOL, FlattenNet, GapNet, rescale

EVERYWHERE = pytest.mark.parametrize("dims", [1, 2, 3])
BOTH_HEADS = pytest.mark.parametrize("kind", [GapNet, FlattenNet])


def maps_of(
    net: nn.Module, x: Tensor, method: Method | str, targets: object = TARGETS, layer: str = "features"
) -> Tensor:
    return cfcam.explain(net, x, {"it": method}, targets=targets, layer=layer).maps["it"]


def over_targets(expected: Callable[[int, int], np.ndarray]) -> np.ndarray:
    return np.array([[expected(n, k) for k in range(2)] for n in range(3)])


def scorer(net: nn.Module, target: int, probability: bool = True) -> Callable[[np.ndarray], float]:
    def score(image: np.ndarray) -> float:
        with torch.no_grad():
            logits = net(torch.from_numpy(image)[None])[0]
        return float(logits.softmax(0)[target] if probability else logits[target])

    return score


def normal(samples: int, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, *shape, generator=generator).double() for _ in range(samples)]


# --- products of gradients and activations ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@BOTH_HEADS
@EVERYWHERE
@pytest.mark.parametrize("name", ["hires-cam", "layer-cam", "xgrad-cam", "eigen-cam", "eigen-grad-cam"])
def test_products_and_components(name: str, dims: int, kind: type[GapNet], dtype: torch.dtype) -> None:
    net, x = network(dims, kind, dtype), inputs(dims, dtype)
    maps = maps_of(net, x, name)
    A, g = head_and_gradients(net, x)
    oracle = {
        "hires-cam": oracles.hires_cam,
        "layer-cam": oracles.layer_cam,
        "xgrad-cam": oracles.xgrad_cam,
        "eigen-cam": lambda A, g: oracles.eigen_cam(A),
        "eigen-grad-cam": lambda A, g: oracles.eigen_cam(A * g, center=True),
    }[name]
    assert_equal_maps(maps, over_targets(lambda n, k: oracle(A[n], g[n, k])))


def test_hires_cam_adds_up_to_the_score_without_its_bias() -> None:
    net, x = network(2, GapNet), inputs(2)
    maps = maps_of(net, x, HiResCAM())
    scores = net(x).gather(1, TARGETS) - net.classifier.bias[TARGETS]
    torch.testing.assert_close(maps.sum((2, 3)), scores.detach())
    torch.testing.assert_close(maps * maps[0, 0].numel(), maps_of(net, x, CAM()))
    assert (maps < 0).any()


def test_xgrad_cam_is_grad_cam_where_the_gradient_is_the_same_everywhere() -> None:
    net, x = network(2, GapNet), inputs(2)
    torch.testing.assert_close(maps_of(net, x, XGradCAM()), maps_of(net, x, GradCAM()))
    net = network(2, FlattenNet)
    assert (maps_of(net, x, XGradCAM()) - maps_of(net, x, GradCAM())).abs().max() > 1e-3


class Tail(nn.Module):
    """Activations are the input itself; the tail is given."""

    def __init__(self, tail: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features, self.tail = nn.Identity(), tail

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.features(x))


def test_a_channel_that_adds_up_to_nothing_has_no_weight_in_xgrad_cam() -> None:
    x = torch.tensor([[[1.0, -1.0], [1.0, 3.0]]])
    net = Tail(lambda A: A.square().sum(2))  # gradients 2 A
    # Channel 0 adds up to 0; channel 1: w = (2 + 18) / 4 = 5 for its own class.
    assert maps_of(net, x, XGradCAM(), targets=[0, 1]).tolist() == [[[0, 0], [5, 15]]]


@pytest.mark.parametrize(("dims", "kind"), [(2, GapNet), (2, FlattenNet), (3, GapNet)])
@pytest.mark.parametrize("name", ["xgrad-cam", "layer-cam"])
def test_gradient_products_equal_torch_cams(name: str, dims: int, kind: type[GapNet]) -> None:
    from torchcam.methods import LayerCAM as TorchLayerCAM
    from torchcam.methods import XGradCAM as TorchXGradCAM

    net, x = rescale(kind(dims)).eval(), torch.randn(3, 3, *{2: (14, 10), 3: (6, 8, 10)}[dims])
    target = [2, 0, 3]
    other = {"xgrad-cam": TorchXGradCAM, "layer-cam": TorchLayerCAM}[name]
    with other(net, target_layer=net.features, input_shape=tuple(x.shape[1:])) as extractor:
        expected = extractor(target, net(x), normalized=False)[0]
    maps = maps_of(net, x, name, targets=torch.tensor(target))[:, 0]
    torch.testing.assert_close(maps, expected, atol=1e-6 * float(expected.max()), rtol=1e-4)


@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
def test_hires_cam_equals_captums_gradient_times_activation(kind: type[GapNet]) -> None:
    from captum.attr import LayerGradientXActivation

    net, x, target = kind().eval(), torch.randn(3, 3, 14, 10), torch.tensor([2, 0, 3])
    expected = LayerGradientXActivation(net, net.features).attribute(x, target=target).sum(1)
    torch.testing.assert_close(maps_of(net, x, HiResCAM(), targets=target)[:, 0], expected, atol=1e-8, rtol=1e-4)


class TestEigenCAM:
    def test_channels_that_are_copies_of_one_map_give_that_map(self) -> None:
        base, scale = torch.rand(1, 1, 5, 4), torch.tensor([3.0, 0.0, 4.0]).reshape(1, 3, 1, 1)
        maps = maps_of(Tail(lambda A: A.mean((2, 3))), base * scale, EigenCAM(), targets=[0, 1])
        torch.testing.assert_close(maps, 5 * base.expand(1, 2, -1, -1))

    def test_the_sign_follows_the_mean_activation(self) -> None:
        x = torch.randn(2, 6, 5, 4) + torch.randn(6)[:, None, None]
        net = Tail(lambda A: A.mean((2, 3)))
        up, down = (maps_of(net, sign * x, EigenCAM(center=True), targets=0) for sign in (1, -1))
        assert ((up[:, 0] * x.mean(1)).sum((1, 2)) > 0).all()
        torch.testing.assert_close(down, -up)  # and the sign is not an accident of the decomposition

    def test_behind_a_relu_it_is_never_negative(self) -> None:
        assert maps_of(network(2, GapNet), inputs(2), EigenCAM()).min() >= -1e-12

    def test_a_map_that_would_be_positive_nowhere_is_turned_over(self) -> None:
        x = -1 - torch.rand(2, 6, 5, 4)
        assert maps_of(Tail(lambda A: A.mean((2, 3))), x, EigenCAM(), targets=0).min() > 0

    def test_more_positions_than_channels_and_fewer_agree(self) -> None:
        for shape in ((1, 3, 9, 9), (1, 90, 3, 3)):
            x = torch.randn(*shape, dtype=torch.float64)
            maps = maps_of(Tail(lambda A: A.mean((2, 3))), x, EigenCAM(), targets=0)
            assert_equal_maps(maps, oracles.eigen_cam(x[0].numpy())[None, None], 1e-9)

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_the_unit_of_the_activations_does_not_matter(self, scale: float) -> None:
        x = torch.rand(1, 3, 5, 4)
        net = Tail(lambda A: A.mean((2, 3)))
        torch.testing.assert_close(maps_of(net, scale * x, "eigen-cam", 0) / scale, maps_of(net, x, "eigen-cam", 0))

    def test_behind_a_layer_norm_the_largest_value_is_positive(self) -> None:
        """There the mean over channels is 0, and its rounding must not decide the sign."""
        x = torch.nn.functional.layer_norm(torch.randn(4, 5, 5, 8) + torch.randn(8), (8,)).permute(0, 3, 1, 2)
        for center in (False, True):
            maps = maps_of(Tail(lambda A: A.mean((2, 3))), x, EigenCAM(center=center), targets=0)
            assert (maps.flatten(1).amax(1) == maps.abs().flatten(1).amax(1)).all()

    @pytest.mark.parametrize("center", [False, True])
    def test_centred_and_not(self, center: bool) -> None:
        x = torch.randn(2, 6, 5, 4, dtype=torch.float64) + torch.randn(6)[:, None, None]
        maps = maps_of(Tail(lambda A: A.mean((2, 3))), x, EigenCAM(center=center), targets=0)
        assert_equal_maps(maps, np.array([[oracles.eigen_cam(image.numpy(), center)] for image in x]))
        assert bool((maps.mean((2, 3)).abs() < 1e-12).all()) is center

    def test_eigen_grad_cam_of_evidence_against_the_class_is_negative(self) -> None:
        x = torch.rand(1, 3, 5, 4)
        method = EigenGradCAM(center=False)
        e = cfcam.explain(Tail(lambda A: -A.mean((2, 3))), x, method, targets=0, layer="features")
        assert e.maps["eigen-grad-cam"].max() <= 0
        assert e.status["eigen-grad-cam"][0, 0] == cfcam.Status.NO_POSITIVE_EVIDENCE


# --- ablation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"normalize": "score"}, {"batch_size": 5}])
@BOTH_HEADS
@EVERYWHERE
def test_ablation_cam(dims: int, kind: type[GapNet], settings: dict) -> None:
    net, x = network(dims, kind, channels=12), inputs(dims)
    with torch.no_grad():
        net.features[-2].bias[4] = -100  # a dead channel: nothing to switch off
    A = net.features(x).detach().numpy()

    def expected(n: int, k: int) -> np.ndarray:
        def score(activations: np.ndarray) -> float:
            return float(net.tail(torch.from_numpy(activations)[None])[0, TARGETS[n, k]].detach())

        return oracles.ablation_cam(A[n], score, divide="normalize" in settings)

    assert_equal_maps(maps_of(net, x, AblationCAM(**settings)), over_targets(expected))


@BOTH_HEADS
def test_ablation_cam_equals_captums_layer_feature_ablation(kind: type[GapNet]) -> None:
    from captum.attr import LayerFeatureAblation

    net, x, target = rescale(kind()).eval(), torch.randn(3, 3, 14, 10), torch.tensor([2, 0, 3])
    A = net.features(x).detach()
    channels = torch.arange(12).reshape(1, 12, 1, 1).expand(1, *A.shape[1:])
    drops = LayerFeatureAblation(net, net.features).attribute(x, target=target, layer_mask=channels)
    expected = drops[..., :1, :1] * A  # captum repeats a channel's drop at each of its positions
    torch.testing.assert_close(
        maps_of(net, x, AblationCAM(), targets=target)[:, 0], expected.sum(1).relu().detach(), atol=1e-5, rtol=1e-4
    )


def counted(net: nn.Module) -> list[int]:
    """Counts the images that enter the network."""
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    return passes


class TestPassesOfAblationCAM:
    def test_none_behind_pooling_and_one_linear_layer(self) -> None:
        net, x = network(2, GapNet, channels=12), inputs(2)
        passes = counted(net)
        plain = maps_of(net, x, AblationCAM())
        assert sum(passes) == 3
        # A callable of the same scores is not known to be linear: its channels are really switched off.
        single = [maps_of(net, x[:1], AblationCAM(), targets=lambda out, c=c: out[:, c]) for c in TARGETS[0]]
        assert sum(passes) > 3
        assert_equal_maps(torch.cat(single, dim=1), plain[:1].numpy(), 1e-9)

    def test_the_head_runs_once_for_an_image_where_the_tail_allows_it(self) -> None:
        net, x = network(2, FlattenNet, channels=12), inputs(2)
        heads: list[int] = []
        net.features.register_forward_hook(lambda module, args, out: heads.append(len(out)))
        maps_of(net, x, AblationCAM(batch_size=64))
        # the capture, the trial (two, each alone, two behind a head of one), the reference and two of its rows alone,
        # and one head for the 12 channels of each image, and for two of those of the first
        assert heads == [3, 2, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1]

    def test_a_tail_that_looks_back_at_the_head_gets_whole_passes(self) -> None:
        class Skip(GapNet):
            def forward(self, x: Tensor) -> Tensor:
                head = self.features[0](x)
                A = self.features[2:](head.relu())
                return self.classifier(torch.cat([self.last(A), head], dim=1)[:, :12].mean((2, 3)).tanh())

        torch.manual_seed(3)
        net = Skip(channels=12).double().eval()
        net.last = nn.Identity()
        x = inputs(2)
        A = net.features(x).detach().numpy()

        def expected(n: int, k: int) -> np.ndarray:
            def score(activations: np.ndarray) -> float:
                mean = torch.from_numpy(activations).mean((1, 2))
                return float(net.classifier(mean.tanh())[TARGETS[n, k]].detach())

            return oracles.ablation_cam(A[n], score)

        assert_equal_maps(maps_of(net, x, AblationCAM(), layer="last"), over_targets(expected))

    def test_a_tail_that_takes_its_batch_from_the_input_gets_whole_passes(self) -> None:
        class Viewed(FlattenNet):
            def forward(self, x: Tensor) -> Tensor:
                A = self.features(x)
                return self.classifier(self.hidden(A.reshape(len(x), -1)).tanh())

        torch.manual_seed(0)
        usual = FlattenNet(channels=6).double().eval()
        viewed = Viewed(channels=6).double().eval()
        viewed.load_state_dict(usual.state_dict())
        x = inputs(2)
        torch.testing.assert_close(maps_of(viewed, x, AblationCAM()), maps_of(usual, x, AblationCAM()))


# --- perturbed inputs ------------------------------------------------------------------------------------------------


@BOTH_HEADS
@EVERYWHERE
def test_smooth_grad_cam_plus_plus(dims: int, kind: type[GapNet]) -> None:
    net, x = network(dims, kind), inputs(dims)
    A, _ = head_and_gradients(net, x)
    deviation = torch.tensor([0.3 * (image.max() - image.min()) for image in x])
    gradients = [
        head_and_gradients(net, x + deviation.reshape(-1, *[1] * (dims + 1)) * draw)[1]
        for draw in normal(4, x.shape[1:], seed=7)
    ]
    maps = maps_of(net, x, SmoothGradCAMPlusPlus(samples=4, noise=0.3, seed=7))
    oracle = oracles.smooth_grad_cam_plus_plus
    assert_equal_maps(maps, over_targets(lambda n, k: oracle(A[n], [g[n, k] for g in gradients])))
    if kind is FlattenNet:  # behind pooling and one linear layer the gradient does not depend on the input
        last = over_targets(lambda n, k: oracle(A[n], [gradients[-1][n, k]]))
        assert np.abs(maps.numpy() - last).max() > 1e-3 * maps.max()  # all samples count, not the last one


# torch-cam's SmoothGradCAMpp is no oracle: it takes the first derivative and the activations of the last noisy sample
# only, and sums A g^3 in place of (sum A) g^3. Its ISCAM scales masks by i (i + 1) / 2n, up to 5.5 times the input.


def test_without_noise_it_is_grad_cam_plus_plus() -> None:
    net, x = network(2, FlattenNet), inputs(2)
    smooth = maps_of(net, x, SmoothGradCAMPlusPlus(samples=3, noise=0))
    torch.testing.assert_close(smooth, maps_of(net, x, GradCAMPlusPlus()))


@pytest.mark.parametrize("method", [SmoothGradCAMPlusPlus, SSCAM])
def test_the_seed_makes_the_noise(method: type) -> None:
    net, x = network(2, FlattenNet, channels=6), inputs(2)
    first, again, other = (maps_of(net, x, method(samples=2, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-4 * first.max()


@EVERYWHERE
def test_ss_cam(dims: int) -> None:
    net, x = network(dims, GapNet, channels=6), inputs(dims)
    A = net.features(x).detach().numpy()
    noises = [0.4 * draw[0].numpy() for draw in normal(3, x.shape[2:], seed=2)]
    maps = maps_of(net, x, SSCAM(samples=3, noise=0.4, seed=2, batch_size=5))
    oracle = oracles.ss_cam
    assert_equal_maps(maps, over_targets(lambda n, k: oracle(A[n], x[n].numpy(), scorer(net, TARGETS[n, k]), noises)))


@pytest.mark.parametrize("path", ["linear", "cumulative"])
@EVERYWHERE
def test_is_cam(dims: int, path: str) -> None:
    net, x = network(dims, GapNet, channels=6), inputs(dims)
    A = net.features(x).detach().numpy()
    maps = maps_of(net, x, ISCAM(steps=4, path=path))
    oracle = oracles.is_cam
    assert_equal_maps(maps, over_targets(lambda n, k: oracle(A[n], x[n].numpy(), scorer(net, TARGETS[n, k]), 4, path)))


@pytest.mark.parametrize("settings", [{}, {"normalize": "softmax", "score": "logit"}, {"approximate": 3}])
@pytest.mark.parametrize("same", [SSCAM(samples=2, noise=0), ISCAM(steps=1)])
def test_without_perturbation_they_are_score_cam(same: ScoreCAM, settings: dict) -> None:
    net, x = network(2, GapNet, channels=6), inputs(2)
    expected = maps_of(net, x, ScoreCAM(**settings))
    torch.testing.assert_close(maps_of(net, x, dataclasses.replace(same, **settings)), expected)


def test_ss_cam_equals_torch_cams_in_its_softmax_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given our noise: torch-cam draws another for each channel, from the global random state."""
    from torchcam.methods import SSCAM as TorchSSCAM  # noqa: N811

    torch.manual_seed(0)
    net, x = rescale(GapNet()).eval(), torch.randn(1, 3, 14, 10)
    draws = iter([0.5 * draw.float() for draw in normal(3, (14, 10))])
    with TorchSSCAM(net, target_layer=net.features, input_shape=(3, 14, 10), num_samples=3) as extractor:
        monkeypatch.setattr(extractor._distrib, "sample", lambda size: next(draws).expand(size), raising=False)
        net(x)
        expected = extractor(1, normalized=False)[0]
    maps = maps_of(net, x, SSCAM(samples=3, noise=0.5, score="logit", normalize="softmax"), targets=1)
    torch.testing.assert_close(maps[:, 0], expected, atol=1e-5 * float(expected.max()), rtol=1e-3)


# --- Finer-CAM -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [GradCAM(), LayerCAM()])
@pytest.mark.parametrize("references", [1, 2, 9])
@BOTH_HEADS
@EVERYWHERE
def test_finer_cam(dims: int, kind: type[GapNet], references: int, base: Method) -> None:
    net, x = network(dims, kind), inputs(dims)
    logits = net(x).detach().numpy()
    A = net.features(x).detach()
    maps = maps_of(net, x, FinerCAM(base=base, references=references, gamma=0.7))

    def expected(n: int, k: int) -> np.ndarray:
        own = int(TARGETS[n, k])
        others = sorted((c for c in range(4) if c != own), key=lambda c: abs(logits[n, c] - logits[n, own]))
        others = others[: min(references, 3)]
        leaf = A[n : n + 1].clone().requires_grad_()
        out = net.tail(leaf)[0]
        (out[own] - 0.7 * sum(out[c] for c in others) / len(others)).backward()
        function = oracles.grad_cam if isinstance(base, GradCAM) else oracles.layer_cam
        return function(A[n].numpy(), leaf.grad[0].numpy())

    assert_equal_maps(maps, over_targets(expected))


class TestFinerCAM:
    def test_by_hand(self) -> None:
        """Logits (2 a - b, b), a and b the means of two channels: y0 - y1 / 2 has the gradients (2, -3/2) / 4."""
        x = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]]])
        maps = maps_of(TwoChannels(), x, FinerCAM(base=HiResCAM(), gamma=0.5), targets=0)
        assert maps[0, 0].tolist() == [[0.5, 0.0], [0.0, -1.5]]

    @pytest.mark.parametrize("base", [GradCAM(), GradCAMPlusPlus(), CFCAM(), ScoreCAM(), AblationCAM()])
    def test_without_comparison_it_is_its_base(self, base: Method) -> None:
        net, x = network(2, FlattenNet), inputs(2)
        torch.testing.assert_close(maps_of(net, x, FinerCAM(base=base, gamma=0.0)), maps_of(net, x, base))

    @pytest.mark.parametrize("base", [AblationCAM(), ScoreCAM(score="logit"), Occlusion(score="logit")])
    def test_methods_without_gradients_score_the_difference(self, base: Method) -> None:
        net, x = network(2, GapNet), inputs(2)
        difference = maps_of(net, x, base, targets=lambda out: out[:, 2] - 0.6 * out[:, 3])
        finer = maps_of(net, x, FinerCAM(base=base, references=(3,)), targets=2)
        torch.testing.assert_close(finer, difference)

    @pytest.mark.parametrize("base", ["GradCAM", "LayerCAM"])
    def test_it_equals_torch_cams(self, base: str) -> None:
        from torchcam import methods as torch_cam

        net, x, target = rescale(FlattenNet()).eval(), torch.randn(3, 3, 14, 10), [2, 0, 3]
        with torch_cam.FinerCAM(
            net, net.features, (3, 14, 10), base_method=getattr(torch_cam, base), gamma=0.6, num_references=2
        ) as extractor:
            expected = extractor(target, net(x), normalized=False)[0]
        own = {"GradCAM": GradCAM(), "LayerCAM": LayerCAM()}[base]
        maps = maps_of(net, x, FinerCAM(base=own, references=2), targets=torch.tensor(target))[:, 0]
        torch.testing.assert_close(maps, expected, atol=1e-6 * float(expected.max()), rtol=1e-4)

    def test_targets_in_parts(self) -> None:
        net, x = network(2, FlattenNet), inputs(2)
        capture = Capture(Network(net), x, layer="features", targets="all")
        with capture.quiet():
            parts = torch.cat([FinerCAM()(part) for part in capture.split(limit=1)], dim=1)
        torch.testing.assert_close(parts, maps_of(net, x, FinerCAM(), targets="all"))

    def test_mistakes_are_named(self) -> None:
        net, x = network(2, GapNet), inputs(2)
        with pytest.raises(TargetError, match=r"contain the explained class"):
            maps_of(net, x, FinerCAM(references=(1, 2)), targets=1)
        with pytest.raises(TargetError, match=r"classes 0 to 3"):
            maps_of(net, x, FinerCAM(references=(4,)), targets=1)
        with pytest.raises(MethodError, match="callable"):
            maps_of(net, x, FinerCAM(), targets=lambda out: out[:, 0])
        with pytest.raises(MethodError, match="weights and no score"):
            FinerCAM(base=CAM())


# --- several layers --------------------------------------------------------------------------------------------------


class Stages(nn.Module):
    """Three stages; each keeps the grid inside before it halves it, as residual stages do."""

    def __init__(self, dims: int = 2, classes: int = 4) -> None:
        super().__init__()
        conv = CONV[dims]

        def stage(inner: int, outer: int) -> nn.Sequential:
            return nn.Sequential(
                conv(inner, inner, 3, padding=1), nn.ReLU(), conv(inner, outer, 2, stride=2), nn.ReLU()
            )

        self.stem = nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU())
        self.layer1, self.layer2, self.layer3 = stage(4, 6), stage(6, 8), stage(8, 10)
        self.pool = POOL[dims](1)
        self.classifier = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.classifier(self.pool(x).flatten(1))


def stages(dims: int) -> tuple[Stages, Tensor]:
    torch.manual_seed(5)
    size = {1: (40,), 2: (24, 16), 3: (8, 16, 24)}[dims]
    net = rescale(Stages(dims)).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)  # so that every layer has evidence for every class
    return net, torch.randn(3, 3, *size, dtype=torch.float64)


def layer_gradients(net: nn.Module, x: Tensor, layer: str, target: int) -> tuple[np.ndarray, np.ndarray]:
    kept: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, out: kept.append(out))
    score = net(x[None])[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    return kept[0][0].detach().numpy(), gradient[0].numpy()


@pytest.mark.parametrize("mode", ["mean", "max", "product"])
@EVERYWHERE
def test_fusion(dims: int, mode: str) -> None:
    net, x = stages(dims)
    layers = ("layer1", "layer3", "layer2")
    maps = maps_of(net, x, Fusion(layers=layers, mode=mode), layer="layer3")

    def expected(n: int, k: int) -> np.ndarray:
        single = [oracles.grad_cam(*layer_gradients(net, x[n], layer, int(TARGETS[n, k]))) for layer in layers]
        return oracles.fusion(single, mode)

    assert_equal_maps(maps, over_targets(expected))
    assert maps.shape[2:] == tuple(size // 2 for size in x.shape[2:])


@EVERYWHERE
def test_refine_cam(dims: int) -> None:
    net, x = stages(dims)
    maps = maps_of(net, x, RefineCAM(grids=3), layer="layer3")

    def expected(n: int, k: int) -> np.ndarray:
        layers = ("layer1", "layer2", "layer3")
        single = [
            oracles.grad_cam_plus_plus(*layer_gradients(net, x[n], layer, int(TARGETS[n, k]))) for layer in layers
        ]
        return oracles.fusion(single, "product")

    assert_equal_maps(maps, over_targets(expected))


def test_the_product_equals_torch_cams() -> None:
    """Of maps that reach 0: torch-cam's scaling subtracts a map's minimum, which is evidence."""
    from torchcam.methods import RefineCAM as TorchRefineCAM

    maps = [torch.randn(3, 1, *size).relu() for size in ((12, 8), (3, 2), (6, 4))]
    expected = TorchRefineCAM.fuse_cams([m[:, 0] for m in maps], normalized=False)
    assert all((m.amin((2, 3)) == 0).all() for m in maps)
    torch.testing.assert_close(fused(maps, "product")[:, 0], expected, atol=1e-6, rtol=1e-5)


class TestGridLayers:
    def test_the_ends_of_the_stages(self) -> None:
        net, x = stages(2)
        capture = Capture(Network(net), x, layer="layer3", targets=0)
        # layer2 keeps the grid of layer1 inside; its own first layers are not the end of that stage.
        assert grid_layers(capture, 3) == ("layer1", "layer2", "layer3")
        assert grid_layers(capture, 9) == ("stem", "layer1", "layer2", "layer3")
        assert grid_layers(capture, 1) == ("layer3",)
        assert grid_layers(capture.again(layer="layer2"), 9) == ("stem", "layer1", "layer2")

    def test_stages_inside_one_sequence(self) -> None:
        net, x = stages(2)
        flat = nn.Sequential(
            nn.Sequential(net.stem, net.layer1, net.layer2, net.layer3), net.pool, nn.Flatten(), net.classifier
        )
        capture = Capture(Network(flat), x, layer="0", targets=0)
        assert grid_layers(capture, 3) == ("0.1", "0.2", "0")
        expected = maps_of(net, x, RefineCAM(), layer="layer3")
        torch.testing.assert_close(maps_of(flat, x, RefineCAM(), layer="0"), expected)

    def test_fewer_grids_than_were_asked_for_are_told_with_their_layers(self) -> None:
        net, x = stages(2)
        found = cfcam.explain(net, x[:1], [RefineCAM(grids=9), Fusion(grids=4)], layer="layer3", targets=0)
        line = "refine-cam: of 9 grids the network has 4, at stem, layer1, layer2, layer3"
        assert found.provenance["notes"] == [line]

    def test_nothing_finer_leaves_the_target_layer(self) -> None:
        net, x = network(2, GapNet), inputs(2)
        refined, plain = maps_of(net, x, RefineCAM()), maps_of(net, x, GradCAMPlusPlus())
        torch.testing.assert_close(refined, plain / plain.amax((2, 3), keepdim=True))


class TestFusion:
    def test_a_map_without_evidence_empties_the_product_only(self) -> None:
        maps = [torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 2, 2)]
        assert fused(maps, "product").max() == 0
        assert fused(maps, "mean").unique().tolist() == [0.5]
        assert fused(maps, "max").unique().tolist() == [1.0]

    def test_one_layer_is_its_map_scaled(self) -> None:
        net, x = stages(2)
        plain = maps_of(net, x, GradCAM(), layer="layer2")
        for mode in ("mean", "max", "product"):
            maps = maps_of(net, x, Fusion(layers=("layer2",), mode=mode), layer="layer3")
            torch.testing.assert_close(maps, (plain / plain.amax((2, 3), keepdim=True)).nan_to_num(0))

    def test_a_layer_that_does_not_exist_is_named(self) -> None:
        net, x = stages(2)
        with pytest.raises(LayerError, match=r"no layer 'layer9'"):
            maps_of(net, x, Fusion(layers=("layer9",)), layer="layer3")

    def test_what_is_not_finite_is_not_hidden(self) -> None:
        net, x = stages(2)
        x[1, 0, 3, 3] = torch.nan
        maps = maps_of(net, x, RefineCAM(), layer="layer3")
        assert maps[1].isnan().any()
        assert maps[[0, 2]].isfinite().all()


# --- occlusion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"window": 1.0}, {"window": 2.5, "score": "logit"}, {"baseline": -0.5, "batch_size": 5}]
)
@EVERYWHERE
def test_occlusion(dims: int, settings: dict) -> None:
    net, x = network(dims, GapNet, channels=6), inputs(dims)
    grid = tuple(net.features(x).shape[2:])
    cover = np.full(x.shape[1:], settings.get("baseline", 0.0))
    maps = maps_of(net, x, Occlusion(**settings))

    def expected(n: int, k: int) -> np.ndarray:
        score = scorer(net, TARGETS[n, k], probability=settings.get("score") != "logit")
        return oracles.occlusion(x[n].numpy(), grid, score, settings.get("window", 2.0), cover)

    assert_equal_maps(maps, over_targets(expected))


class TestOcclusion:
    def test_it_equals_captums_on_a_tiling(self) -> None:
        from captum.attr import Occlusion as CaptumOcclusion

        net, x = GapNet().eval(), torch.randn(3, 3, 14, 10)
        target = torch.tensor([2, 0, 3])
        expected = CaptumOcclusion(net).attribute(x, (3, 2, 2), strides=(3, 2, 2), target=target)
        maps = maps_of(net, x, Occlusion(window=1, score="logit"), targets=target)
        torch.testing.assert_close(maps[:, 0], expected[:, 0, ::2, ::2], atol=1e-6, rtol=1e-4)

    def test_a_window_as_large_as_the_input_leaves_the_baseline(self) -> None:
        net, x = network(2, GapNet), inputs(2)
        maps = maps_of(net, x, Occlusion(window=99, score="logit"))
        drop = (net(x) - net(torch.zeros_like(x))).gather(1, TARGETS).detach()
        torch.testing.assert_close(maps, drop[..., None, None].expand_as(maps))

    def test_the_blurred_input_covers_too(self) -> None:
        net, x = network(2, GapNet), inputs(2)
        assert (maps_of(net, x, Occlusion(baseline="blur")) - maps_of(net, x, Occlusion())).abs().max() > 1e-4

    def test_a_grid_finer_than_the_window_still_covers_one_place_each(self) -> None:
        x = torch.arange(1.0, 4.0).reshape(1, 1, 3)
        maps = maps_of(Tail(lambda A: A.sum(2)), x, Occlusion(window=0.01, score="logit"), targets=1)
        assert maps.tolist() == [[[1.0, 2.0, 3.0]]]

    def test_the_only_place_that_counts_is_found(self) -> None:
        class Corner(GapNet):
            def tail(self, A: Tensor) -> Tensor:
                return super().tail(A[..., :1, :1])

        torch.manual_seed(0)
        net, x = rescale(Corner()).eval(), torch.randn(1, 3, 32, 32)
        drop = maps_of(net.double(), x.double(), Occlusion(window=1), targets=0).abs()[0, 0]
        assert drop[:2, :2].min() > 1e-3
        drop[:2, :2] = 0
        assert drop.max() < 1e-12


# --- test-time augmentation ------------------------------------------------------------------------------------------


@EVERYWHERE
def test_augmented(dims: int) -> None:
    net, x = network(dims, GapNet, channels=6), inputs(dims)
    maps = maps_of(net, x, Augmented(GradCAM(), flips=(-1,), scales=(0.8, 1.25)))
    total, covered = np.zeros(maps.shape), np.zeros(maps.shape[2:])
    for flip, scale in itertools.product((False, True), (1.0, 0.8, 1.25)):
        seen = np.flip(x.numpy(), -1) if flip else x.numpy()
        seen = np.array([[oracles.zoom(channel, scale, border=True) for channel in image] for image in seen])
        A, g = head_and_gradients(net, torch.from_numpy(seen))
        single = over_targets(
            lambda n, k, A=A, g=g, scale=scale: oracles.zoom(oracles.grad_cam(A[n], g[n, k]), 1 / scale, border=False)
        )
        weight = oracles.zoom(np.ones(maps.shape[2:]), 1 / scale, border=False)
        total += np.flip(single, -1) if flip else single
        covered += np.flip(weight, -1) if flip else weight
    assert_equal_maps(maps, total / covered)


class TestAugmented:
    @pytest.mark.parametrize("base", [GradCAM(), HiResCAM(), CFCAM(), ScoreCAM(), Occlusion()])
    @pytest.mark.parametrize("flips", [(-1,), (-1, -2)])
    def test_the_map_of_a_flipped_input_is_the_flipped_map(self, base: Method, flips: tuple[int, ...]) -> None:
        net, x = network(2, FlattenNet, channels=6), inputs(2)
        method = Augmented(base, flips=flips, scales=())
        flipped = maps_of(net, x.flip(flips[0]), method)
        torch.testing.assert_close(flipped, maps_of(net, x, method).flip(flips[0]))
        assert (maps_of(net, x.flip(-1), base) - maps_of(net, x, base).flip(-1)).abs().max() > 1e-6

    def test_without_versions_it_is_its_base(self) -> None:
        net, x = network(2, FlattenNet), inputs(2)
        torch.testing.assert_close(maps_of(net, x, Augmented(GradCAM(), (), ())), maps_of(net, x, GradCAM()))

    def test_the_classes_stay_those_of_the_input_itself(self) -> None:
        net = Tail(lambda A: torch.stack([A[..., :2].sum((1, 2)), A[..., 2:].sum((1, 2))], 1))
        x = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
        # Flipped, class 1 is predicted: class 0 is explained all the same.
        assert maps_of(net, x, Augmented(HiResCAM(), scales=()), None).tolist() == [[[2.0, 1.5, 1.0, 0.5]]]

    def test_it_has_a_name_of_its_own(self) -> None:
        methods = cfcam.methods.named_methods([Augmented(GradCAM()), GradCAM()])
        assert list(methods) == ["grad-cam-augmented", "grad-cam"]

    def test_an_axis_that_is_not_there_is_named(self) -> None:
        with pytest.raises(MethodError, match="the input has 2 spatial axes"):
            maps_of(network(2, GapNet), inputs(2), Augmented(flips=(-3,)))


# --- what they ask of the capture ------------------------------------------------------------------------------------


class TestAgain:
    def test_another_input_keeps_the_classes(self) -> None:
        net = Tail(lambda A: A.mean(2))
        x = torch.tensor([[[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 2.0]]])
        capture = Capture(Network(net), x, layer="features")
        other = capture.again(x.flip(0))
        assert other.logits.argmax(1).tolist() == [1, 0]
        assert capture.targets.indices.tolist() == other.targets.indices.tolist() == [[0], [1]]
        assert capture.scores.tolist() == [[1.5], [1.5]]
        assert other.scores.tolist() == [[0.5], [0.5]]
        assert torch.equal(other.activations, x.flip(0))

    def test_another_layer(self) -> None:
        net, x = stages(2)
        capture = Capture(Network(net), x, layer="layer3", targets=1)
        capture.gradients.sum()
        other = capture.again(layer="layer1")
        assert other.layer == "layer1"
        A, g = layer_gradients(net, x[0], "layer1", 1)
        np.testing.assert_allclose(other.gradients[0, 0].numpy(), g, atol=1e-12)
        np.testing.assert_allclose(other.activations[0].numpy(), A, atol=1e-12)
        assert capture.layer == "layer3"
        assert capture.gradients.shape[3:] == (3, 2)

    def test_the_callers_autocast_is_kept(self) -> None:
        net, x = GapNet().eval(), torch.randn(2, 3, 14, 10)
        with torch.autocast("cpu", torch.bfloat16):
            capture = Capture(Network(net), x, layer="features", targets=0)
        with capture.quiet():
            assert capture.again(x).logits.dtype == torch.bfloat16

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
    def test_gradients_under_the_callers_modes(self, context: Callable) -> None:
        net, x = network(2, FlattenNet), inputs(2)
        with context():
            other = Capture(Network(net), x.clone(), layer="features", targets=0).again(2 * x.clone())
            gradients = other.gradients
        torch.testing.assert_close(gradients, Capture(Network(net), 2 * x, layer="features", targets=0).gradients)

    def test_the_model_is_left_as_it_was(self) -> None:
        net, x = network(2, FlattenNet).train(), inputs(2)
        capture = Capture(Network(net), x, layer="features", targets=0)
        state = snapshot(net)
        capture.again(x + 1)
        capture.rescore_activations(capture.activations, torch.arange(3))
        assert snapshot(net) == state

    def test_a_batch_of_another_size_is_refused(self) -> None:
        capture = Capture(Network(network(2, GapNet)), inputs(2), layer="features", targets=0)
        with pytest.raises(InputError, match=r"\(2, 3, 14, 10\) instead of \(3, 3, 14, 10\)"):
            capture.again(inputs(2)[:2])


class TestRescoredActivations:
    @pytest.mark.parametrize("images", [[0, 0, 0, 0], [2, 0, 1, 1], [1]])
    @BOTH_HEADS
    def test_they_are_scored_as_the_tail_scores_them(self, kind: type[GapNet], images: list[int]) -> None:
        net, x = network(2, kind), inputs(2)
        capture = Capture(Network(net), x, layer="features", targets=TARGETS)
        index = torch.tensor(images)
        activations = torch.rand(len(images), *capture.activations.shape[1:], dtype=torch.float64)
        before = activations.clone()
        expected = net.tail(activations).gather(1, TARGETS[index]).detach()
        torch.testing.assert_close(capture.rescore_activations(activations, index), expected)
        probability = capture.rescore_activations(activations, index, probability=True)
        torch.testing.assert_close(probability, net.tail(activations).softmax(1).gather(1, TARGETS[index]).detach())
        assert torch.equal(activations, before)

    def test_a_tail_that_changes_its_input_in_place(self) -> None:
        class InPlace(GapNet):
            def tail(self, A: Tensor) -> Tensor:
                return super().tail(A.neg_().relu_())

        net, x = InPlace().eval(), torch.randn(2, 3, 14, 10)
        capture = Capture(Network(net), x, layer="features", targets=0)
        activations = -torch.rand_like(capture.activations)
        before = activations.clone()
        expected = GapNet.tail(net, -before)[:, :1].detach()
        torch.testing.assert_close(capture.rescore_activations(activations, torch.arange(2)), expected)
        assert torch.equal(activations, before)


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: AblationCAM(normalize="sum"),
        lambda: AblationCAM(batch_size=0),
        lambda: SmoothGradCAMPlusPlus(samples=0),
        lambda: SmoothGradCAMPlusPlus(noise=-1),
        lambda: SSCAM(samples=0),
        lambda: SSCAM(score="odds"),
        lambda: ISCAM(steps=0),
        lambda: ISCAM(path="curved"),
        lambda: FinerCAM(gamma=-1),
        lambda: FinerCAM(references=0),
        lambda: FinerCAM(references=()),
        lambda: FinerCAM(base="grad-cam"),
        lambda: Fusion(mode="sum"),
        lambda: RefineCAM(grids=0),
        lambda: Occlusion(window=0),
        lambda: Occlusion(score="odds"),
        lambda: Occlusion(baseline="grey"),
        lambda: Occlusion(batch_size=0),
        lambda: Augmented(flips=(0,)),
        lambda: Augmented(flips=(-1, -1)),
        lambda: Augmented(scales=(0,)),
    ],
)
def test_parameters_that_make_no_sense_are_refused_in_one_line(make: Callable[[], Method]) -> None:
    with pytest.raises(MethodError) as error:
        make()
    assert "\n" not in str(error.value)


def test_provenance_is_plain_and_names_the_wrapped_method() -> None:
    net, x = stages(2)
    methods = [FinerCAM(base=CFCAM()), RefineCAM(layers=("layer2", "layer3")), Augmented(ScoreCAM(approximate=2))]
    record = cfcam.explain(net, x, methods, targets=0, layer="layer3").provenance["methods"]
    assert json.loads(json.dumps(record)) == record
    assert record["finer-cam"]["base"]["method"] == "CFCAM"
    assert record["refine-cam"] == {
        "method": "RefineCAM", "base": {"method": "GradCAMPlusPlus"}, "layers": ["layer2", "layer3"],
        "mode": "product", "grids": 4,
    }  # fmt: skip
    assert record["score-cam-augmented"]["base"]["approximate"] == 2
