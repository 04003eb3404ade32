"""CF-CAM over views and layers: oracles by hand, and networks that do not bear their views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Adapter, Capture, Network, Segmentation
from cfcam.capture.alone import TOGETHER
from cfcam.capture.mixing import NOTE
from cfcam.errors import LayerError, MethodError
from cfcam.methods import CFCAM, Fusion, View
from cfcam.methods.clusters.over_views import over_views
from tests.networks import FlattenNet, GapNet, redundant, rescale

SIZES = {1: (30,), 2: (14, 10), 3: (8, 8, 10)}
STEPS = (View(shift=1), View(shift=-1))


def network(dims: int = 2, kind: type[GapNet] = GapNet) -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(kind(dims, channels=24))).eval()


def explained(net: nn.Module, x: Tensor, method: CFCAM, layer: str = "features", **kwargs) -> cfcam.Explanation:
    return cfcam.explain(net, x, {"map": method}, layer=layer, **({"targets": [0, 2]} | kwargs))


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("views", [(), (View(),), (View(), View(), View())])
def test_views_that_are_the_input_give_its_own_map(dims: int, views: tuple) -> None:
    net, x = network(dims), torch.randn(3, 3, *SIZES[dims])
    capture = Capture(Network(net), x, layer="features", targets=[0, 2])
    with capture.quiet():
        found = over_views(capture, views, 1, CFCAM())
    assert_same(found, explained(net, x, CFCAM()).maps["map"])
    assert not capture.memo("notes", dict)


def by_place() -> nn.Sequential:
    """Two channels as they are, pooling, and one linear layer: what moves in the input moves in the map."""
    net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2)[..., None, None])
        net[3].weight.copy_(torch.tensor([[4.0, -4.0], [0.0, 0.0]]))
    return net


def test_a_step_of_a_network_that_moves_with_its_input_gives_the_same_map() -> None:
    x = torch.rand(2, 2, 8, 8)
    found = explained(by_place(), x, CFCAM(views=STEPS, shrinkage=0.0), "0", targets=0)
    assert_same(found.maps["map"][:, 0], (4 * x[:, 0] - 4 * x[:, 1]).relu() / 64)


def test_two_views_by_hand() -> None:
    """The mean of both, each channel shrunk towards its mean in space as far as they disagree on it."""

    net = by_place()
    x = torch.rand(1, 2, 8, 8)
    noise = View(noise=0.5)
    with torch.no_grad():
        net[3].weight.mul_(1e-6)  # its answers hardly move
        net[3].bias.copy_(torch.tensor([3.0, -3.0]))
    capture = Capture(Network(net), x, layer="0", targets=0)
    with capture.quiet():
        found = over_views(capture, (View(), noise), 1, CFCAM(shrinkage=0.0))[0, 0]
    A = torch.stack([x, x, noise.of(x)])[:, 0].flatten(2)  # (3, C, S)
    # Errors by differences: 0 between the first two, d from each to the third: 0, 0, d, shrunk to d / 9, d / 9, 7 d / 9
    share = torch.tensor([7.0, 7.0, 1.0]) / 15
    mean = A.mean(0)
    error = A.var(0).mean(1) / 3
    signal = (mean.var(1, correction=0) - error).clamp(min=0)
    r = (signal / (signal + error))[:, None]
    shrunk = A.mean(2, keepdim=True) + r * (A - A.mean(2, keepdim=True))
    expected = (share[:, None] * 4e-6 / 64 * (shrunk[:, 0] - shrunk[:, 1])).sum(0).relu().unflatten(0, (8, 8))
    assert_same(found, expected)


def test_views_that_find_the_same_weights_leave_each_channel_its_own() -> None:
    net, x = network(), torch.randn(2, 3, 14, 10)  # behind pooling and one linear layer
    found, own, half = (
        explained(net, x, CFCAM(groups=4, views=STEPS, shrinkage=share)).maps["map"] for share in (None, 0.0, 0.5)
    )
    assert_same(found, own)
    assert (half - own).abs().max() > 0.01 * own.max()


def test_views_at_several_layers_of_different_grids_are_one_pass_and_without_views_it_is_the_fusion() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 16, 12)
    alone = explained(net, x, CFCAM(layers=("1",)), "1").maps["map"]
    assert_same(alone, explained(net, x, CFCAM(), "1").maps["map"])
    by_number, by_name = (explained(net, x, CFCAM(layers=layers), "1").maps["map"] for layers in (2, ("0", "1")))
    fused = explained(net, x, Fusion(base=CFCAM(), layers=("0", "1")), "1").maps["map"]
    assert_same(by_number, fused)
    assert_same(by_name, fused)
    passes: list[int] = []
    handle = net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    maps = explained(net, x, CFCAM(layers=("0", "1"), views=3), "1").maps["map"]
    handle.remove()
    assert passes == [2, 2 * 4, 1, 1]  # the input is among its views; two rows alone tell whether they mix
    assert maps.shape == (2, 2, 16, 12)
    assert not torch.allclose(maps, fused)


def test_more_layers_than_the_network_has_are_refused_with_those_it_has() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 4),
    ).eval()  # fmt: skip
    with pytest.raises(LayerError, match=r"layers=99: up to 1 this network has 2 \(0, 1\): give at most 2, or name"):
        explained(net, torch.randn(1, 3, 16, 12), CFCAM(layers=99), "1")


def test_four_views_are_one_pass_of_a_network_that_is_known() -> None:
    net, x = network(), torch.randn(2, 3, 14, 10)
    explainer = cfcam.Explainer(net, "cf-cam-steady", layer="features")
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    explainer(x)
    assert passes == [2, 2 * 4, 1, 1]  # the last two: whether a batch may hold them
    explainer(x)
    assert passes[4:] == [2, 2 * 4]


def test_views_of_a_batch_that_is_large_enough_run_one_after_another() -> None:
    net, x = network(), torch.randn(9, 3, 14, 10)
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    together = explained(net, x, CFCAM.steady()).maps["map"]
    assert passes == [9] * 5
    assert_same(together[:2], explained(net, x[:2], CFCAM.steady()).maps["map"])


def test_a_view_that_moves_the_answer_is_left_out_and_that_is_said() -> None:
    class FromTheLeft(GapNet):
        """Its answer is of the left half alone."""

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A * (torch.arange(A.shape[-1]) < A.shape[-1] // 2))

    torch.manual_seed(1)
    net = redundant(rescale(FromTheLeft(channels=24))).eval()
    x = torch.randn(2, 3, 14, 10).cumsum(3).cumsum(2) / 9  # smooth: a step changes little
    x[1] = x[1] + x[1].flip(-1)  # the second is its own mirror image, in which a flip changes little
    method = CFCAM(views=(*STEPS, View(flip=(-1,))))
    found = explained(net, x, method)
    said = "cf-cam: the view flipped along -1 moves the network's answer beyond its test-retest, and is left out"
    assert found.said == ((said,), ())
    assert found.provenance["notes"] == [f"{said} (image 0)"]
    assert_same(found.maps["map"][0], explained(net, x, replace(method, views=STEPS)).maps["map"][0])
    assert not torch.allclose(found.maps["map"][1], explained(net, x, replace(method, views=STEPS)).maps["map"][1])


def test_a_view_with_an_answer_that_is_not_finite_is_left_out_as_such() -> None:
    class NoNoise(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            whole = (x == x.round()).flatten(1).all(1, keepdim=True)
            return super().forward(x).where(whole, torch.nan)

    net, x = network(kind=NoNoise), torch.randint(-4, 5, (2, 3, 14, 10)).float()
    found = explained(net, x, CFCAM(views=(*STEPS, View(noise=0.1))))
    said = "cf-cam: the network's answer to the view noise of 0.1 is not finite, and it is left out"
    assert found.said == ((said,), (said,))
    assert_same(found.maps["map"], explained(net, x, CFCAM(views=STEPS)).maps["map"])


@pytest.mark.parametrize("method", [CFCAM.steady(), CFCAM(views=(*STEPS, View(noise=0.1)))])
def test_an_input_too_small_to_be_moved_is_seen_as_it_is_and_that_is_said(method: CFCAM) -> None:
    net, x = network(), torch.randn(2, 3, 6, 7)
    found = explained(net, x, method)
    said = "an input of 6 x 7 is too small to be moved, so that nothing measures its views: it is seen as it is"
    assert found.said == ((f"{'cf-cam-steady' if method == CFCAM.steady() else 'cf-cam'}: {said}",),) * 2
    share = 0.0 if method.shrinkage is None else method.shrinkage
    assert_same(found.maps["map"], explained(net, x, CFCAM(shrinkage=share)).maps["map"])


def test_the_last_layers_are_looked_for_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    explainer, x = cfcam.Explainer(net.eval(), CFCAM(layers=2), layer="1"), torch.randn(1, 3, 14, 10)
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    explainer(x)
    assert passes == [1, 1, 1]
    explainer(x)
    assert passes[3:] == [1, 1]


class OnlyWhole(GapNet):
    """Fails on what is not made of whole numbers, as noise is not."""

    error: type[Exception] = OverflowError

    def forward(self, x: Tensor) -> Tensor:
        if not torch.equal(x, x.round()):
            raise self.error("no whole\nnumbers")
        return super().forward(x)


@pytest.mark.parametrize("error", [OverflowError, ValueError])  # the second is put into words elsewhere
def test_a_view_on_which_the_network_fails_is_left_out_and_that_is_said(error: type[Exception]) -> None:
    net, x = network(kind=OnlyWhole), torch.randint(-4, 5, (2, 3, 14, 10)).float()
    net.error = error
    found = explained(net, x, CFCAM(views=(*STEPS, View(noise=0.1))))
    why = f"{error.__name__}: no whole numbers"
    said = f"cf-cam: the network fails on the view noise of 0.1, which is left out ({why})"
    assert found.said == ((said,), (said,))
    assert_same(found.maps["map"], explained(net, x, CFCAM(views=STEPS)).maps["map"])


class OnlyWhereItIs(GapNet):
    """Fails on an input that was moved."""

    corner = None

    def forward(self, x: Tensor) -> Tensor:
        if self.corner is not None and bool((x[:, 0, 0, 0] - self.corner).abs().gt(100).any()):
            raise ValueError("moved")
        return super().forward(x)


def test_where_no_step_is_answered_nothing_else_counts_and_that_is_said() -> None:
    net, x = network(kind=OnlyWhereItIs), torch.arange(3 * 14 * 10.0).reshape(1, 3, 14, 10).mul(10)
    net.corner, x = float(x[0, 0, -1, -1]), x.flip(2, 3)
    found = explained(net, x, CFCAM(views=(View(shift=-1), View(noise=0.01))))
    why = "cf-cam: no step of one pixel has an answer that the view noise of 0.01 could be measured by, and it is"
    assert found.said[0][1] == f"{why} left out"
    assert_same(found.maps["map"], explained(net, x, CFCAM()).maps["map"])


class OfItsBatch(GapNet):
    """Its answer, and its layer, depend on how large the batch is."""

    rows = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * (1 + 0.1 * (self.rows or len(x))))


class OfOneSize(GapNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(2, 3, 14, 10))


@pytest.mark.parametrize("layers", [1, ("features.0", "features")])
@pytest.mark.parametrize("kind", [OfItsBatch, OfOneSize])
def test_views_do_not_mix_where_an_answer_depends_on_the_batch(kind: type[GapNet], layers: object) -> None:
    net, x, method = (
        network(kind=kind),
        torch.randn(2, 3, 14, 10),
        CFCAM(views=(*STEPS, View(noise=0.1)), layers=layers),
    )
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    found = explained(net, x, method)
    assert sizes[-3:] == [2, 2, 2]
    same = network(kind=OfItsBatch if kind is OfItsBatch else GapNet)
    same.rows = 2
    expected = explained(same, x, method)
    assert_same(found.maps["map"], expected.maps["map"])
    mixes = [NOTE, f"{TOGETHER} (image 0, 1)"] if kind is OfItsBatch else []
    assert found.provenance.get("notes", []) == mixes + expected.provenance.get("notes", [])


def test_a_network_of_one_case_without_a_batch() -> None:
    """It takes the slices of one case, and answers once."""

    class Slices(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.features(x)).mean(0, keepdim=True)

    torch.manual_seed(1)
    net = redundant(rescale(Slices(channels=24))).eval()
    x = torch.randn(1, 5, 3, 14, 10)
    model = Adapter(net, lambda x, images: x[0])
    found = cfcam.explain(model, x, ["cf-cam-steady", "cf-cam"], layer="model.features", targets=0)
    assert found.maps["cf-cam-steady"].shape == found.maps["cf-cam"].shape
    assert found.maps["cf-cam-steady"].amax() > 0


def test_a_clip_is_moved_within_its_frames() -> None:
    class Clip(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            A = self.features(x.flatten(0, 1))
            return self.classifier(self.pool(A).flatten(1).unflatten(0, x.shape[:2]).mean(1))

    torch.manual_seed(1)
    net, x = redundant(rescale(Clip(channels=24))).eval(), torch.randn(2, 8, 3, 14, 10)
    maps = explained(net, x, CFCAM(views=STEPS)).maps["map"]
    assert maps.shape == (2, 2, 8, 7, 5)
    order = torch.tensor([1, 0, 2, 3, 4, 5, 7, 6])  # frames of another order: as no view moves along them, so the map
    assert_same(explained(net, x[:, order], CFCAM(views=STEPS)).maps["map"], maps[:, :, order])


def test_an_adapter_is_told_of_which_image_each_view_is() -> None:
    net, x = network(), torch.randn(2, 3, 14, 10)
    scale = torch.tensor([1.0, 3.0])
    told = Adapter(net, lambda x, images: x * scale[images].reshape(-1, 1, 1, 1))
    found = explained(told, x, CFCAM(views=3), "model.features").maps["map"]
    assert_same(found, explained(net, x * scale.reshape(-1, 1, 1, 1), CFCAM(views=3)).maps["map"])


def test_what_is_done_to_gradients_is_done_to_those_of_each_view() -> None:
    net, x = network(kind=FlattenNet), torch.randn(2, 3, 14, 10)
    capture = Capture(Network(net), x, layer="features", targets=[0, 2])
    seen: list[tuple[int, ...]] = []

    def double(g: Tensor) -> Tensor:
        seen.append(tuple(g.shape))
        return 2 * g

    with capture.quiet():
        plain = CFCAM.steady()(capture)
        assert_same(CFCAM.steady()(capture.disturbed(double)), 2 * plain)
    assert seen == [(2, 2, 24, 7, 5)] * 5


def test_a_mask_moves_with_its_view() -> None:
    """A segmentation of a network that moves with its input: the score of a view is that of the moved mask."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x))

    net, x = Dense().eval(), torch.rand(2, 2, 8, 8)
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[0, 2:4, 2:5] = mask[1, 5:, 3:6] = True
    target = Segmentation(1, mask)
    capture = Capture(Network(net), x, layer="layer", targets=target)
    with capture.quiet():
        maps = CFCAM(views=STEPS, shrinkage=0.0)(capture)
        assert_same(maps, CFCAM(shrinkage=0.0)(capture))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": -1}, "a number of views, 0 or more"),
        ({"views": (1,)}, r"a number of views, 0 or more, or a tuple of View\(...\)"),
        ({"views": (View(noise=0.1),)}, "a step of one pixel"),
        ({"views": (View(), View(noise=0.1))}, "a step of one pixel"),  # nothing is measured by what does not move
        ({"views": (View(shift=0), View(noise=0.1))}, "a step of one pixel"),
        ({"shrinkage": None}, "is measured over views: give some"),
        ({"layers": 0}, "a number of layers, 1 or more"),
        ({"layers": "features"}, "a number of layers, 1 or more, or a tuple of their names"),
        ({"layers": ()}, "a number of layers, 1 or more, or a tuple of their names"),
        ({"evidence": True, "views": 2}, "evidence is of one view at one layer"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        CFCAM(**settings)


def test_settings_are_plain_values() -> None:
    plain = CFCAM(views=(View(shift=1), View(noise=0.1))).parameters()
    assert plain["views"][1] == {"shift": 0, "flip": (), "turn": 0.0, "noise": 0.1, "seed": 0}
    assert CFCAM.steady().label == "cf-cam-steady"
    assert CFCAM.steady().cost == "5 + backward"
