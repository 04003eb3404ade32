"""The contract: every registered method passes the same checks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Status
from cfcam.errors import CfcamError, LayerError, MethodError, TargetError
from tests.contract.snapshot import snapshot
from tests.networks import GapNet, redundant, rescale

NEEDS_ATTENTION = {"attention-rollout", "legrad"}  # see test_tokens.py
METHODS = [name for name in cfcam.list_methods() if name not in NEEDS_ATTENTION]
NEEDS_POOLING = {"cam"}
SOFTMAX_WEIGHTS = {"cf-cam-reference"}
# How a map changes when the logits are doubled: in proportion, or (None) in no simple way.
PROPORTIONAL = {
    "cam", "grad-cam", "cf-cam", "cf-cam-steady", "cf-cam-hierarchical", "cf-cam-bilateral", "cf-cam-guided",
    "xgrad-cam", "hires-cam", "layer-cam", "ablation-cam", "eigen-grad-cam", "finer-cam",
    "libra-grad", "expected-grad-cam", "dff",
}  # fmt: skip
# Methods whose scores are probabilities; that look at no class; that need no gradient, so no path from the layer; of
# these, the signed ones.
PROBABILITY = {"cf-cam-best", "score-cam", "ss-cam", "is-cam", "occlusion", "recipro-cam", "vit-recipro-cam"}
CLASSLESS = {"eigen-cam", "kpca-cam"}
PATHLESS = (PROBABILITY - {"cf-cam-best"}) | CLASSLESS | {"ablation-cam"}
SIGNED = {"occlusion", "eigen-cam", "kpca-cam"}
# Methods that run the tail alone on masked layers; whether it bears that is tried out.
TAIL_ONLY = {"recipro-cam", "vit-recipro-cam"}
# Methods that take gradients inside of the layer, too: what the network overwrites there has none.
ALL_LAYERS = {"winsor-cam"}
# Methods that run the network again, on masked or noisy inputs.
SEVERAL_PASSES = PROBABILITY - TAIL_ONLY | {"smooth-grad-cam++", "expected-grad-cam"}


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet(channels=24, norm=True))).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 14, 10)


def maps_of(method: str, net: nn.Module, x: Tensor, targets: object = None, layer: str = "features") -> Tensor:
    return cfcam.explain(net, x, method, targets=targets, layer=layer).maps[method]


ULP = 2**-23
"""Some maps are small differences of probabilities, which are rounded to this, on each processor in its own way."""


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max() + ULP


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_shape_and_finiteness(method: str, net: GapNet, x: Tensor) -> None:
    maps = maps_of(method, net, x, targets=[0, 2])
    assert maps.shape == (3, 2, 7, 5)
    assert maps.isfinite().all()
    assert (maps.amax((2, 3)) > 0).any()
    assert not maps.requires_grad


def test_a_batch_equals_its_images_one_by_one(method: str, net: GapNet, x: Tensor) -> None:
    together = maps_of(method, net, x)
    assert_same(torch.cat([maps_of(method, net, image[None]) for image in x]), together)


def test_k_targets_equal_k_calls(method: str, net: GapNet, x: Tensor) -> None:
    together = maps_of(method, net, x, targets=[3, 0, 1])
    assert_same(torch.cat([maps_of(method, net, x, targets=c) for c in (3, 0, 1)], dim=1), together)


def test_targets_image_by_image(method: str, net: GapNet, x: Tensor) -> None:
    classes = torch.tensor([2, 0, 1])
    mixed = maps_of(method, net, x, targets=classes)
    single = torch.cat([maps_of(method, net, x[n : n + 1], targets=int(c)) for n, c in enumerate(classes)])
    assert_same(mixed, single)


def test_many_targets_in_parts_equal_all_at_once(method: str, net: GapNet, x: Tensor) -> None:
    from cfcam.capture import Capture, Network
    from cfcam.methods import get_method

    capture = Capture(Network(net), x, layer="features", targets="all")
    with capture.quiet():
        whole = get_method(method)(capture)
        parts = [get_method(method)(part) for part in capture.split(limit=1)]
    assert len(parts) == 4
    assert_same(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_a_volume_of_depth_one_equals_the_picture(method: str, axis: int, net: GapNet, x: Tensor) -> None:
    volume = GapNet(3, channels=24, norm=True).eval()
    with torch.no_grad():
        for flat, deep in zip(net.parameters(), volume.parameters(), strict=True):
            deep.zero_()
            if flat.ndim == 4:
                deep.narrow(axis, 1, 1).copy_(flat.unsqueeze(axis))
            else:
                deep.copy_(flat)
    maps = maps_of(method, volume, x.unsqueeze(axis), targets=[0, 2])
    assert_same(maps.squeeze(axis), maps_of(method, net, x, targets=[0, 2]))


def test_the_class_matters(method: str, net: GapNet, x: Tensor) -> None:
    heat = cfcam.explain(net, x, method, targets=[0, 2], layer="features").heatmaps(method)
    difference = (heat[:, 0] - heat[:, 1]).abs().mean()
    if method in SOFTMAX_WEIGHTS:
        pytest.skip("softmax over small weights removes the class from the map: a documented flaw of the publication")
    if method in CLASSLESS:
        assert difference == 0
        pytest.skip("its map is that of the layer, for every class: documented")
    assert difference > 0.02


def test_softmax_over_small_weights_removes_the_class(net: GapNet, x: Tensor) -> None:
    """Why linear weights are the default: the flaw that methods.md measured, reproduced."""
    with torch.no_grad():
        net.classifier.weight.mul_(0.01)
    heat = {
        m: cfcam.explain(net, x, m, targets=[0, 2], layer="features").heatmaps(m)
        for m in ("cf-cam-reference", "cf-cam")
    }
    change = {m: float((h[:, 0] - h[:, 1]).abs().mean()) for m, h in heat.items()}
    assert change["cf-cam-reference"] < 0.01 < 0.05 < change["cf-cam"]


@pytest.mark.parametrize("factor", [2.0, 1e-6])
def test_the_unit_of_the_logits(method: str, factor: float, net: GapNet, x: Tensor) -> None:
    if method not in PROPORTIONAL:
        pytest.skip("its weights are not proportional to the logits")
    before = maps_of(method, net, x, targets=1)
    with torch.no_grad():
        net.classifier.weight.mul_(factor)
        net.classifier.bias.mul_(factor)
    assert_same(maps_of(method, net, x, targets=1), factor * before)


def test_score_cam_does_not_see_the_unit_but_the_probability(net: GapNet, x: Tensor) -> None:
    before = maps_of("score-cam", net, x, targets=1)
    with torch.no_grad():
        net.classifier.bias.add_(3.0)  # the same shift of all logits leaves all probabilities
    assert_same(maps_of("score-cam", net, x, targets=1), before, 1e-4)


def test_dead_channels_change_nothing(method: str, net: GapNet, x: Tensor) -> None:
    if method.startswith("cf-cam"):
        pytest.skip("channels that are all alike are a cluster, and change the quantiles")
    if method == "kpca-cam":
        pytest.skip("its kernel is as wide as there are channels")
    before = maps_of(method, net, x, targets=1)
    wide = redundant(GapNet(channels=30, norm=True)).eval()
    with torch.no_grad():
        for thin, fat in zip(net.parameters(), wide.parameters(), strict=True):
            fat.zero_()
            fat[tuple(slice(0, s) for s in thin.shape)] = thin
    assert_same(maps_of(method, wide, x, targets=1), before)


def test_a_layer_that_is_dead_has_no_evidence(method: str, net: GapNet, x: Tensor) -> None:
    with torch.no_grad():
        net.features[-2].weight.zero_()
        net.features[-2].bias.fill_(-1)
    e = cfcam.explain(net, x, method, targets=0, layer="features")
    assert (e.status[method] == Status.NO_POSITIVE_EVIDENCE).all()
    assert (e.heatmaps(method) == 0).all()


def test_what_is_not_finite_says_so_and_stays_with_its_image(method: str, net: GapNet, x: Tensor) -> None:
    clean = cfcam.explain(net, x, method, targets=0, layer="features")
    x[1, 0, 3, 3] = torch.nan
    e = cfcam.explain(net, x, method, targets=0, layer="features")
    assert e.status[method][1, 0] is Status.NOT_FINITE
    assert (e.heatmaps(method)[1] == 0).all()
    assert_same(e.maps[method][[0, 2]], clean.maps[method][[0, 2]])


def test_nan_in_the_weights_is_not_hidden(method: str, net: GapNet, x: Tensor) -> None:
    with torch.no_grad():
        net.features[0].weight[0, 0, 0, 0] = torch.nan
    e = cfcam.explain(net, x, method, targets=0, layer="features")
    assert (e.status[method] == Status.NOT_FINITE).all()


# --- the state of the model and of the process ---------------------------------------------------------------------


CONTEXTS = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_grad_modes(method: str, context: str, net: GapNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=[0, 1])
    with CONTEXTS[context]():
        state = snapshot(net)
        maps = maps_of(method, net, x.clone(), targets=[0, 1])
        assert snapshot(net) == state
    assert_same(maps, before)


def test_a_model_built_under_inference_mode(method: str, x: Tensor) -> None:
    with torch.inference_mode():
        torch.manual_seed(1)
        frozen = redundant(rescale(GapNet(channels=24, norm=True))).eval()
    torch.manual_seed(1)
    usual = redundant(rescale(GapNet(channels=24, norm=True))).eval()
    # Its kernels are not packed, so that its masked passes are never rounded.
    tolerance = 0.02 if method == "cf-cam-best" else 1e-5
    assert_same(maps_of(method, frozen, x, targets=1), maps_of(method, usual, x, targets=1), tolerance)


def test_train_mode_is_explained_as_evaluation_and_kept(method: str, net: GapNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=1)
    net.train()
    net.features[1].eval()  # a mixed model: one module's mode differs
    state = snapshot(net)
    assert_same(maps_of(method, net, x, targets=1), before)
    assert snapshot(net) == state


def test_frozen_parameters(method: str, net: GapNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=1)
    net.requires_grad_(False)
    state = snapshot(net)
    assert_same(maps_of(method, net, x, targets=1), before)
    assert snapshot(net) == state


def test_gradients_that_were_there_stay(method: str, net: GapNet, x: Tensor) -> None:
    net(x).sum().backward()
    x.requires_grad_()
    state = snapshot(net)
    maps_of(method, net, x, targets=1)
    assert snapshot(net) == state
    assert x.grad is None


def test_random_state_is_kept_even_if_the_model_draws(method: str, net: GapNet, x: Tensor) -> None:
    net.register_forward_pre_hook(lambda module, args: (args[0] + 0 * torch.rand(1),))
    state = snapshot(net)
    maps_of(method, net, x, targets=1)
    assert snapshot(net) == state


class Failing(GapNet):
    """Fails in its tail, or on the masked passes only."""

    passes: ClassVar[list[int]] = []  # of the class: what a module itself counts is put back after each pass
    fail_at = 1

    def tail(self, A: Tensor) -> Tensor:
        self.passes.append(len(A))
        if len(self.passes) >= self.fail_at:
            raise RuntimeError("the user's own error")
        return super().tail(A)


def test_state_after_the_model_raised(method: str, x: Tensor) -> None:
    failing = Failing(norm=True).train()
    failing.passes.clear()
    failing.fail_at = 2 if method in SEVERAL_PASSES else 1
    state = snapshot(failing)
    with pytest.raises(RuntimeError, match="the user's own error"):
        maps_of(method, failing, x, targets=1)
    assert snapshot(failing) == state
    # What fails on packed kernels is run once more, plainly, so that the error told is the model's own.
    assert len(failing.passes) in (failing.fail_at, failing.fail_at + 1)


@pytest.mark.parametrize("mistake", [{"targets": 99}, {"layer": "pool"}, {"targets": lambda out: out}])
def test_state_after_a_users_mistake(method: str, mistake: dict, net: GapNet, x: Tensor) -> None:
    net.train()
    state = snapshot(net)
    with pytest.raises(CfcamError):
        cfcam.explain(net, x, method, **({"layer": "features"} | mistake))
    assert snapshot(net) == state


# --- precision and compilation ---------------------------------------------------------------------------------------


def test_bfloat16_model(method: str, net: GapNet, x: Tensor) -> None:
    exact = cfcam.explain(net, x, method, targets=[0, 2], layer="features").heatmaps(method)
    coarse = cfcam.explain(net.bfloat16(), x.bfloat16(), method, targets=[0, 2], layer="features")
    assert coarse.maps[method].dtype == torch.float32
    assert similarity(coarse.heatmaps(method), exact) > 0.97


def test_autocast(method: str, net: GapNet, x: Tensor) -> None:
    exact = cfcam.explain(net, x, method, targets=[0, 2], layer="features").heatmaps(method)
    with torch.autocast("cpu", torch.bfloat16):
        state = snapshot(net)
        e = cfcam.explain(net, x, method, targets=[0, 2], layer="features")
        assert snapshot(net) == state
    assert e.logits.dtype == torch.bfloat16  # the network itself did run in the caller's autocast
    assert e.maps[method].dtype == torch.float32
    assert similarity(e.heatmaps(method), exact) > 0.97


def similarity(a: Tensor, b: Tensor) -> float:
    """The smallest Pearson correlation of non-empty maps."""
    pairs = [(m, n) for m, n in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True) if n.amax() > 0]
    assert pairs
    return min(float(np.corrcoef(m.flatten(), n.flatten())[0, 1]) for m, n in pairs)


def test_double_precision_is_kept(method: str, net: GapNet, x: Tensor) -> None:
    maps = maps_of(method, net.double(), x.double(), targets=0)
    assert maps.dtype == torch.float64


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_a_compiled_model(method: str, how: str, net: GapNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=1)
    if how == "wrapped":
        compiled = torch.compile(net, backend="eager")
    else:
        compiled = net
        net.compile(backend="eager")
    compiled(x)
    assert_same(maps_of(method, compiled, x, targets=1), before)
    assert torch.allclose(compiled(x), net(x))


# --- what the network may do -----------------------------------------------------------------------------------------


class InPlace(GapNet):
    """An in-place activation behind the layer, as in many real networks."""

    def tail(self, A: Tensor) -> Tensor:
        A += 1
        A.relu_()
        return super().tail(A)


def test_in_place_operations_behind_the_layer(method: str, x: Tensor) -> None:
    if method in NEEDS_POOLING:
        pytest.skip("cam does not apply where something stands between the layer and the classifier")
    torch.manual_seed(1)
    inplace = redundant(InPlace(channels=24)).eval()
    if method in ALL_LAYERS:
        with pytest.raises(LayerError, match="overwrites in place what a gradient needs"):
            maps_of(method, inplace, x, targets=0)
        return
    layer = inplace.features(x)
    maps = maps_of(method, inplace, x, targets=0)
    torch.manual_seed(1)

    class OutOfPlace(GapNet):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail((A + 1).relu())

    assert_same(maps, maps_of(method, redundant(OutOfPlace(channels=24)).eval(), x, targets=0))
    assert torch.equal(layer, inplace.features(x))


class FrozenBackbone(GapNet):
    """The backbone runs under the model's own no_grad."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            A = self.features(x)
        return self.tail(A)


