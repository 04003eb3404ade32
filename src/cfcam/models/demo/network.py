"""The demo networks: two small residual networks that are shipped with the package.

Both have the same architecture and read phantoms. One learned in an honest world; the other in a world where
nearly every patient with a consolidation carried a pacemaker, and it learned the pacemaker: the mistake that
a heat map is there to reveal.
"""

from importlib.resources import files
from typing import Any, Final

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor, nn

from cfcam import json_text
from cfcam.errors import ModelError

CLASSES: Final = ("no finding", "nodule", "consolidation", "effusion")
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
INPUT_SIZE: Final = 224
TRAINED_WITH: Final = {
    "mean": MEAN,
    "std": STD,
    "size": INPUT_SIZE,
    "resize": "stretch",
    "interpolation": "bilinear",
}
"""In the words of `cfcam.imaging.Preprocess`."""


class Block(nn.Module):
    """Two convolutions and a shortcut: (N, C, H, W) -> (N, D, H/stride, W/stride).

    A kernel with a stride is even (4 for a stride of 2), so that a cell's centre stays the centre of the pixels it
    stands for. With the usual odd kernel, heat drifts by half a cell to the upper left or lower right.
    """

    def __init__(self, channels: int, width: int, stride: int, kernels: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        first, second = kernels[0] + stride - 1, kernels[1]
        self.conv1 = nn.Conv2d(channels, width, first, stride, padding=kernels[0] // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, second, padding=second // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, stride, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to what came in."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class DemoNet(nn.Module):
    """A small residual network: (N, 3, 224, 224), ImageNet-normalised, -> logits (N, 4) of `CLASSES`.

    The labels are independent (a sigmoid each). `layer4` gives A (N, 128, 14, 14) and is followed by its mean
    and one linear layer only, so the map of Zhou et al. (2016, CAM) applies: logits = W mean(A) + b.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 8, stride=4, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.layer1 = Block(16, 16, 1)
        self.layer2 = Block(16, 48, 2)
        # From here on mostly 1x1: a cell sees 76 pixels, so that heat stays close to what caused it.
        self.layer3 = Block(48, 96, 2, kernels=(3, 1))
        self.layer4 = Block(96, 128, 1, kernels=(1, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(128, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 4) of images (N, 3, H, W)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.classifier(self.pool(x).flatten(1))


def load_demo_network(shortcut: bool = False) -> DemoNet:
    """The shipped network in eval mode: the honest one, or the one that learned the pacemaker.

    Raises:
        ModelError: if the weights are missing from the installation.
    """
    network = DemoNet()
    network.load_state_dict(safetensors.torch.load(_read(file_stem(shortcut) + ".safetensors")))
    return network.eval()


def demo_card(shortcut: bool = False) -> dict[str, Any]:
    """How a shipped network was trained and what it reached on test phantoms, measured when it was trained.

    Raises:
        ModelError: if the card is missing from the installation.
    """
    card: dict[str, Any] = json_text.parse(_read(file_stem(shortcut) + ".json"), "the demo's card", ModelError)
    return card


def preprocess(images: Tensor) -> Tensor:
    """Grey images (N, H, W) in [0, 255] to what the networks take: (N, 3, 224, 224), ImageNet-normalised."""
    x = images[:, None].float() / 255
    if x.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
        x = F.interpolate(x, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
    mean, std = x.new_tensor(MEAN).view(1, 3, 1, 1), x.new_tensor(STD).view(1, 3, 1, 1)
    return (x - mean) / std


def file_stem(shortcut: bool) -> str:
    """Name of a network's files without the ending."""
    return "demo-shortcut" if shortcut else "demo"


def _read(name: str) -> bytes:
    try:
        return files(__package__).joinpath(name).read_bytes()
    except FileNotFoundError as error:
        remedy = "reinstall cfcam, or run python -m cfcam.models.demo.train [--shortcut]"
        raise ModelError(f"{name} is missing: {remedy}") from error
