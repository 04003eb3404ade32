"""Networks and inputs that checks are tried on, and what was found to be wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfcam import Diagnosis
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import EXAMPLES, make_phantom

PREPROCESS = Preprocess()


class Net(nn.Module):
    """Two convolutions with a head that tests replace: `forward` is `tail(features(x))`."""

    def __init__(self, channels: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 3, 2, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()
        )
        self.classifier = nn.Linear(channels, classes)

    def tail(self, A: Tensor) -> Tensor:
        return self.classifier(A.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.features(x))


def image(n: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(1))


def phantoms(*names: str) -> Tensor:
    return torch.stack([PREPROCESS(Image(make_phantom(**EXAMPLES[name]).image, None, "")) for name in names])


def gravest(found: Diagnosis) -> list[str]:
    return sorted({f.check for f in found.findings if f.severity == "problem"})
