"""What a map costs: time, passes of the network, memory."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cost:
    """What one call took; lower is better.

    Attributes:
        milliseconds: of wall-clock time, until the device is done.
        forward_passes: of single images through the network: a batch of M counts M. Divided by the images explained it
            is the number of passes an image. A pass in which only the layers behind some point see more images than
            the input holds counts by its input.
        peak_bytes: that torch allocated on the GPU beyond what was allocated before; NaN (not assessed) on a CPU.
    """

    milliseconds: float
    forward_passes: int
    peak_bytes: float


def measure(model: nn.Module, call: Callable[[], object]) -> Cost:
    """Returns what a call that uses a network costs.

    One call is timed: make one before it, so that nothing is loaded, compiled or tuned while the clock runs. Memory on
    a CPU is not assessed: torch does not count it, its profiler slows the call down several times, and what the process
    holds depends on earlier calls; ``benchmarks/memory.py`` measures it in a process of its own. On a GPU torch's
    peak statistics are reset.

    Args:
        model: whose passes are counted; it is on one device.
        call: what is measured; its result is dropped.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> measure(network, lambda: network(torch.ones(3, 2))).forward_passes
        3
    """
    network: nn.Module = getattr(model, "_orig_mod", model)
    first = next(network.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    images: list[int] = []

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        images.append(next((len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), 1))

    handle = network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        before = _start_of_memory(device)
        start = time.perf_counter()
        call()
        _finish(device)
        seconds = time.perf_counter() - start
    finally:
        handle.remove()
    peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else math.nan
    return Cost(1000 * seconds, sum(images), peak)


def measure_warm(
    model: nn.Module, call: Callable[[], object], *, rounds: int = 5, seconds: float = 2.0
) -> tuple[Cost, int]:
    """Returns what a call costs once everything is loaded, and how many calls that is the median of.

    The first call loads, compiles and tunes; it is not counted, unless it alone took longer than ``seconds``: then what
    it loaded is little of that.

    Args:
        model: whose passes are counted.
        call: what is measured.
        rounds: calls that are counted at most.
        seconds: after which no further call is begun.

    Returns:
        Its time the median, its passes those of one call, its memory the largest.
    """
    start = time.perf_counter()
    taken = [measure(model, call)]
    while len(taken) <= rounds and time.perf_counter() - start < seconds:
        taken.append(measure(model, call))
    counted = taken[1:] or taken
    peak = max(cost.peak_bytes for cost in counted)
    return replace(counted[0], milliseconds=median(cost.milliseconds for cost in counted), peak_bytes=peak), len(
        counted
    )


def load_per_core() -> float | None:
    """Returns how many processes want each core, over the last minute; None where the system does not say.

    The process that asks is one of them: with it alone on the machine the load is at most 1.
    """
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows has none
        return None


def _start_of_memory(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    _finish(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
