"""Packed kernels: the same convolutions, and everything else left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cfcam.capture import Capture, Network
from cfcam.capture.deferred import Convolution
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.packing import Packed

pytestmark = pytest.mark.skipif(not PackedKernels.available(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of axes of every kernel that is run packed."""
    seen: list[int] = []
    pack = PackedKernels._kernel

    def watched(self: PackedKernels, of: Convolution) -> Packed:
        seen.append(of.weight.ndim)
        return pack(self, of)

    monkeypatch.setattr(PackedKernels, "_kernel", watched)
    return seen


@pytest.fixture(autouse=True)
def without_graph() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"stride": 2, "padding": 1},
        {"dilation": 2},
        {"groups": 4},
        {"groups": 2, "padding": (1, 0, 2)},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_the_same_convolution(packings: list[int], dims: int, options: dict, layout: str) -> None:
    options = {k: v[:dims] if isinstance(v, tuple) else v for k, v in options.items()}
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2](4, 8, 3, **options)
    x = torch.randn(3, 4, *[9, 8, 7][:dims])
    if layout == "channels last":
        x = x.contiguous(memory_format=(torch.channels_last, torch.channels_last_3d)[dims - 2])
    if layout == "strided":
        x = torch.cat([x, x], -1)[..., ::2]
    mode = PackedKernels(conv.parameters())
    for batch in (x, x[:1], x):  # a packed kernel is used again for batches of another size
        with mode:
            found = conv(batch)
        torch.testing.assert_close(found, conv(batch), rtol=1e-5, atol=1e-5)
    assert packings == [dims + 2] * 3


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_what_is_no_convolution_with_a_parameter_is_left_alone(packings: list[int]) -> None:
    conv, x = nn.Conv2d(3, 5, 3), torch.randn(2, 3, 8, 8)
    same, transposed, line = nn.Conv2d(3, 5, 3, padding="same"), nn.ConvTranspose2d(3, 5, 3), nn.Conv1d(3, 5, 3)
    computed = nn.Conv2d(3, 5, 3)
    parametrize.register_parametrization(computed, "weight", Doubled())
    modules = nn.ModuleList([conv, same, transposed, line, computed])
    calls = {
        "computed kernel": lambda: computed(x),
        "padding in words": lambda: same(x),
        "transposed": lambda: transposed(x),
        "1-D": lambda: line(x[:, :, 0]),
        "no batch axis": lambda: conv(x[0]),
        "numbers for tuples": lambda: F.conv2d(x, conv.weight, conv.bias, 1, 0, 1, 1),
        "another weight": lambda: F.conv2d(x, conv.weight.clone()),
    }
    expected = {name: call() for name, call in calls.items()}
    with PackedKernels(modules.parameters()):
        for name, call in calls.items():
            assert torch.equal(call(), expected[name]), name
    assert packings == []


def test_autocast_and_double_precision_are_the_models_own_affair(packings: list[int]) -> None:
    conv, x = nn.Conv2d(3, 5, 3), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = conv(x)
        with PackedKernels(conv.parameters()):
            assert torch.equal(conv(x), expected)
    double = nn.Conv2d(3, 5, 3).double()
    with PackedKernels(double.parameters()):
        assert torch.equal(double(x.double()), double(x.double()))
    assert packings == []


def test_masked_passes_pack_each_kernel_and_the_first_pass_none(packings: list[int]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2))
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).mean((2, 3)))

    net, x = Net().eval(), torch.randn(2, 3, 12, 12)
    capture = Capture(Network(net), x, layer="features", targets=[0])
    assert packings == []
    capture.rescore(x, torch.arange(2))
    assert packings == [4, 4]
    net.features[0].weight += 1  # a later capture sees what the model has become
    other = Capture(Network(net), x, layer="features", targets=[0])
    torch.testing.assert_close(other.rescore(x, torch.arange(2)), net(x)[:, :1])


class Wide(nn.Module):
    """A network that takes a number of pictures, or any (None)."""

    def __init__(self, count: int | None = None) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(1, 2, 8, stride=32), nn.Linear(2, 3)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        if self.count not in (None, len(x)):
            raise ValueError(f"batch of {len(x)}")
        return self.head(self.features(x).mean((2, 3)))


def test_large_pictures_are_scored_two_or_more_at_a_time() -> None:
    """Of 640 x 640 pixels 0.98 fit into the memory that is kept; one alone might be taken for no batch."""
    net, x = Wide().eval(), torch.randn(5, 1, 640, 640)
    capture = Capture(Network(net), x[:2], layer="features", targets=[0, 2])
    capture.rescore(x[:2], torch.arange(2))
    seen: list[int] = []
    handle = net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = capture.rescore(x, torch.arange(5) % 2)
    assert seen == [3, 1, 1, 2]  # two alone tell whether three are mixed
    capture.rescore(x[:, :, :32, :32], torch.arange(5) % 2)
    assert seen[4:] == [5, 1, 1]
    handle.remove()
    torch.testing.assert_close(found, net(x)[:, [0, 2]])


def test_a_network_of_one_batch_size_is_given_it() -> None:
    net, x = Wide(4).eval(), torch.randn(4, 1, 640, 640)
    capture = Capture(Network(net), x, layer="features", targets=[1])
    torch.testing.assert_close(capture.rescore(x, torch.arange(4)), net(x)[:, 1:2])
