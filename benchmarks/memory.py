"""Peak memory of one call, in a process of its own: nobody inherits what another left in the allocator."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CALLS = 5
_M_MMAP_THRESHOLD = -3  # mallopt(3)
HOW = f"""\
the kernel's high-water mark of resident memory (VmHWM, reset before each call), median of {CALLS} calls in a fresh
process whose allocator gives large blocks back at once"""


@dataclass(frozen=True)
class Peak:
    """Bytes: resident when the call began, and at its highest during the call."""

    before: int
    highest: int

    @property
    def used(self) -> int:
        return self.highest - self.before


def in_fresh_process(function: Callable[..., Peak], *arguments: Any) -> Peak:
    """Calls a function of a module in a new interpreter; a fork would not survive torch's threads."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_plain) as pool:
        return pool.submit(function, *arguments).result()


def _plain() -> None:
    """Maps every large block by itself: glibc's moving threshold leaves gaps, tens of MB, different in each run."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)


def peak_of(call: Callable[[], object], device: str = "cpu", *, calls: int = CALLS) -> Peak:
    """Calls a few times and returns the median peak: memory resident on a CPU, allocated by torch on a GPU."""
    return sorted((_peak_once(call, device) for _ in range(calls)), key=lambda peak: peak.used)[calls // 2]


def _peak_once(call: Callable[[], object], device: str) -> Peak:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return Peak(before, torch.cuda.max_memory_allocated())
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM. ru_maxrss cannot be reset
    before = _status("VmRSS")
    call()
    return Peak(before, _status("VmHWM"))


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
