"""Where the time of a run goes: read, explained, drawn, written; told apart thread by thread.

Whoever has a run opens its `Stages` in each thread; what is called below names its own part with `stage`, which costs
next to nothing where nobody measures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

DECODE, FORWARD, MAPS, DRAW, WRITE = ORDER = ("decode", "forward", "maps", "draw", "write")
METRICS = "metrics"
"""Of an evaluation: the passes, maps and numbers of its metrics together."""
_here = threading.local()


class Stages:
    """Seconds that the threads of a run spent in each stage; what is inside of another is not counted twice."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(ORDER, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts what is done meanwhile, in this thread, to a stage."""
        above: tuple[Stages, list[float]] | None = getattr(_here, "now", None)
        inside = [0.0]
        _here.now = (self, inside)
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            _here.now = above
            if above is not None:
                above[1][0] += spent
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + spent - inside[0]

    def add(self, seconds: Mapping[str, float]) -> None:
        """Counts what another process spent."""
        with self._lock:
            for name, spent in seconds.items():
                self._seconds[name] = self._seconds.get(name, 0.0) + spent

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of all threads together, by the name of the stage."""
        with self._lock:
            return {name: round(spent, 3) for name, spent in self._seconds.items()}

    @property
    def slowest(self) -> str:
        """The stage that took most of the threads' time; "" if none took any."""
        seconds = self.seconds
        return max(seconds, key=seconds.__getitem__) if any(seconds.values()) else ""

    def shares(self) -> str:
        """Returns the shares in words: ``draw 61 %, forward 24 %, decode 9 %``; "" if nothing was measured."""
        seconds = self.seconds
        whole = sum(seconds.values())
        if whole <= 0:
            return ""
        told = sorted(((spent / whole, name) for name, spent in seconds.items()), reverse=True)
        return ", ".join(f"{name} {share:.0%}".replace("%", " %") for share, name in told if share >= 0.005)


def current() -> Stages | None:
    """Returns what measures in this thread, for threads that work for it."""
    now: tuple[Stages, list[float]] | None = getattr(_here, "now", None)
    return None if now is None else now[0]


@contextmanager
def stage(name: str, of: Stages | None = None) -> Iterator[None]:
    """Counts what is done meanwhile to a stage of the run that this thread works for, if there is one.

    Args:
        name: of the stage.
        of: what measures; None: what measures in this thread.
    """
    stages = of or current()
    if stages is None:
        yield
        return
    with stages(name):
        yield
