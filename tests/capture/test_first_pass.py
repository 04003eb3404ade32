"""First passes of many images: two are watched, and what they tell has to hold for all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Network
from cfcam.errors import LayerError


class Seen(nn.Module):
    """A network that keeps how many images each pass had.

    Args:
        size: the only number of images that it takes; None: any.
        mixes: whether it takes the mean of the batch away from each image.
    """

    def __init__(self, size: int | None = None, *, mixes: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Linear(6, 4)
        self.size, self.mixes = size, mixes

    def forward(self, x: Tensor) -> Tensor:
        SEEN.append(len(x))
        x = x - x.mean(0) if self.mixes else x
        return self.head(self.features(x).mean((2, 3)).view(self.size or len(x), 6))


SEEN: list[int] = []


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def packed(net: nn.Module, x: Tensor, layer: str = "features") -> tuple[Network, Capture]:
    network = Network(net)
    network.pack()
    SEEN.clear()
    return network, Capture(network, x, layer=layer, targets=[1])


def check_like_a_plain_pass(found: Capture, net: nn.Module, x: Tensor) -> None:
    plain = Capture(Network(net), x, layer="features", targets=[1])
    for name in ("logits", "activations", "gradients"):
        torch.testing.assert_close(getattr(found, name), getattr(plain, name))


@pytest.mark.parametrize(("count", "passes"), [(1, [1, 1]), (2, [2, 2]), (3, [2, 3]), (9, [2, 9])])
def test_two_images_are_watched_and_all_run_once(count: int, passes: list[int]) -> None:
    net, x = Seen().eval(), images(count)
    network, capture = packed(net, x)
    assert passes == SEEN
    assert network.trust.agreed
    check_like_a_plain_pass(capture, net, x)
    packed_again = len(SEEN)
    Capture(network, x, layer="features", targets=[1])
    assert SEEN[packed_again:] == [count]


@pytest.mark.parametrize(
    ("net", "passes"), [(Seen(mixes=True), [2, 5, 5, 5]), (Seen(size=5), [2, 5, 5])], ids=["mixing", "one size"]
)
def test_what_two_images_do_not_tell_is_told_by_all(net: Seen, passes: list[int]) -> None:
    x = images(5)
    network, capture = packed(net.eval(), x)
    assert passes == SEEN
    assert network.trust.agreed
    check_like_a_plain_pass(capture, net, x)


def test_an_error_is_that_of_all_images() -> None:
    with pytest.raises(LayerError, match=r"'head' .*\(5, 4\)"):
        packed(Seen().eval(), images(5), layer="head")
