"""Networks and pictures to measure on. It stands alone: ``benchmarks/networks.py:resnet50`` is a spec for ``cfcam``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cfcam.models.demo import sample_phantom
from cfcam.models.demo.network import MEAN, STD

CLASSES = 1000


class Logits(nn.Module):
    """A network of transformers that returns a plain tensor of logits, as other libraries expect it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).logits


class OneLayer(nn.Module):
    """One convolution, pooling and a linear layer: channels, map size and input size as you like."""

    def __init__(self, channels: int, map_size: int, stride: int, classes: int = 64) -> None:
        super().__init__()
        self.size = map_size * stride
        self.features = nn.Sequential(nn.Conv2d(3, channels, stride, stride), nn.ReLU())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class Volumes(nn.Module):
    """Two convolutions of a volume to an eighth of each side; small, so that what is measured is not the network."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 8, 4, stride=4), nn.ReLU(), nn.Conv3d(8, 16, 2, stride=2), nn.ReLU())
        self.classifier = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3, 4)))


def volumes() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Volumes().eval()


@dataclass(frozen=True)
class Subject:
    """A network with the names under which its parts are found.

    Attributes:
        title: what it is.
        build: makes it, with the same weights each time.
        layer: the layer to map.
        head: its linear classifier.
        size: side of its input in pixels.
    """

    title: str
    build: Callable[[], nn.Module]
    layer: str = "net.resnet.encoder.stages.3"
    head: str = "net.classifier.1"
    size: int = 224


def pictures(count: int, size: int) -> Tensor:
    """Returns phantoms (N, 3, size, size), normalised; random pixels would all look alike to a network."""
    grey = torch.stack([torch.from_numpy(sample_phantom(seed, size=size).image) for seed in range(count)])
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (grey[:, None] / 255 - mean) / std


def _resnet(size: int, **config: object) -> nn.Module:
    """A network with random weights (seed 0) and the BatchNorm statistics of four phantoms.

    With the statistics that BatchNorm starts from, activations grow from block to block, and every softmax saturates.
    """
    from transformers import ResNetConfig, ResNetForImageClassification

    return _settled(lambda: ResNetForImageClassification(ResNetConfig(num_labels=CLASSES, **config)), size)


def _settled(make: Callable[[], nn.Module], size: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Logits(make())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what it has seen
    with torch.no_grad():
        network.train()(pictures(4, size))
    return network.eval()


def resnet50() -> nn.Module:
    return _resnet(224)


def resnet18() -> nn.Module:
    return _resnet(224, depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")


def mobilenet() -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return _settled(lambda: MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=CLASSES)), 224)


def tiny() -> nn.Module:
    return _resnet(64, embedding_size=16, depths=[1, 1, 1, 1], hidden_sizes=[16, 24, 32, 48], layer_type="basic")


RESNET50 = Subject("ResNet-50 shape", resnet50)
RESNET18 = Subject("ResNet-18 shape", resnet18)
MOBILENET = Subject("MobileNetV2 shape", mobilenet, "net.mobilenet_v2.conv_1x1", "net.classifier")
TINY = Subject("a tiny ResNet (quick)", tiny, size=64)
STAGE_BEFORE = "net.resnet.encoder.stages.2"
