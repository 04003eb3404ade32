"""The one thread that owns the network: requests wait in a short line, and what nobody waits for any more is dropped.

Nothing here imports torch: the network is loaded with the first request that needs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from cfcam.errors import CfcamError

T = TypeVar("T")
R = TypeVar("R")

WAITING = 24
"""Requests that are worked on or wait, at most."""


class BusyError(CfcamError, RuntimeError):
    """As many requests wait for the network as may."""


class NoNetworkError(CfcamError, ValueError):
    """The viewer was opened without a network."""


class Abandoned(BaseException):
    """Nobody waits for this work any more; no `Exception`, so that code that tries something does not swallow it."""


class Ticket:
    """One request at the network: stopped from outside, and telling from inside how far it has come.

    Attributes:
        fraction: of the work that is done, in [0, 1].
        queued: seconds that the request waited for its turn; None: it still does.
    """

    def __init__(self) -> None:
        self.fraction = 0.0
        self.queued: float | None = None
        self._stopped = threading.Event()
        self._made = time.perf_counter()
        self._started: float | None = None

    def stop(self) -> None:
        """Asks the work to end; it does before the network's next pass."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raises `Abandoned` if the work was asked to end."""
        if self._stopped.is_set():
            raise Abandoned

    def begin(self) -> None:
        """Notes that it is this request's turn."""
        self._started = time.perf_counter()
        self.queued = self._started - self._made
        self.check()

    def tell(self, fraction: float) -> None:
        """Notes how much of the work is done, and ends it if it was asked to."""
        self.fraction = min(1.0, max(self.fraction, fraction))
        self.check()

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at this pace; None: nothing is done yet."""
        if self._started is None or self.fraction <= 0:
            return None
        return (time.perf_counter() - self._started) * (1 - self.fraction) / self.fraction


class LiveNetwork(Generic[T]):
    """A thread with a network, and the line before it.

    Args:
        load: loads the network and sets it up; called in the thread, with the first request. If it fails, that request
            fails, and the next one tries again. None: there is no network.
        waiting: requests that are worked on or wait, at most.
    """

    def __init__(self, load: Callable[[], T] | None, waiting: int = WAITING) -> None:
        self._load, self._most = load, waiting
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cfcam-network")
        self._lock = threading.Lock()
        self._tickets: set[Ticket] = set()
        self._owner: T | None = None

    @property
    def given(self) -> bool:
        """Whether there is a network, loaded or not."""
        return self._load is not None

    @property
    def owner(self) -> T | None:
        """What was loaded, for what may be read of it in other threads; None: not yet."""
        return self._owner

    def submit(self, work: Callable[[T, Ticket], R], ticket: Ticket | None = None) -> Future[R]:
        """Has work done in the thread, after that of those who came before.

        Args:
            work: called with what was loaded, and with the ticket.
            ticket: by which the work can be stopped; None: it cannot.

        Returns:
            What the work returns; cancelled while it waits it costs nothing.

        Raises:
            NoNetworkError: there is no network.
            BusyError: too many wait already.
        """
        own = ticket or Ticket()
        if self._load is None:
            raise NoNetworkError("this viewer was opened without a network: give cfcam view --model")
        with self._lock:
            if len(self._tickets) >= self._most:
                raise BusyError(f"{self._most} requests wait for the network already: try again in a moment")
            self._tickets.add(own)
        try:
            future = self._pool.submit(self._run, work, own)
        except RuntimeError as error:
            self._leave(own)
            raise BusyError("the viewer is closing") from error
        future.add_done_callback(lambda _: self._leave(own))
        return future

    def _run(self, work: Callable[[T, Ticket], R], ticket: Ticket) -> R:
        ticket.begin()
        if self._owner is None:
            assert self._load is not None  # noqa: S101 (asked before the line)
            self._owner = self._load()
            ticket.check()
        return work(self._owner, ticket)

    def _leave(self, ticket: Ticket) -> None:
        with self._lock:
            self._tickets.discard(ticket)

    def close(self) -> None:
        """Ends the work at hand before its next pass, drops what waits, and the thread."""
        with self._lock:
            for ticket in self._tickets:
                ticket.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
