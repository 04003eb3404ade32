"""Networks whose passes are unusual: parts under inference mode, activation checkpoints, one batch size."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import cfcam
from cfcam.capture.state.keeping import Keeper
from cfcam.errors import CfcamError, LayerError
from tests.contract.snapshot import snapshot


class Two(nn.Module):
    """A backbone, a second part and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.b = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.h = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 3)

    def tail(self, f: Tensor) -> Tensor:
        return self.fc(self.h(f).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.b(x))


def pictures(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(1))


METHODS = ["grad-cam", "cf-cam", "score-cam", "ablation-cam"]


def assert_as_plain(net: nn.Module, x: Tensor, layer: str | None) -> None:
    """The maps are those of the same network without what is unusual in it."""
    plain = Two().train(net.training)
    before = snapshot(net)
    found = cfcam.explain(net, x, METHODS, targets=[0, 2], layer=layer)
    assert snapshot(net) == before
    expected = cfcam.explain(plain, x, METHODS, targets=[0, 2], layer=found.layer)
    for method, maps in expected.maps.items():
        torch.testing.assert_close(found.maps[method], maps)


# --- parts under inference mode --------------------------------------------------------------------------------------


class FrozenBackbone(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            f = self.b(x)
        return self.tail(f.clone())


class Decorated(Two):
    @torch.inference_mode()
    def features(self, x: Tensor) -> Tensor:
        return self.b(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.features(x).clone())


class FrozenHead(Two):
    def forward(self, x: Tensor) -> Tensor:
        f = self.b(x)
        with torch.inference_mode():
            return self.tail(f)


@pytest.mark.parametrize("kind", [FrozenBackbone, Decorated])
def test_a_backbone_under_inference_mode(kind: type[Two]) -> None:
    net = kind().eval()
    assert {cfcam.explain(net, pictures(), m).layer for m in METHODS} == {"h"}
    assert_as_plain(net, pictures(), None)
    assert_as_plain(net, pictures(), "b")  # the last module of that part: what follows it is recorded


def test_inside_and_before_inference_mode_the_reason_is_told() -> None:
    for net, layer in ((FrozenBackbone().eval(), "b.0"), (FrozenHead().eval(), "b"), (FrozenHead().eval(), "h")):
        scores = cfcam.explain(net, pictures(), "score-cam", layer=layer, targets=1).maps["score-cam"]
        plain = cfcam.explain(Two().eval(), pictures(), "score-cam", layer=layer, targets=1).maps["score-cam"]
        torch.testing.assert_close(scores, plain)
        with pytest.raises(LayerError, match=r"runs under torch\.inference_mode\(\) in the network's own forward"):
            cfcam.explain(net, pictures(), "grad-cam", layer=layer)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def checkpointed(run: Callable[[Two, Tensor], Tensor]) -> type[Two]:
    return type("Checkpointed", (Two,), {"forward": lambda self, x: run(self, x)})


CHECKPOINTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "reentrant": lambda m, x: m.fc(checkpoint(m.h, m.b(x), use_reentrant=True).mean((2, 3))),
    "the default": lambda m, x: m.fc(checkpoint(m.h, m.b(x)).mean((2, 3))),
    "not reentrant": lambda m, x: m.fc(checkpoint(m.h, m.b(x), use_reentrant=False).mean((2, 3))),
    "all": lambda m, x: checkpoint(m.tail, checkpoint(m.b, x, use_reentrant=True), use_reentrant=True),
    "nested": lambda m, x: checkpoint(
        lambda f: m.fc(checkpoint(m.h, f, use_reentrant=True).mean((2, 3))), m.b(x), use_reentrant=True
    ),
    "sequential": lambda m, x: m.fc(checkpoint_sequential(m.h, 2, m.b(x), use_reentrant=True).mean((2, 3))),
}


@pytest.mark.filterwarnings("ignore:.*use_reentrant")
@pytest.mark.parametrize("where", CHECKPOINTS)
@pytest.mark.parametrize("layer", ["b", "h"])
@pytest.mark.parametrize("train", [False, True])
def test_checkpoints_are_off_for_the_call(where: str, layer: str, train: bool) -> None:
    """In training mode too, where one that is not reentrant would run again after the flags were put back."""
    import torch.utils.checkpoint as module

    layer = "h.2" if (where, layer) == ("sequential", "h") else layer  # it calls the parts, not the container
    function, generator = module.CheckpointFunction, module._checkpoint_without_reentrant_generator
    assert_as_plain(checkpointed(CHECKPOINTS[where])().train(train), pictures(), layer)
    assert (module.CheckpointFunction, module._checkpoint_without_reentrant_generator) == (function, generator)


