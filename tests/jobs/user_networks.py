"""A user's file of networks, given as ``user_networks.py:NAME``. Their inputs are pixels in 0..1 (mean 0, std 1)."""

import os
import time

import torch
from torch import nn

CLASSES = ("bright", "dark")


class Brightness(nn.Module):
    """Class 0 scores what is bright (by the mean over blocks of 8 x 8), class 1 is its negative: no evidence for it."""

    def __init__(self, classes=2):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 8, stride=8, bias=False)
        self.head = nn.Linear(4, classes, bias=False)
        with torch.no_grad():
            self.features.weight.fill_(1 / 192)
            self.features.weight.mul_(torch.tensor([1.0, 0.5, 0.25, 2.0])[:, None, None, None])
            self.head.weight.fill_(-1.0)
            self.head.weight[0] = 1.0

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def brightness(classes=2):
    return Brightness(classes)


class Crowded(Brightness):
    """Runs out of memory with more than two at a time."""

    def forward(self, x):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def crowded():
    return Crowded()


class Fragile(Crowded):
    """Besides, raises for a white picture, and returns NaN for a black one."""

    def forward(self, x):
        levels = x.mean((1, 2, 3))
        if bool((levels > 0.99).any()):
            raise RuntimeError("a white picture is too much for me")
        return super().forward(x) / (levels > 0.001)[:, None] * (levels > 0.001)[:, None]


def fragile():
    return Fragile()


class Delicate(Brightness):
    """Raises for a white picture."""

    def forward(self, x):
        if bool((x.mean((1, 2, 3)) > 0.99).any()):
            raise RuntimeError("a white picture is too much for me")
        return super().forward(x)


def delicate():
    return Delicate()


def broken_weights():
    network = Brightness()
    with torch.no_grad():
        network.features.weight[0, 0, 0, 0] = torch.nan
    return network


class Held(Brightness):
    """Nearly stands still after as many passes as the environment says, for who ends a run in its middle.

    Not for ever: a run that is told to stop waits for the passes that its threads are in.
    """

    left = int(os.environ.get("CFCAM_TESTS_PASSES", 1_000_000))  # of the class: a module's own would be put back

    def forward(self, x):
        Held.left -= 1
        if Held.left < 0:
            time.sleep(0.5)
        return super().forward(x)


def held():
    return Held()


class Flat(nn.Module):
    """Has no layer with a spatial extent."""

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.LazyLinear(2)

    def forward(self, x):
        return self.head(self.flatten(x))


def flat():
    torch.manual_seed(0)  # so that it is the same twice, and nobody calls it untrained
    network = Flat()
    network(torch.zeros(1, 3, 32, 32))
    return network


class Grey(nn.Module):
    """Takes one channel, and has a non-linear head, to which CAM does not apply."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 3, 4, stride=4)
        self.head = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.head(self.features(x).relu().mean((2, 3)))


def grey():
    torch.manual_seed(3)
    return Grey()


def raising():
    raise KeyError("no such checkpoint in my cupboard")


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(5)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.pool(self.stages(x)).flatten(1))


def nested():
    torch.manual_seed(0)
    return Nested()


class Mixing(nn.Module):
    """Convolutions with weights of all kinds, so that the order of additions shows in the last digits."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(32, 2)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.randn(weights.shape, generator=generator) / weights[0].numel() ** 0.5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def mixing():
    return Mixing()
