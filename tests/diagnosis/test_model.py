"""Checks of the network itself, on networks that were broken on purpose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfcam import diagnose
from tests.diagnosis.networks import Net, gravest, image
from tests.networks import GapNet


def test_what_is_no_module_is_said_and_not_raised() -> None:
    found = diagnose(torch.jit.trace(Net().eval(), image()), image())
    assert gravest(found) == ["model"]
    assert "scripted" in found["model"].seen


def test_a_quantised_network_has_no_gradient() -> None:
    class Quantised(Net):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = torch.ao.nn.quantized.dynamic.Linear(8, 3)

    found = diagnose(Quantised().eval(), image())
    quantised = next(f for f in found.of("warning") if f.check == "model")
    assert "'classifier' is quantised" in quantised.seen
    assert "score-cam" in quantised.advice
    assert gravest(found) == ["gradient"]
    without = diagnose(Quantised().eval(), image(), method="score-cam")
    assert without.ok
    assert "evidence" in without


def test_a_compiled_network_is_said_to_run_uncompiled() -> None:
    found = diagnose(torch.compile(Net().eval()), image())
    assert found.ok
    assert "uncompiled" in found["model"].means


def test_frozen_parameters_are_no_problem() -> None:
    found = diagnose(Net().eval().requires_grad_(False), image())
    assert found.ok
    assert "all frozen" in found["model"].seen


def test_weights_that_were_never_loaded() -> None:
    with torch.device("meta"):
        net = Net().eval()
    found = diagnose(net, image())
    assert gravest(found) == ["device"]
    assert "meta" in found["device"].seen


def test_nan_in_the_weights_is_named() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.features[2].weight[0, 0, 0, 0] = torch.nan
    found = diagnose(net, image())
    assert "features.2.weight (1 of 576 numbers" in found["weights"].seen
    assert found["finite"].values == {"module": "features.2"}
    assert not found.ok


def test_batch_norms_that_never_moved() -> None:
    found = diagnose(GapNet(norm=True).eval(), image())
    assert found["weights"].severity == "warning"
    assert found["weights"].values["modules"] == ["features.1"]


def test_training_mode() -> None:
    net = GapNet(norm=True).train()
    found = diagnose(net, image())
    assert found["mode"].severity == "warning"
    assert found["mode"].values == {"training": 10, "batch_norm": 1, "dropout": 1}
    assert found["mode"].advice == "model.eval()"
    assert diagnose(net.eval(), image())["mode"].severity == "ok"


def test_hooks_of_other_code() -> None:
    net = Net().eval()
    assert diagnose(net, image())["hooks"].severity == "ok"
    net.features[1].register_forward_hook(lambda *_: None)
    assert "features.1 (forward hooks)" in diagnose(net, image())["hooks"].seen
    assert diagnose(net, image())["hooks"].severity == "note"


def test_a_backward_hook_before_an_in_place_activation() -> None:
    class InPlace(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.again(A))

        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(inplace=True))
            self.again[0].register_full_backward_hook(lambda *_: None)

    found = diagnose(InPlace().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "backward hook" in found["gradient"].means
    assert found["hooks"].severity == "warning"
