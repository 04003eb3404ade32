"""Models in the wrappers and with the outputs that people have: the maps are those of the network inside."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import cfcam
from cfcam import Segmentation
from cfcam.capture import Adapter
from cfcam.errors import InputError, LayerError
from tests.contract.snapshot import snapshot
from tests.networks import GapNet, redundant, rescale

METHODS = ["grad-cam", "cf-cam", "score-cam"]


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet())).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 14, 10)


def assert_same(model: nn.Module, net: nn.Module, x: Tensor, layer: str | None = None, targets: Any = (0, 2)) -> None:
    """The maps of the model at the layer chosen for it are those of the network, and it stays as it was."""
    state = snapshot(model)
    found = cfcam.explain(model, x, METHODS, targets=targets)
    assert snapshot(model) == state
    assert layer is None or found.layer == layer
    for method, maps in cfcam.explain(net, x, METHODS, targets=targets).maps.items():
        torch.testing.assert_close(found.maps[method], maps)


# --- Lightning -------------------------------------------------------------------------------------------------------


def lightning_module(net: nn.Module, forward: Callable[..., Any] | None) -> nn.Module:
    lightning = pytest.importorskip("lightning")

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.loss = nn.CrossEntropyLoss()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.loss(self.net(batch[0]), batch[1])

    if forward is not None:
        Training.forward = forward
    return Training().eval()


def test_a_lightning_module(net: GapNet, x: Tensor) -> None:
    assert_same(lightning_module(net, lambda self, x: self.net(x)), net, x, "net.features")


def test_a_lightning_module_without_forward_says_what_to_give(net: GapNet, x: Tensor) -> None:
    model = lightning_module(net, None)
    with pytest.raises(InputError, match=r"Training cannot be run .* no forward\(\): give the network inside") as error:
        cfcam.explain(model, x, "grad-cam")
    assert "\n" not in str(error.value)
    assert_same(model.net, net, x)


def test_a_lightning_module_that_takes_a_batch(net: GapNet, x: Tensor) -> None:
    model = lightning_module(net, lambda self, batch: self.net(batch["image"]))
    with pytest.raises(InputError, match=r"wrap it in cfcam\.capture\.Adapter"):
        cfcam.explain(model, x, "grad-cam")
    assert_same(Adapter(model, lambda x, images: ({"image": x},)), net, x, "model.net.features")


@pytest.mark.filterwarnings("ignore")
def test_a_module_set_up_by_fabric(net: GapNet, x: Tensor) -> None:
    lightning = pytest.importorskip("lightning")
    model = lightning.Fabric(accelerator="cpu", devices=1).setup(copy.deepcopy(net)).eval()
    assert_same(model, net, x, "_forward_module.features")


def test_a_weight_average(net: GapNet, x: Tensor) -> None:
    assert_same(torch.optim.swa_utils.AveragedModel(net).eval(), net, x, "module.features")


# --- outputs ---------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    features: Tensor
    logits: Tensor


Pair = namedtuple("Pair", ["scores", "features"])


def model_output(A: Tensor, logits: Tensor) -> Any:
    return pytest.importorskip("transformers").modeling_outputs.ImageClassifierOutput(
        loss=A.mean(), logits=logits, hidden_states=(A,)
    )


OUTPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda A, logits: (logits, A),
    "list": lambda A, logits: [logits, A],
    "named tuple": lambda A, logits: Pair(logits, A),
    "None first": lambda A, logits: (None, logits),
    "dict": lambda A, logits: {"features": A, "logits": logits},
    "ordered dict": lambda A, logits: OrderedDict(features=A, out=logits),
    "dataclass": lambda A, logits: Answer(A, logits),
    "ModelOutput": model_output,
    "one number an image": lambda A, logits: logits[:, 0],
}


def answering(net: GapNet, kind: str) -> nn.Module:
    class Answering(GapNet):
        def forward(self, x: Tensor) -> Any:
            A = self.features(x)
            return OUTPUTS[kind](A, self.tail(A))

    model = Answering().eval()
    model.load_state_dict(net.state_dict())
    return model


@pytest.mark.parametrize("kind", [kind for kind in OUTPUTS if kind != "one number an image"])
def test_the_logits_are_found_in_the_output(kind: str, net: GapNet, x: Tensor) -> None:
    assert_same(answering(net, kind), net, x, "features")


def test_one_number_an_image(net: GapNet, x: Tensor) -> None:
    e = cfcam.explain(answering(net, "one number an image"), x, "grad-cam", targets=1)
    torch.testing.assert_close(e.maps, cfcam.explain(net, x, "grad-cam", targets=0).maps)


# --- segmentation networks in wrappers -------------------------------------------------------------------------------


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


WRAPPERS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "DataParallel": lambda net, x: nn.DataParallel(net),
    "compiled": lambda net, x: torch.compile(net, backend="eager"),
    "unflattened": lambda net, x: torch.export.unflatten(
        torch.export.export(net, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=64)}})
    ),
    "Lightning": lambda net, x: lightning_module(net, lambda self, x: self.net(x)),
    "dict": lambda net, x: Adapter(net, lambda x, images: x, lambda output: {"out": output, "aux": output[:, :1]}),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_segmentation_network(wrapper: str, x: Tensor) -> None:
    net = Segmenter().eval()
    mask = torch.zeros(14, 10)
    mask[3:9, 2:7] = 1
    targets = [Segmentation(1, mask), Segmentation(2, mask)]
    assert_same(WRAPPERS[wrapper](net, x), net, x, targets=targets)


# --- what cannot be observed -----------------------------------------------------------------------------------------


def test_exported_for_one_batch_size(net: GapNet, x: Tensor) -> None:
    """It runs in batches of that size; on another number of images it says so."""
    model = torch.export.unflatten(torch.export.export(net, (x,)))
    e = cfcam.explain(model, x, "score-cam", layer="features", targets=1)
    torch.testing.assert_close(
        e.maps["score-cam"], cfcam.explain(net, x, "score-cam", layer="features", targets=1).maps["score-cam"]
    )
    with pytest.raises(InputError, match=r"exported for one batch size: export it with a dynamic batch") as error:
        cfcam.explain(model, torch.cat([x, x]), "score-cam")
    assert "\n" not in str(error.value)


def test_statically_quantised(net: GapNet, x: Tensor) -> None:
    """Its layers pass whole numbers on: said, with what to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_fx(copy.deepcopy(net), get_default_qconfig_mapping(), (x,))
        prepared(x)
        model = convert_fx(prepared)
        for method in ("score-cam", "grad-cam"):
            with pytest.raises(LayerError, match=r"which has neither gradients nor maps.* before it was quantised"):
                cfcam.explain(model, x, method)
