"""Steps behind a convolution that are taken with it: the same numbers, whatever a network does with them."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import cfcam
from cfcam.capture import Capture, Network
from cfcam.capture.deferred import Deferred, MovedError
from cfcam.capture.kernels import PackedKernels

pytestmark = pytest.mark.skipif(not PackedKernels.available(), reason="this PyTorch has no oneDNN")

SEPARATE = {"aten::native_batch_norm", "aten::batch_norm", "aten::relu", "aten::clamp_min", "aten::add", "aten::add_"}


@pytest.fixture(autouse=True)
def without_graph() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def settled(channels: int) -> nn.BatchNorm2d:
    """A batch normalisation that has seen something."""
    norm = nn.BatchNorm2d(channels).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    return norm


class Block(nn.Module):
    """Two convolutions with what follows in a residual network."""

    def __init__(self, channels: int = 4, *, inplace: bool = False) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), settled(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), settled(channels)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += x
        return self.relu(y)


def operators(call: Callable[[], object]) -> list[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        call()
    return [event.name for event in seen.events()]


def packed(net: nn.Module) -> PackedKernels:
    return PackedKernels(net.parameters())


def test_two_channels_by_hand() -> None:
    block = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, eps=0.0)]).eval()
    conv, norm = block
    conv.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]).view(2, 2, 1, 1))
    conv.bias.copy_(torch.tensor([0.5, -1.0]))
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    norm.weight.copy_(torch.tensor([2.0, -1.0]))
    norm.bias.copy_(torch.tensor([0.0, 3.0]))
    # One pixel (1, 3): convolved 1 + 6 + 0.5 = 7.5 and 3 - 3 - 1 = -1; normalised (7.5 - 1) / 2 * 2 = 6.5 and
    # (-1 - 2) / 0.5 * -1 + 3 = 9; with the residual (-10, 1) added -3.5 and 10; rectified 0 and 10.
    x, residual = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), torch.tensor([-10.0, 1.0]).view(1, 2, 1, 1)
    with packed(block):
        convolved = conv(x)
        normalised = norm(conv(x))
        found = torch.relu(norm(conv(x)) + residual)
    assert convolved.flatten().tolist() == [7.5, -1.0]
    assert normalised.flatten().tolist() == [6.5, 9.0]
    assert found.flatten().tolist() == [0.0, 10.0]
    assert type(convolved) is type(normalised) is type(found) is Tensor


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_block_is_two_operators(batch: int, inplace: bool) -> None:
    net, x = nn.Sequential(Block(inplace=inplace), Block(inplace=inplace)), torch.randn(batch, 4, 9, 9)
    expected, before, mode = net(x), x.clone(), packed(net)
    for _ in range(2):
        with mode:
            torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)

    def again() -> None:
        with mode:
            net(x)

    ran = operators(again)
    assert not SEPARATE & set(ran)
    assert ran.count("mkldnn::_convolution_pointwise") == 4


def test_volumes_too() -> None:
    net = nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.Conv3d(3, 3, 1), nn.Hardswish()).eval()
    net[1].running_mean.normal_()
    x = torch.randn(1, 2, 6, 7, 8)
    with packed(net):
        torch.testing.assert_close(net(x), expected := net(x).clone())
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.3, 0.2), nn.SiLU(), nn.Hardswish()])
def test_activations_are_part_of_the_step(activation: nn.Module) -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), settled(8), activation).eval(), 4 * torch.randn(2, 3, 8, 8)
    mode = packed(net)
    with mode:
        torch.testing.assert_close(net(x), net(x))
        found = net(x)
    torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-5)

    def again() -> None:
        with mode:
            net(x)

    assert not {"aten::native_batch_norm", "aten::relu", "aten::clamp_min", "aten::clamp", "aten::hardtanh"} & set(
        operators(again)
    )
    assert not {"aten::silu", "aten::hardswish"} & set(operators(again))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("around", [(1, 1, 1, 1), (0, 1, 0, 1), (2, 1, 0, 3), (0, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_around_the_input_are_the_convolutions_own(groups: int, around: tuple[int, ...], stride: int) -> None:
    conv, x = nn.Conv2d(4, 4, 3, stride, groups=groups, padding=(1, 0)), torch.randn(2, 4, 9, 8)
    expected = conv(F.pad(x, around))
    with packed(conv):
        found, both = conv(F.pad(x, around)), F.pad(x, around)
        twice = conv(both), both.sum()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(twice[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(twice[1], x.sum())
    assert torch.equal(both, F.pad(x, around))


class Fickle(nn.Module):
    """Takes another way in each pass, and uses results more than once."""

    ways = 10

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 3, padding=1), settled(3), settled(3)
        self.way = 0

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.norm(y)
        match self.way:
            case 0:
                return F.relu(z)
            case 1:
                return F.relu(z) + z + y
            case 2:
                return torch.cat([self.other(y), z, y], 1)
            case 3:
                y.mul_(2)  # what comes from `y` already stays
                return z + y
            case 4:
                part = z[:, :1]
                z.relu_()
                return part + z
            case 5:
                F.relu(y, inplace=True)
                return self.other(y) - z
            case 6:
                return self.norm(z) + self.other(F.silu(y))
            case 7:
                y += 1
                return F.relu(y + y)
            case 8:
                return torch.add(z, y, alpha=3) + (z + 1)
            case _:
                return self.conv(z) + self.norm(self.conv(y)).data.clamp_(max=0) + z.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("inside", [1, 5])
def test_control_flow_may_change_between_passes(inside: int) -> None:
    net, x = Fickle(), torch.randn(2, 3, 6, 6)
    mode = packed(net)
    for step in range(3 * net.ways):
        net.way = step * inside % net.ways
        with mode:
            found = net(x)
        assert type(found) is Tensor
        torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-5, msg=f"way {net.way}")


@pytest.mark.parametrize("inside", [1, 5])
def test_rounded_steps_differ_by_their_rounding_and_all_else_sees_float32(inside: int) -> None:
    net, x = Fickle(), torch.randn(2, 3, 6, 6)
    mode = PackedKernels(net.parameters(), dtype=torch.bfloat16)
    for step in range(2 * net.ways):
        net.way = step * inside % net.ways
        found = mode.run(lambda: entered(mode, net, x), lambda: pytest.fail("the steps failed"))
        assert type(found) is Tensor
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, net(x), rtol=0.03, atol=0.1, msg=f"way {net.way}")


@pytest.mark.parametrize("inplace", [False, True])
def test_rounded_steps_on_small_whole_numbers_are_exact(inplace: bool) -> None:
    """Whole numbers up to 256 are their own bfloat16: convolutions, sums, activations and zeros around, and pooling."""
    first, second, third = (nn.Conv2d(2, 2, 3, padding=p, groups=g) for p, g in ((1, 1), (1, 2), (0, 2)))
    for conv in (first, second, third):
        conv.weight.copy_(torch.randint(-1, 2, conv.weight.shape))
        conv.bias.copy_(torch.randint(-3, 4, conv.bias.shape))
    seen: list[torch.dtype] = []
    second.register_forward_hook(lambda module, args, output: seen.append(output.dtype))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third, self.relu = first, second, third, nn.ReLU6(inplace)

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(self.first(x))
            z = F.max_pool2d(self.second(y) + y, 2)
            return torch.cat([self.third(F.pad(z, (0, 1, 0, 1))), self.second(z)[:, :, :4, :4]], 1)

    net, x = Net(), torch.randint(-3, 4, (2, 2, 10, 10)).float()
    mode = PackedKernels(net.parameters(), dtype=torch.bfloat16)
    found = mode.run(lambda: entered(mode, net, x), lambda: pytest.fail("the steps failed"))
    assert torch.equal(found, net(x))
    assert set(seen) == {torch.float32}


def entered(mode: PackedKernels, net: nn.Module, x: Tensor) -> Tensor:
    with mode:
        return net(x)


def test_what_is_used_twice_is_computed_once_in_later_passes() -> None:
    net, x = Fickle(), torch.randn(2, 3, 6, 6)
    net.way, mode = 2, packed(net)

    def run() -> None:
        with mode:
            net(x)

    assert operators(run).count("mkldnn::_convolution_pointwise") == 3
    assert operators(run).count("mkldnn::_convolution_pointwise") == 1


def test_hooks_see_the_numbers() -> None:
    net, x = Block(), torch.randn(2, 4, 6, 6)
    seen: list[Tensor] = []
    handles = [
        m.register_forward_hook(lambda m, args, out: seen.append(out)) for m in (net.conv1, net.norm1, net.norm2)
    ]
    changed = net.norm1.register_forward_hook(lambda m, args, out: 2 * out)
    expected = net(x)
    kept, seen[:] = [one.clone() for one in seen], []
    with packed(net):
        torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(seen, kept[:2], strict=False):
        assert type(mine) is Tensor
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    for handle in (*handles, changed):
        handle.remove()


def test_compiled_scripts_and_weak_references_get_the_numbers() -> None:
    script = torch.jit.script(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).eval())
    conv, x = nn.Conv2d(3, 3, 3), torch.randn(2, 3, 6, 6)
    expected = script(conv(x)) + conv(x)
    with packed(conv):
        y = conv(x)
        held = weakref.ref(y)
        found = script(y) + y
        assert held() is y
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_numbers_that_are_not_finite_show() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), settled(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU6())
    x = torch.randn(2, 3, 4, 4)
    x[0, 0, 1, 2], x[1, 1, 0, 0] = torch.nan, torch.inf
    with packed(net):
        torch.testing.assert_close(net(x), expected := net(x).clone(), equal_nan=True)
    assert torch.equal(expected.isnan(), net(x).isnan())
    assert expected.isnan().any()
    huge = torch.full((1, 3, 2, 2), 1e38)  # sums of finite numbers: inf - inf
    net[0].weight.copy_(torch.tensor([9.0, 9.0, -9.0]).view(1, 3, 1, 1).expand(4, 3, 1, 1))
    with packed(net):
        found = net(huge)
    assert found.isnan().any()
    assert net(huge).isnan().any()
    net[1].running_var.zero_()
    net[1].eps = 0.0  # a kernel that cannot be folded
    with packed(net):
        found = net(x[:, :, 2:])
    torch.testing.assert_close(found, net(x[:, :, 2:]), equal_nan=True)


def test_parameters_changed_in_place_are_packed_again() -> None:
    net, x = Block(), torch.randn(2, 4, 6, 6)
    mode = packed(net)
    for change in (net.conv1.weight, net.norm1.running_var, net.norm2.bias, net.conv2.bias, net.norm1.weight):
        with mode:
            torch.testing.assert_close(net(x), net(x))
        change += 0.5
        with mode:
            found = net(x)
        torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-5)
    net.norm1.running_mean = torch.randn(4)
    net.conv1.weight.data = torch.randn(4, 4, 3, 3)
    net.norm2.eps = 0.7
    with mode:
        found = net(x)
    torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-5)
    assert [len(kinds) for kinds in mode._packed.values()] == [1, 2]  # with either `eps`; what is no more is forgotten


def test_an_input_changed_before_its_convolution_was_asked_for_is_an_error_that_a_capture_answers() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(1, 2, 1), nn.Linear(2, 2)
            self.change = torch.jit.script(_double)

        def forward(self, x: Tensor) -> Tensor:
            y = self.features(x)
            self.change(x)
            return self.head(y.mean((2, 3)))

    net, x = Late().eval(), torch.randn(2, 1, 4, 4)
    with pytest.raises(MovedError), packed(net):
        net(x.clone())
    capture = Capture(Network(net), x, layer="features", targets=[0, 1])
    for _ in range(2):
        torch.testing.assert_close(capture.rescore(x, torch.arange(2)), net(x.clone()))


def _double(x: Tensor) -> Tensor:
    return x.mul_(2)


def test_graphs_and_training_are_left_alone() -> None:
    net, x = Block(), torch.randn(2, 4, 6, 6)
    with packed(net), torch.enable_grad():
        y = net.conv1(x)
        assert y.requires_grad
        assert torch.autograd.grad(net.norm1(y).sum(), net.conv1.weight)[0].isfinite().all()
    net.norm1.train()
    twin = copy.deepcopy(net)
    with packed(net):
        found = net(x)
    torch.testing.assert_close(found, twin(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.norm1.running_mean, twin.norm1.running_mean)


def test_shapes_are_told_without_numbers() -> None:
    conv, x = nn.Conv2d(3, 5, 3, 2, dilation=2), torch.randn(2, 3, 11, 12)
    with packed(conv):
        y = conv(x)
        assert (tuple(y.shape), y.ndim, y.size(1), y.dtype) == ((2, 5, 4, 4), 4, 5, torch.float32)
        assert type(y) is Deferred
        y.sum()
        assert type(y) is Tensor


def test_masked_passes_of_a_capture_take_steps_together_and_copies_pack_for_themselves() -> None:
    net = nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    x, network = torch.randn(2, 4, 8, 8), Network(net)
    network.pack()
    for again in (network, pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):  # noqa: S301
        Capture(again, x, layer="0", targets=[0])  # the first pass is watched
        ran = operators(lambda network=again: Capture(network, x, layer="0", targets=[0]))
        assert ran.count("mkldnn::_convolution_pointwise") == 2
        assert not {"aten::native_batch_norm", "aten::clamp_min"} & set(ran)
        capture = Capture(again, x, layer="0", targets=[0])
        torch.testing.assert_close(capture.logits, net(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(capture.rescore(x, torch.arange(2)), net(x)[:, :1], rtol=1e-5, atol=1e-5)
        ran = operators(lambda capture=capture: capture.rescore(x, torch.arange(2)))
        assert not {"aten::native_batch_norm", "aten::clamp_min"} & set(ran)


def test_a_single_volume_is_not_left_to_the_slow_kernel() -> None:
    net = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    x = torch.randn(1, 1, 8, 8, 8)
    assert "aten::slow_conv3d" in " ".join(operators(lambda: net(x)))  # else PyTorch has changed, and the rule may go
    ran = operators(lambda: Capture(Network(net), x, layer="1", targets=[0]))
    assert "aten::slow_conv3d" not in " ".join(ran)


def test_inference_mode_within_a_network_is_its_own_affair() -> None:
    net, x = nn.Sequential(Block(), Block()), torch.randn(2, 4, 6, 6)
    expected = net(x)
    with packed(net), torch.inference_mode():
        found = net(x)
        again = net(found)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again, net(expected), rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        made = Block()
        kept = made(x)
    with packed(made):
        torch.testing.assert_close(made(x), kept, rtol=1e-5, atol=1e-5)


class Odd(nn.Module):
    """A network that notices how its results are laid out, in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.again = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.way, self.wide = way, nn.Linear(8 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        if self.way == "view":
            return self.wide(F.max_pool2d(y, 2).view(len(y), -1))
        if self.way == "reshape":  # reaches y only where no copy is made
            y.reshape(len(y), -1).mul_(0.25)
        if self.way == "contiguous":
            y.contiguous().sub_(0.5)
        if self.way == "branch" and not y.is_contiguous():
            y = y * 3
        act = {"silu": F.silu, "relu6": F.relu6, "hardtanh": F.hardtanh, "hardswish": F.hardswish}.get(self.way, F.relu)
        return self.head(act(self.norm(self.again(y)) + y).mean((2, 3)))


WAYS = ("view", "reshape", "contiguous", "branch", "silu", "relu6", "hardtanh", "hardswish", "none")


@pytest.mark.parametrize("way", WAYS)
def test_a_network_that_notices_the_layout_gets_its_own_numbers(way: str) -> None:
    torch.manual_seed(0)
    model, x = Odd(way).eval(), torch.randn(2, 3, 16, 16)
    methods = ["score-cam", "cf-cam-best", "occlusion"]
    found = cfcam.explain(model, x, methods, layer="conv" if way == "view" else "again", targets=1)
    with torch.backends.mkldnn.flags(enabled=False):
        plain = cfcam.explain(model, x, methods, layer="conv" if way == "view" else "again", targets=1)
    for method in methods:
        largest = float(plain.maps[method].abs().max())
        torch.testing.assert_close(found.maps[method], plain.maps[method], rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("way", ["view", "reshape"])
def test_an_evaluation_of_such_a_network_has_its_own_numbers(way: str) -> None:
    torch.manual_seed(0)
    model, x = Odd(way).eval(), torch.randn(3, 3, 16, 16)
    cards = []
    for enabled in (True, False):
        with torch.backends.mkldnn.flags(enabled=enabled):
            card = cfcam.evaluate(
                model, x, ["grad-cam"], ["average-drop", "insertion-blur"], layer="conv" if way == "view" else "again"
            )
        cards.append([row.values for row in card.rows if row.method == "grad-cam"])
    for found, plain in zip(*cards, strict=True):
        assert found.keys() == plain.keys()
        assert found == pytest.approx(plain, rel=1e-3, abs=1e-4, nan_ok=True)
