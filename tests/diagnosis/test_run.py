"""All checks of `cfcam.diagnose` on networks that are well; each on a broken one stands in the file of its module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cfcam import diagnose
from cfcam.models.demo import CLASSES, EXAMPLES, load_demo_network
from tests.contract.snapshot import snapshot
from tests.diagnosis.networks import Net, image, phantoms
from tests.networks import GapNet
from tests.token_networks import TokenNet


@pytest.mark.parametrize("x", [None, *EXAMPLES])
def test_the_demo_network_is_well(x: str | None) -> None:
    given = None if x is None else phantoms(x)
    found = diagnose(load_demo_network(), given, classes=CLASSES, probability="sigmoid")
    assert found.ok, found
    assert not found.of("warning"), found
    assert found.layer == "layer4"
    assert found.synthetic is (x is None)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (GapNet(1), (2, 3, 64)),
        (GapNet(2), (2, 3, 24, 20)),
        (GapNet(3), (1, 3, 12, 14, 16)),
        (TokenNet(), (2, 3, 14, 10)),
        (nn.DataParallel(GapNet(2)), (2, 3, 24, 20)),
    ],
)
def test_other_networks_are_well(net: nn.Module, shape: tuple[int, ...]) -> None:
    found = diagnose(net.eval(), torch.randn(shape))
    assert found.ok, found
    assert found.layer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_well(dtype: torch.dtype) -> None:
    found = diagnose(load_demo_network().to(dtype), phantoms("nodule"), probability="sigmoid")
    assert found.ok, found
    assert not found.of("warning"), found


def test_it_works_in_inference_mode() -> None:
    with torch.inference_mode():
        found = diagnose(load_demo_network(), phantoms("nodule"), probability="sigmoid")
    assert found.ok, found
    assert found["evidence"].severity == "ok"


def test_infinity_in_half_precision() -> None:
    class Huge(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.scale(A * 0 + 300))

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Conv2d(8, 8, 1)
            nn.init.constant_(self.scale.weight, 300.0)

    found = diagnose(Huge().eval().half(), image())
    assert found["finite"].values == {"module": "scale"}
    assert "float()" in found["finite"].advice
    assert diagnose(Huge().eval(), image())["finite"].severity == "ok"


def test_nothing_of_the_model_or_the_process_is_changed() -> None:
    net, x = GapNet(norm=True).train(), image()
    before = snapshot(net)
    diagnose(net, x)
    diagnose(net, image(size=7, channels=1))
    assert snapshot(net) == before
