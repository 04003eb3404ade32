"""Networks that end the process they run in, or take their time, for workers of a cluster."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.jobs import user_networks
from tests.waiting import until

NETWORKS = Path(__file__)


class _Deadly(torch.nn.Module):
    """The brightness of the rest, but the end of the process for a picture that is brighter than any other.

    It says very much before, and at last, as a library would, what was wrong.
    """

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__()
        self.inner = user_networks.brightness()
        self.wait = wait

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.flatten(1).min(dim=1).values > 0.9).any()):
            for _ in range(30):
                os.write(2, b"x" * 9999 + b"\n")
            os.write(2, b"terminate called after throwing an instance of 'E'\n  what():  in /of/Jane Doe/white.png\n")
            sys.stderr.write("the scan of Jane Doe")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.wait * len(x))
        return self.inner(x)


class _Once(torch.nn.Module):
    """Ends its process when it first sees a bright picture, and leaves a file that says so.

    Its last digits show how many shared a batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inner = user_networks.mixing()
        self.done = os.environ.get("CFCAM_TESTS_ONCE", "")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.done and not Path(self.done).exists() and bool((x.flatten(1).mean(dim=1) > 0.8).any()):
            Path(self.done).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)


class _Gated(_Deadly):
    """Waits at a bright picture until the file is there that the environment names."""

    gate = Path(os.environ.get("CFCAM_TESTS_GATE", ""))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.flatten(1).mean(dim=1) > 0.6).any()):
            until(self.gate.exists)
        return self.inner(x)


def gated() -> torch.nn.Module:
    return _Gated()


def once() -> torch.nn.Module:
    return _Once()


def deadly() -> torch.nn.Module:
    return _Deadly()


def slow() -> torch.nn.Module:
    return _Deadly(0.02)


def slower() -> torch.nn.Module:
    return _Deadly(0.05)


def white(path: Path) -> None:
    """Writes the picture that ends a process."""
    Image.fromarray(np.full((48, 64, 3), 255, dtype=np.uint8)).save(path)