class DictOutput(GapNet):
    def forward(self, x: Tensor) -> dict:
        return {"aux": x.mean(), "logits": self.tail(self.features(x))}


@pytest.mark.parametrize("kind", [FrozenBackbone, DictOutput])
def test_models_that_differ_in_form_only(method: str, kind: type[GapNet], net: GapNet, x: Tensor) -> None:
    other = kind(channels=24, norm=True).eval()
    other.load_state_dict(net.state_dict())
    if kind is FrozenBackbone:
        # the last module inside the no_grad block: its tail runs outside of it
        assert_same(maps_of(method, other, x, 1, "features"), maps_of(method, net, x, 1))
    else:
        assert_same(maps_of(method, other, x, 1), maps_of(method, net, x, 1))


def test_a_single_logit_knows_two_classes(method: str, x: Tensor) -> None:
    torch.manual_seed(1)
    single = redundant(rescale(GapNet(channels=24, classes=1))).eval()
    double = GapNet(channels=24, classes=2).eval()
    with torch.no_grad():
        double.features.load_state_dict(single.features.state_dict())
        double.classifier.weight.copy_(torch.cat([-single.classifier.weight, single.classifier.weight]))
        double.classifier.bias.copy_(torch.cat([-single.classifier.bias, single.classifier.bias]))
    e = cfcam.explain(single, x, method, layer="features")
    assert torch.equal(e.targets[:, 0], (e.logits[:, 0] > 0).long())
    assert_same(e.probabilities.sum(1), torch.ones(3))
    # Their probabilities are a sigmoid here, and a softmax of twice the logit there.
    if method not in PROBABILITY | {"shapley-cam"}:
        for c in (0, 1):
            assert_same(maps_of(method, single, x, c), maps_of(method, double, x, c))


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_score_that_does_not_depend_on_the_layer(method: str, x: Tensor) -> None:
    class Unused(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            self.features(x)
            return x.mean((2, 3)) @ torch.ones(3, 4)

    if method in PATHLESS:
        maps = maps_of(method, Unused().eval(), x, targets=0)
        assert maps.isfinite().all()
        assert method in SIGNED or (maps >= 0).all()
        assert method != "ablation-cam" or (maps == 0).all()  # switching channels off changed nothing
        return
    with pytest.raises((LayerError, MethodError), match=r"does not depend on layer 'features|cam does not apply"):
        maps_of(method, Unused().eval(), x, targets=0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (4, "class 4 is out of range: the network has 4 classes, 0 to 3"),
        (-1, "class -1 is out of range"),
        (torch.tensor([0, 1]), r"shape \(2,\) for 3 images"),
        (torch.tensor([0.0, 1.0, 2.0]), "indices are integers"),
        ([], "targets is empty"),
        (True, "is a bool"),
        ("cat", "no class names are known"),
        (lambda out: out.sum(), r"returned \(\): a callable must return one number per image"),
        ("top-9", "top-9 of 4 classes"),
    ],
)
def test_targets_that_do_not_fit(method: str, targets: object, message: str, net: GapNet, x: Tensor) -> None:
    with pytest.raises(TargetError, match=message) as error:
        maps_of(method, net, x, targets=targets)
    assert "\n" not in str(error.value)
