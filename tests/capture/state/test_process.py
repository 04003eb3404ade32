"""What a pass changes of the process around it is put back; what others change meanwhile stays."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cfcam


class Moving(nn.Sequential):
    """A network that works in another folder from then on, or waits until somebody else does."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        self.folder, self.begun, self.moved = folder, threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        if self.folder is not None:
            os.chdir(self.folder)
        else:
            self.begun.set()
            assert self.moved.wait(60)
        return super().forward(x)


def test_a_network_that_works_elsewhere_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    cfcam.explain(Moving(tmp_path / "other").eval(), torch.rand(1, 3, 8, 8), "grad-cam", layer="0")
    assert Path.cwd() == tmp_path


def test_a_pass_in_a_thread_leaves_the_folder_that_others_went_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a viewer, whose passes end when they like."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    net = Moving().eval()
    asked = (net, torch.rand(1, 3, 8, 8), "grad-cam")
    thread = threading.Thread(target=cfcam.explain, args=asked, kwargs={"layer": "0"})
    thread.start()
    assert net.begun.wait(60)
    os.chdir(tmp_path / "other")
    net.moved.set()
    thread.join(60)
    assert Path.cwd() == tmp_path / "other"
