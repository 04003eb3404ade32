"""A network whose time is spent asleep, so that more of them run side by side than the machine has cores."""

from __future__ import annotations

import time

import torch

SECONDS = 0.2


class Sleeping(torch.nn.Module):
    """Two classes of a small convolution; each picture takes `SECONDS`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(SECONDS * len(x))
        return self.head(self.features(x).relu().mean((2, 3)))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return Sleeping().eval()
