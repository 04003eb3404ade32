"""Small networks with a known split into head and tail, so that an oracle can run the two by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class GapNet(nn.Module):
    """Convolutions, global average pooling, one linear layer: CAM applies at `features`."""

    def __init__(self, dims: int = 2, channels: int = 12, classes: int = 4, norm: bool = False) -> None:
        super().__init__()
        conv = CONV[dims]
        layers = [conv(3, 8, 3, stride=2, padding=1), nn.ReLU(), conv(8, channels, 3, padding=1)]
        if norm:
            layers.insert(1, NORM[dims](8))
        self.features = nn.Sequential(*layers, nn.ReLU())
        self.pool = POOL[dims](1)
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Linear(channels, classes)

    def tail(self, A: Tensor) -> Tensor:
        return self.classifier(self.drop(self.pool(A).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.features(x))


class FlattenNet(GapNet):
    """Convolutions, flatten, two linear layers: gradients vary in space, and CAM does not apply."""

    def __init__(self, dims: int = 2, channels: int = 12, classes: int = 4, size: tuple[int, ...] = (14, 10)) -> None:
        super().__init__(dims, channels, classes)
        positions = channels
        for s in size:
            positions *= -(-s // 2)
        self.hidden = nn.Linear(positions, 9)
        self.classifier = nn.Linear(9, classes)

    def tail(self, A: Tensor) -> Tensor:
        return self.classifier(self.hidden(A.flatten(1)).tanh())


def redundant(net: GapNet, groups: int = 3) -> GapNet:
    """Makes most channels of `features` noisy copies of a few, as in a trained network, so that clusters exist."""
    with torch.no_grad():
        conv = net.features[-2]
        index = torch.arange(conv.weight.shape[0])
        base = torch.where(index % 5 == 0, index, index % groups)
        scale = 0.2 + torch.rand(conv.weight.shape[0]).to(conv.weight)
        shape = (-1, *[1] * (conv.weight.ndim - 1))
        conv.weight.copy_((conv.weight[base] + 0.02 * torch.randn_like(conv.weight)) * scale.reshape(shape))
        conv.bias.copy_(conv.bias[base] * scale)
    return net


def rescale(net: GapNet) -> GapNet:
    """Scales the classifier up so that probabilities are neither uniform nor saturated."""
    with torch.no_grad():
        net.classifier.weight.mul_(8)
    return net
