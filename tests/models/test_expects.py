"""What a network expects of its input is read off its first convolution, or is its own word."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from cfcam.capture import Adapter
from cfcam.models.expects import direct_convolution, first_convolution, input_channels, known_size, takes_volumes


def test_the_first_convolution_says_channels_and_axes() -> None:
    net = nn.Sequential(nn.Identity(), nn.Conv3d(2, 4, 3), nn.Conv3d(4, 8, 3))
    assert first_convolution(net) is net[1]
    assert (input_channels(net), takes_volumes(net)) == (2, True)
    flat = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert (input_channels(flat), takes_volumes(flat)) == (3, False)


def test_without_a_convolution_nothing_is_known() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert first_convolution(net) is None
    assert input_channels(net) is None
    assert takes_volumes(net) is None


def test_behind_an_adapter_the_first_convolution_may_be_given_something_else() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert direct_convolution(net) is net[0]
    assert direct_convolution(Adapter(net, lambda x, images: x)) is None


@pytest.mark.parametrize(
    ("where", "said", "size"),
    [
        ("config", SimpleNamespace(image_size=224), (224, 224)),  # transformers
        ("patch_embed", SimpleNamespace(img_size=(96, 64)), (96, 64)),  # timm's transformers
        ("default_cfg", {"input_size": (3, 240, 200)}, (240, 200)),  # timm
        ("img_size", (32, 48), (32, 48)),  # MONAI
        ("img_size", (32, 48, 64), None),  # of other axes
        ("config", SimpleNamespace(image_size="large"), None),
    ],
)
def test_the_size_that_a_network_states(where: str, said: object, size: tuple[int, ...] | None) -> None:
    net = nn.Identity()
    object.__setattr__(net, where, said)
    assert known_size(net, 2) == size
    assert known_size(Adapter(net, lambda x, images: x), 2) == size
