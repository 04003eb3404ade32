"""Models that are wrapped, compiled, exported, quantised, or called with something else than one tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import cfcam
from cfcam.capture import Adapter
from cfcam.errors import CfcamError, InputError, LayerError
from tests.contract.snapshot import snapshot
from tests.networks import GapNet, redundant, rescale
from tests.token_networks import TokenNet

METHODS = ["grad-cam", "cf-cam", "score-cam"]


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet())).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 14, 10)


def assert_same_maps(model: nn.Module, net: nn.Module, x: Tensor, layer: str = "features") -> None:
    """The wrapped model has the maps of the plain one, at the layer that is chosen for both, and stays as it was."""
    state = snapshot(model)
    found = cfcam.explain(model, x, METHODS, targets=[0, 2])
    assert snapshot(model) == state
    assert found.layer == layer
    for method, maps in cfcam.explain(net, x, METHODS, targets=[0, 2]).maps.items():
        torch.testing.assert_close(found.maps[method], maps)


# --- wrapped ---------------------------------------------------------------------------------------------------------


def test_data_parallel(net: GapNet, x: Tensor) -> None:
    assert_same_maps(nn.DataParallel(net), net, x)
    assert_same_maps(torch.compile(nn.DataParallel(net), backend="eager"), net, x)


@pytest.fixture
def one_process() -> Iterator[None]:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_distributed_data_parallel(net: GapNet, x: Tensor, one_process: None) -> None:
    assert_same_maps(nn.parallel.DistributedDataParallel(net), net, x)


def test_a_module_around_the_model(net: GapNet, x: Tensor) -> None:
    class LightningLike(nn.Module):
        """Training around a network: its forward is the network's."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model
            self.loss = nn.CrossEntropyLoss()

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.loss(self(batch[0]), batch[1])

    assert_same_maps(LightningLike(net), net, x, layer="model.features")


@pytest.mark.parametrize("make", [GapNet, lambda: TokenNet(prefix=2)], ids=["convolutions", "tokens"])
def test_compiled(make: Callable[[], nn.Module], x: Tensor) -> None:
    net = make().eval()
    layer = cfcam.explain(net, x, "grad-cam").layer
    compiled = torch.compile(net, backend="eager")
    compiled(x)
    assert_same_maps(compiled, net, x, layer)


# --- exported and scripted -------------------------------------------------------------------------------------------


def exported(net: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(net, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=64)}})


@pytest.mark.parametrize(
    ("make", "layer"),
    [(GapNet, "features"), (lambda: TokenNet(prefix=2), "blocks.2.norm1")],
    ids=["convolutions", "tokens"],
)
def test_exported_and_unflattened(make: Callable[[], nn.Module], layer: str, x: Tensor) -> None:
    net = make().eval()
    assert_same_maps(torch.export.unflatten(exported(net, x)), net, x, layer)


def test_an_exported_program_names_what_to_do(net: GapNet, x: Tensor) -> None:
    program = exported(net, x)
    with pytest.raises(InputError, match=r"give torch.export.unflatten\(program\)"):
        cfcam.explain(program, x)
    with pytest.raises(LayerError, match=r"no module of this network was seen at work .* torch.export.unflatten"):
        cfcam.explain(program.module(), x)


class Opaque(nn.Module):
    """A network that PyTorch does not see at work, as one that ONNX Runtime runs, and a grid beside it."""

    def __init__(self, net: nn.Module, grid: nn.Module | None) -> None:
        super().__init__()
        self.run, self.grid = [net], grid  # in a list: no module of this one

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is not None:
            self.grid(x)
        with torch.no_grad():
            return torch.from_numpy(self.run[0](x.clone()).numpy(force=True))


