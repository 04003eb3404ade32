"""How long something will take, and how far it is, in a line now and then: for log files, and what has no bar."""

from __future__ import annotations

import time

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

    def foretold(self, total: int, seconds: float) -> None:
        """Takes note of how long all will take, before any of it is done."""
        self._say(0, total, seconds)

    def __call__(self, done: int, total: int, *, earlier: int = 0, failed: int = 0) -> None:
        """Takes note of how many are done, some of them earlier."""
        measured = done - earlier
        if measured:
            elapsed = time.perf_counter() - self._started
            self._say(done, total, (total - done) * elapsed / measured, failed)

    def _say(self, done: int, total: int, left: float, failed: int = 0) -> None:
        now = time.perf_counter()
        first = not self._foretold and left >= QUIET_SECONDS
        self._foretold = True
        if first or now - self._said >= QUIET_SECONDS:
            self._said = now
            parts = [f"{self._task}: {done} of {total} {self._unit}"]
            parts += [f"{failed} failed"] if failed else []
            parts += [f"about {duration(left)} left"] if done < total else []
            err().print(Text(", ".join(parts)), soft_wrap=True)


def duration(seconds: float) -> str:
    """Returns a time in words, no more exact than one wants to know it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
