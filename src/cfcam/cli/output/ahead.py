"""How long something will take, and how far it is, in a line now and then: for log files, and what has no bar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.text import Text

from cfcam.cli.output.console import err

QUIET_SECONDS = 10.0


class Lines:
    """A line as soon as it is known how long it will take, if that is long; then one now and then.

    Args:
        task: what is done.
        unit: what is counted.
    """

    def __init__(self, task: str, unit: str) -> None:
        self._task, self._unit = task, unit
        self._started = self._said = time.perf_counter()
        self._foretold = False
        self._counts: tuple[int, int, int] | None = None  # done, of how many, failed
        self._ends: float | None = None  # when all will be done, as far as is known
        self._lock = threading.Lock()

    def foretold(self, total: int, seconds: float) -> None:
        """Takes note of how long all will take, before any of it is done."""
        with self._lock:
            self._counts, self._ends = (0, total, 0), time.perf_counter() + seconds
            self._say()

    def __call__(self, done: int, total: int, *, earlier: int = 0, failed: int = 0) -> None:
        """Takes note of how many are done, some of them earlier."""
        with self._lock:
            self._counts, measured, now = (done, total, failed), done - earlier, time.perf_counter()
            if measured:
                self._ends = now + (total - done) * (now - self._started) / measured
                self._say()

    def beat(self) -> None:
        """Says again how far it is, if nothing was said of late: what is done may be one thing that takes long."""
        with self._lock:
            if self._counts is not None:
                self._say(first=False)

    def _say(self, *, first: bool = True) -> None:
        now, (done, total, failed) = time.perf_counter(), self._counts or (0, 0, 0)
        left = None if self._ends is None else self._ends - now
        if first:
            first, self._foretold = not self._foretold and left is not None and left >= QUIET_SECONDS, True
        if first or now - self._said >= QUIET_SECONDS:
            self._said = now
            parts = [f"{self._task}: {done} of {total} {self._unit}"]
            parts += [f"{failed} failed"] if failed else []
            if done < total:  # what takes longer than was thought has no time left that could be told
                so_far = left is None or left < 1
                parts += [f"{duration(now - self._started)} so far" if so_far else f"about {duration(left or 0)} left"]
            err().print(Text(", ".join(parts)), soft_wrap=True)


@contextmanager
def beating(beat: Callable[[], None], seconds: float | None = None) -> Iterator[None]:
    """Calls ``beat`` now and then from beside what the body does.

    Args:
        beat: says how far it is.
        seconds: between two calls; None: a tenth of `QUIET_SECONDS`, so that a line is hardly ever late.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(QUIET_SECONDS / 10 if seconds is None else seconds):
            beat()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Returns a time in words, no more exact than one wants to know it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