def test_a_network_that_another_runtime_runs(net: GapNet, x: Tensor) -> None:
    """Occlusion asks for no more than scores: one window for each cell of a pooling that nobody uses."""
    occlusion = cfcam.methods.Occlusion(window=1.0)
    found = cfcam.explain(Opaque(net, nn.AvgPool2d(2)), x, occlusion, layer="grid", targets=1).maps["occlusion"][:, 0]
    with torch.no_grad():
        for row, column in np.ndindex(*found.shape[1:]):
            covered = x.clone()
            covered[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 0
            fall = net(x).softmax(1)[:, 1] - net(covered).softmax(1)[:, 1]
            torch.testing.assert_close(found[:, row, column], fall, atol=1e-6, rtol=1e-5)
    opaque = Opaque(net, None)
    with pytest.raises(LayerError, match=r"no module .* where it has no gradients, layer='input' and occlusion"):
        cfcam.explain(opaque, x, "occlusion")
    with pytest.raises(CfcamError, match=r"records none on the way .* use occlusion or score-cam"):
        cfcam.explain(opaque, x, "smooth-grad")
    assert cfcam.explain(opaque, x, "score-cam", layer="input").maps["score-cam"].shape[2:] == x.shape[2:]


def test_a_scripted_module_names_what_to_do(net: GapNet, x: Tensor) -> None:
    with pytest.raises(InputError, match=r"GapNet is a scripted module, .* give the Python module"):
        cfcam.explain(torch.jit.trace(net, x), x)


# --- quantised -------------------------------------------------------------------------------------------------------


def test_quantised(net: GapNet, x: Tensor) -> None:
    """Quantised layers have no gradients: methods that need none work, the others say so."""
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    scores = cfcam.explain(quantised, x, "score-cam", targets=[0, 2])
    assert scores.layer == "features"
    plain = cfcam.explain(net, x, "score-cam", targets=[0, 2])
    assert (scores.heatmaps("score-cam") - plain.heatmaps("score-cam")).abs().mean() < 0.02
    with pytest.raises(LayerError, match=r"because 'classifier' of this network is quantised: use score-cam"):
        cfcam.explain(quantised, x, "grad-cam")


# --- other arguments -------------------------------------------------------------------------------------------------


class WithAge(GapNet):
    """Scores depend on a second input of each image."""

    def forward(self, x: Tensor, age: Tensor) -> Tensor:
        assert len(age) == len(x)
        return self.tail(self.features(x)) * age


class FromBatch(GapNet):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": batch["image"].mean(), "scores": self.tail(self.features(batch["image"]))}


AGES = torch.tensor([[0.5], [2.0], [3.0]])


def test_a_second_input_follows_its_image(net: GapNet, x: Tensor) -> None:
    """Masked copies of one image arrive together; each has the other input of its own image."""
    model = WithAge().eval()
    model.load_state_dict(net.state_dict())
    adapter = Adapter(model, lambda x, images: {"x": x, "age": AGES[images]})
    found = cfcam.explain(adapter, x, [*METHODS, "ablation-cam"], targets=[0, 2])
    assert found.layer == "model.features"
    for n in range(3):

        class Alone(GapNet):
            age = AGES[n]

            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) * self.age

        alone = Alone().eval()
        alone.load_state_dict(net.state_dict())
        expected = cfcam.explain(alone, x[n : n + 1], list(found.maps), targets=[0, 2])
        for method, maps in expected.maps.items():
            torch.testing.assert_close(found.maps[method][n : n + 1], maps)


def test_positional_and_keyword_arguments_and_a_mapping(net: GapNet, x: Tensor) -> None:
    pair, batch = WithAge().eval(), FromBatch().eval()
    for model in (pair, batch):
        model.load_state_dict(net.state_dict())
    adapters = [
        Adapter(pair, lambda x, images: (x, torch.ones(len(x), 1))),
        Adapter(batch, lambda x, images: ({"image": x},), lambda output: output["scores"]),
        Adapter(net, lambda x, images: x),
    ]
    for adapter in adapters:
        assert_same_maps(adapter, net, x, layer="model.features")


@pytest.mark.parametrize("kind", [WithAge, FromBatch])
def test_without_an_adapter_the_error_names_it(kind: type[GapNet], x: Tensor) -> None:
    model = kind().eval()
    state = snapshot(model)
    with pytest.raises(InputError, match=rf"{kind.__name__} fails on one batch .* cfcam.capture.Adapter") as error:
        cfcam.explain(model, x, layer="features")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is not None
    assert snapshot(model) == state


class Unbatched(nn.Module):
    """Takes one image (C, H, W), and answers once."""

    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "asserts":
            assert x.ndim == 3
        return self.net(x.view(1, *x.shape[-3:]) if x.ndim == 3 else x.permute(0, 1, 2))[0]


@pytest.mark.parametrize("how", ["asserts", "permutes"])
def test_a_network_without_a_batch_axis(net: GapNet, x: Tensor, how: str) -> None:
    single, one = Unbatched(net, how), x[:1]
    for given in (one, one[0]):
        with pytest.raises(InputError, match=r"takes one image without a batch axis: give cfcam.capture.Adapter\("):
            cfcam.explain(single, given, "grad-cam")
    adapter = Adapter(single, lambda x, images: x[0], lambda output: output[None])
    methods = ["grad-cam", "score-cam", "recipro-cam", "cf-cam-steady"]
    methods += ["integrated-gradients"] if find_spec("captum") else []  # its path is run in parts of one
    found = cfcam.explain(adapter, one, methods, layer="model.net.features", targets=[1])
    expected = cfcam.explain(net, one, methods, layer="features", targets=[1])
    for name in methods:
        torch.testing.assert_close(found.maps[name], expected.maps[name], rtol=1e-4, atol=1e-6)


def test_an_adapter_that_answers_itself_is_told_what_is_due(net: GapNet, x: Tensor) -> None:
    single = Unbatched(net, "asserts")
    with pytest.raises(InputError, match=r"returned, a tensor \(\d+,\) .+: return what the model is called"):
        cfcam.explain(Adapter(single, lambda x, images: single(x[0])), x[:1], "grad-cam", layer="model.net.features")