def test_an_error_inside_a_checkpoint_comes_out_as_it_is() -> None:
    def fails(f: Tensor) -> Tensor:
        raise RuntimeError("the user's own error")

    for reentrant in (True, False):
        net = checkpointed(lambda m, x, r=reentrant: checkpoint(fails, m.b(x), use_reentrant=r))().eval()
        with pytest.raises(RuntimeError, match="the user's own error"):
            cfcam.explain(net, pictures(), "grad-cam", layer="b")


def test_a_checkpoint_of_others_is_named() -> None:
    class Theirs(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, f: Tensor) -> Tensor:
            return f * 2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            raise RuntimeError("Checkpointing is not compatible with .grad()")

    net = checkpointed(lambda m, x: m.tail(Theirs.apply(m.b(x))))().eval()
    with pytest.raises(CfcamError, match=r"activation checkpoint .* use_reentrant=False"):
        cfcam.explain(net, pictures(), "grad-cam", layer="b")


# --- one batch size --------------------------------------------------------------------------------------------------


class OfFour(Two):
    """Its batch size is written into its forward."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.h(self.b(x)).view(4, 4, -1).mean(2))


class Folded(Two):
    """With another batch it does not fail: it returns scores of four things."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.h(self.b(x)).mean((2, 3)).reshape(4, -1)[:, :4].expand(4, -1))


def exported() -> nn.Module:
    return torch.export.unflatten(torch.export.export(Two().eval(), (pictures(4),)))


@pytest.mark.parametrize("make", [OfFour, Folded, exported])
@pytest.mark.parametrize("layer", [None, "h"])
def test_a_batch_size_written_into_the_network(make: Callable[[], nn.Module], layer: str | None) -> None:
    """Masked pictures come in any number: they are sent in batches of the size that was given."""
    net = make() if make is exported else make().eval()
    methods = [*METHODS, "occlusion"]
    found = cfcam.explain(net, pictures(4), methods, targets=[0, 2], layer=layer)
    assert found.layer == "h"
    for method, maps in cfcam.explain(Two().eval(), pictures(4), methods, targets=[0, 2], layer="h").maps.items():
        torch.testing.assert_close(found.maps[method], maps, rtol=1e-4, atol=1e-6)


def test_exported_for_one_image() -> None:
    program = torch.export.export(Two().eval(), (pictures(1),))
    found = cfcam.explain(torch.export.unflatten(program), pictures(1), "score-cam", targets=1)
    expected = cfcam.explain(Two().eval(), pictures(1), "score-cam", targets=1, layer=found.layer)
    torch.testing.assert_close(found.maps["score-cam"], expected.maps["score-cam"], rtol=1e-4, atol=1e-6)


def test_another_number_than_the_networks_is_said_in_one_line() -> None:
    with pytest.raises((CfcamError, RuntimeError)) as error:
        cfcam.explain(exported(), pictures(3), "grad-cam")
    assert "exported for one batch size" in str(error.value)


def test_gradient_checkpointing_of_transformers() -> None:
    """It is on in training mode only, in which users often leave a network."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, image_size=16, patch_size=4
    )
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config).eval()
    x = torch.rand(2, 3, 16, 16)
    plain = cfcam.explain(model, x, "grad-cam", targets=1)
    for reentrant in (True, False):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.train()
        before = snapshot(model)
        found = cfcam.explain(model, x, "grad-cam", targets=1)
        assert snapshot(model) == before
        torch.testing.assert_close(found.maps["grad-cam"], plain.maps["grad-cam"])


def test_a_pass_leaves_the_garbage_collector_alone() -> None:
    """A tuple for each of a network's tensors called it in every pass, of which nothing is garbage."""
    net = nn.Sequential(*[nn.Linear(1, 1) for _ in range(500)]).eval()
    keeper, device = Keeper(net), torch.device("cpu")
    for _ in range(2):  # the first one copies
        with torch.no_grad(), keeper.kept(device, 1):
            net(torch.ones(1, 1))
    gc.collect()
    gc.disable()
    try:
        with keeper.kept(device, 1):
            made = gc.get_count()[0]
    finally:
        gc.enable()
    assert made < 200
