"""Recipro-CAM against the method written out by hand, and what only it can do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Status
from cfcam.errors import InputError, LayerError, MethodError
from cfcam.methods import ReciproCAM, ScoreCAM, ViTReciproCAM
from cfcam.methods.scored.recipro_cam import place_masks
from tests.methods.test_oracles import assert_equal_maps, inputs, network
from tests.networks import FlattenNet, GapNet, rescale
from tests.token_networks import TokenNet


def oracle(A: np.ndarray, score, *, gaussian: bool = False, zero: str | None = "minimum") -> np.ndarray:
    """One image (C, *s), one class: place by place, channel by channel."""
    out = np.zeros(A.shape[1:])
    for place in np.ndindex(*out.shape):
        left = np.zeros_like(A)
        for other in np.ndindex(*out.shape):
            far = [abs(p - q) for p, q in zip(place, other, strict=True)]
            spread = float(np.prod([{0: 0.5, 1: 0.25}.get(d, 0.0) for d in far]))
            share = spread if gaussian else float(place == other)
            left[(slice(None), *other)] = share * A[(slice(None), *other)]
        out[place] = score(left)
    if zero == "minimum":
        return out - out.min()
    return out - (score(np.zeros_like(A)) if zero == "masked" else 0)


SETTINGS = [
    {},
    {"spread": "gaussian"},
    {"score": "logit", "zero": "masked"},
    {"zero": None, "batch_size": 7},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_by_the_formula(dims: int, kind: type[GapNet], settings: dict) -> None:
    net, x = network(dims, kind, channels=6), inputs(dims)[:2]
    method = ReciproCAM(**settings)
    maps = cfcam.explain(net, x, method, targets=[1, 3], layer="features").maps["recipro-cam"]
    A = net.features(x).detach().numpy()

    def score(c: int):
        def run(left: np.ndarray) -> float:
            with torch.no_grad():
                logits = net.tail(torch.from_numpy(left)[None])[0]
            return float(logits[c] if method.score == "logit" else logits.softmax(0)[c])

        return run

    gaussian = method.spread == "gaussian"
    expected = [[oracle(a, score(c), gaussian=gaussian, zero=method.zero) for c in (1, 3)] for a in A]
    assert_equal_maps(maps, np.array(expected))


def test_by_hand() -> None:
    """Two channels of 1 x 3 places behind their mean: a place alone leaves a third of what it says."""
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[3].weight.copy_(torch.tensor([[3.0, -3.0], [0.0, 0.0]]))
    x = torch.tensor([[[[1.0, 4.0, 0.0]], [[0.0, 1.0, 2.0]]]])
    alone = torch.tensor([[[1.0, 3.0, -2.0]]])  # the logit of class 0, that of class 1 is 0
    for zero, expected in (("masked", alone), (None, alone), ("minimum", alone + 2)):
        maps = cfcam.explain(net, x, ReciproCAM("logit", zero=zero), targets=0, layer="0").maps["recipro-cam"]
        torch.testing.assert_close(maps[0], expected)
    probable = cfcam.explain(net, x, ReciproCAM(zero=None), targets=0, layer="0").maps["recipro-cam"]
    torch.testing.assert_close(probable[0], alone.sigmoid())  # of two classes, one of which has the logit 0
    spread = cfcam.explain(net, x, ReciproCAM("logit", "gaussian", None), targets=0, layer="0").maps["recipro-cam"]
    torch.testing.assert_close(spread[0], torch.tensor([[[1 / 2 + 3 / 4, 1 / 4 + 3 / 2 - 2 / 4, 3 / 4 - 2 / 2]]]))


@pytest.mark.parametrize("grid", [(4,), (3, 2), (2, 3, 2)])
def test_masks_of_all_places(grid: tuple[int, ...]) -> None:
    cells = place_masks(grid, gaussian=False)
    assert torch.equal(cells.flatten(1), torch.eye(cells[0].numel()))
    masks = place_masks(grid, gaussian=True)
    for k, place in enumerate(np.ndindex(*grid)):
        for other in np.ndindex(*grid):
            share = [{0: 0.5, 1: 0.25}.get(abs(p - q), 0.0) for p, q in zip(place, other, strict=True)]
            assert masks[(k, *other)] == np.prod(share)


def test_an_axis_of_one_place_has_no_neighbours() -> None:
    assert torch.equal(place_masks((1, 3), gaussian=True)[:, 0], place_masks((3,), gaussian=True))


@pytest.mark.parametrize("reads", ["class", "mean"])
def test_on_tokens_the_class_token_stays_as_it_is(reads: str) -> None:
    torch.manual_seed(8)
    net = TokenNet((3, 2), width=12, prefix=2, reads=reads).double().eval()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    method = ViTReciproCAM(zero=None)
    e = cfcam.explain(net, x, [method], targets=1)
    layer = net.get_submodule(e.layer)
    for n, (place, cell) in itertools.product(range(2), enumerate(np.ndindex(3, 2))):

        def left(module: nn.Module, args: object, output: Tensor, place: int = place) -> Tensor:
            masked = output.clone()
            for other, (row, column) in enumerate(np.ndindex(3, 2)):
                share = {0: 0.5, 1: 0.25}
                own = divmod(place, 2)
                masked[:, 2 + other] *= share.get(abs(row - own[0]), 0) * share.get(abs(column - own[1]), 0)
            return masked

        handle = layer.register_forward_hook(left)
        with torch.no_grad():
            probability = net(x[n : n + 1]).softmax(1)[0, 1]
        handle.remove()
        torch.testing.assert_close(e.maps["vit-recipro-cam"][(n, 0, *cell)], probability)


class TestWithoutGradients:
    def test_a_quantised_classifier(self) -> None:
        torch.manual_seed(1)
        net = GapNet(channels=8).eval()
        x = torch.randn(2, 3, 14, 10)
        exact = cfcam.explain(net, x, "recipro-cam", targets=1, layer="features").heatmaps("recipro-cam")
        torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
        small = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
        with pytest.raises(LayerError, match="quantised"):
            cfcam.explain(small, x, "grad-cam", targets=1, layer="features")
        heat = cfcam.explain(small, x, "recipro-cam", targets=1, layer="features").heatmaps("recipro-cam")
        assert np.corrcoef(heat.flatten(), exact.flatten())[0, 1] > 0.9

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own quantisation, and of scripts
    def test_a_layer_of_integers_and_a_script_are_refused_with_what_to_give_instead(self) -> None:
        class Small(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
                self.features, self.classifier = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

            def forward(self, x: Tensor) -> Tensor:
                return self.dequant(self.classifier(self.features(self.quant(x)).mean((2, 3))))

        net, x = Small().eval(), torch.randn(2, 3, 8, 8)
        with pytest.raises(InputError, match="give the Python module that it was made from"):
            cfcam.explain(torch.jit.script(net), x, "recipro-cam", layer="features")
        torch.backends.quantized.engine = torch.backends.quantized.supported_engines[-1]
        net.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
        torch.ao.quantization.prepare(net, inplace=True)(x)
        torch.ao.quantization.convert(net, inplace=True)
        with pytest.raises(LayerError, match=r"torch.quint8.* give the network from before it was quantised"):
            cfcam.explain(net, x, "recipro-cam", layer="features")

    def test_an_exported_network(self) -> None:
        torch.manual_seed(1)
        net = GapNet(channels=8).eval()
        x = torch.randn(2, 3, 14, 10)
        program = torch.export.export(net, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
        exported = torch.export.unflatten(program)
        expected = cfcam.explain(net, x, "recipro-cam", targets=1, layer="features").maps["recipro-cam"]
        found = cfcam.explain(exported, x, "recipro-cam", targets=1, layer="features").maps["recipro-cam"]
        torch.testing.assert_close(found, expected)

    def test_a_network_that_runs_in_inference_mode_of_its_own(self) -> None:
        torch.manual_seed(1)

        class Closed(GapNet):
            def forward(self, x: Tensor) -> Tensor:
                with torch.inference_mode():
                    return super().forward(x)

        net, x = Closed(channels=8).eval(), torch.randn(2, 3, 14, 10)
        assert (cfcam.explain(net, x, "recipro-cam", layer="features").status["recipro-cam"] == Status.OK).all()


def test_a_network_that_takes_one_batch_size_only() -> None:
    torch.manual_seed(1)

    class Fixed(FlattenNet):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A.reshape(2, *A.shape[1:]))

    net, x = FlattenNet(channels=8, size=(6, 4)).eval(), torch.randn(2, 3, 6, 4)
    fixed = Fixed(channels=8, size=(6, 4)).eval()
    fixed.load_state_dict(net.state_dict())
    expected = cfcam.explain(net, x, "recipro-cam", layer="features").maps["recipro-cam"]
    torch.testing.assert_close(cfcam.explain(fixed, x, "recipro-cam", layer="features").maps["recipro-cam"], expected)


class TestPasses:
    def counted(self, net: GapNet, tail: nn.Module, method: object) -> tuple[int, int]:
        heads: list[int] = []
        tails: list[int] = []
        handles = [
            net.features.register_forward_pre_hook(lambda module, args: heads.append(len(args[0]))),
            tail.register_forward_pre_hook(lambda module, args: tails.append(len(args[0]))),
        ]
        cfcam.explain(net, torch.randn(1, 3, 14, 10), method, layer="features")
        for handle in handles:
            handle.remove()
        return sum(heads), sum(tails)

    def test_the_head_runs_once_for_an_image_and_the_tail_once_for_each_place(self) -> None:
        net = FlattenNet(channels=6).eval()
        # Two masked layers behind a head of two images and of one, to see that the tail runs alone; and that none mix,
        # each alone, and two of the places.
        tried = 2 + 2 + 1 + 2
        assert self.counted(net, net.hidden, ReciproCAM()) == (1 + 1 + tried, 1 + 35 + 2 + 2 + 2 + 2)

    def test_behind_pooling_and_one_linear_layer_nothing_runs_where_score_cam_runs_each_channel(self) -> None:
        net = GapNet(channels=200).eval()
        assert self.counted(net, net.pool, ReciproCAM()) == (1, 1)
        assert self.counted(net, net.pool, ScoreCAM())[0] > 100


@pytest.mark.parametrize(
    "settings",
    [{"score": "loss"}, {"spread": "wide"}, {"zero": "mean"}, {"batch_size": 0}],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(settings: dict) -> None:
    for method in (ReciproCAM, ViTReciproCAM):
        with pytest.raises(MethodError, match=f"{method.__name__}.{next(iter(settings))}="):
            method(**settings)


@pytest.mark.parametrize("method", ["recipro-cam", "vit-recipro-cam"])
def test_behind_pooling_a_small_difference_of_scores_is_exact(method: str) -> None:
    """One of 1200 places moves a probability by 1e-5: of two such that float32 holds to 6e-8, 1 % was rounding."""
    torch.manual_seed(0)
    net = rescale(GapNet(channels=16)).eval()
    x = torch.randn(3, 3, 60, 80, generator=torch.Generator().manual_seed(1))
    together, exact = (
        cfcam.explain(net.to(dtype), x.to(dtype), method, targets=[0, 2], layer="features").maps[method].double()
        for dtype in (torch.float32, torch.float64)
    )
    net.float()
    alone = torch.cat(
        [cfcam.explain(net, one[None], method, targets=[0, 2], layer="features").maps[method] for one in x]
    )
    peak = float(exact.max())
    torch.testing.assert_close(together, exact, rtol=0, atol=1e-6 * peak)
    torch.testing.assert_close(alone.double(), together, rtol=0, atol=1e-6 * peak)
