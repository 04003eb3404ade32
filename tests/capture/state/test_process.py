"""What a pass changes of the process around it is put back; what others change meanwhile stays."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture.state import process


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


class Setting(nn.Sequential):
    """A network that changes what holds for its thread alone, or for the whole process, and may then wait."""

    def __init__(self, *, own: bool) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        self.own, self.begun, self.moved = own, threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)
        if self.own:
            torch.set_num_threads(torch.get_num_threads() + 1)
            torch.set_autocast_enabled("cpu", not torch.is_autocast_enabled("cpu"))
            torch.set_grad_enabled(not torch.is_grad_enabled())
        else:
            self.begun.set()
            assert self.moved.wait(60)
        return found


def of_thread() -> list[object]:
    return [torch.get_num_threads(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()]


def test_what_a_pass_sets_for_its_thread_is_put_back_there() -> None:
    told: list[object] = []

    def work() -> None:
        before = of_thread()
        with torch.no_grad():
            cfcam.explain(Setting(own=True).eval(), torch.rand(1, 3, 8, 8), "recipro-cam", layer="0")
        told.extend([before, of_thread()])

    here, thread = of_thread(), threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert told[0] == told[1]
    assert of_thread() == here


def test_a_pass_in_a_thread_leaves_the_settings_of_the_process_that_others_have_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    net = Setting(own=False).eval()
    asked = (net, torch.rand(1, 3, 8, 8), "grad-cam")
    thread = threading.Thread(target=cfcam.explain, args=asked, kwargs={"layer": "0"})
    thread.start()
    assert net.begun.wait(60)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        net.moved.set()
        thread.join(60)
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("number", range(len(process._OF_THREAD)))
def test_what_is_taken_for_a_threads_own_is_not_seen_by_another(number: int) -> None:
    get, put = process._OF_THREAD[number]
    here, seen = get(), list[object]()

    def work() -> None:
        before = get()
        put(before + 1 if type(before) is int else not before)
        seen.append(get() != before)
        put(before)

    before = threading.Thread(target=work)
    before.start()
    before.join(60)
    assert (seen, get()) == ([True], here)


@pytest.mark.parametrize("number", range(1, len(process._OF_PROCESS)))
def test_what_is_taken_for_the_processes_is_seen_by_others(number: int) -> None:
    get, put = process._OF_PROCESS[number]
    others = {torch.float32: torch.float64, "highest": "high", 0: 1}
    here, seen = get(), list[object]()

    def work() -> None:
        seen.append(get())

    other = others[here] if type(here) is not bool and here in others else not here
    put(other)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    finally:
        put(here)
    assert seen == [other]
