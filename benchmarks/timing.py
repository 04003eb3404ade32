"""Times of several calls, taken in turn, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of the rounds of one call."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def timed(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the seconds that a call takes, with what it queued on a GPU."""
    _wait()
    start = clock()
    call()
    _wait()
    return clock() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    budget: float,
    least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Times warm calls round by round, in a new random order each round (nobody always follows the same neighbour).

    Args:
        calls: what is timed; each has been called before.
        rounds: at most so many.
        budget: seconds after which no further round is begun, once there are ``least``.
        least: rounds taken in any case.
        clock: what tells the time; `time.process_time` on a machine that has other work.
    """
    order, seconds = list(calls), {name: [] for name in calls}
    shuffle = random.Random(0).shuffle  # noqa: S311 (an order, no secret)
    started = time.perf_counter()
    for done in range(rounds):
        if done >= least and time.perf_counter() - started > budget:
            break
        gc.collect()
        shuffle(order)
        for name in order:
            seconds[name].append(timed(calls[name], clock))
    return {name: Times(tuple(values)) for name, values in seconds.items()}
