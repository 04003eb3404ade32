"""What is sent until it is there: a thread that waits longer and longer where nobody takes it, and then gives up."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.patience import patiently
from cfcam.jobs.gateway.places import Tries
from cfcam.jobs.gateway.records import Result
from cfcam.log import Log

_LOOK = 0.5  # seconds between two looks for results that somebody else has put back


class Trying(ABC):
    """Sends what waits, from `start` to `close`.

    Args:
        what: that is sent, as messages call it.
        tries: how often, and how long it waits between.
        patience_s: seconds that one try may take.
        index: what waits.
        log: takes a line when nothing gets through, and when it does again.
    """

    def __init__(self, what: str, tries: Tries, patience_s: float, index: Index, log: Log) -> None:
        self._what, self._tries, self._patience = what, tries, patience_s
        self._index, self._log = index, log
        self._wake, self._closing = threading.Event(), threading.Event()
        self._vain, self._next = 0, 0.0  # by a clock that does not jump
        self._why = "it is not known why"
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name=f"cfcam-{what}", daemon=True)

    @property
    def down(self) -> bool:
        """Whether the last try was in vain."""
        return self._vain > 0

    @property
    def why(self) -> str:
        """Why the last try that was in vain was so."""
        return self._why

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def wake(self) -> None:
        """Says that there is something to send."""
        self._wake.set()

    def close(self) -> None:
        """Ends; what does not get through now is sent at the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._patience + 5)

    @abstractmethod
    def once(self) -> bool:
        """Sends what waits; tells whether there is more that may be sent at once."""

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_LOOK)
            self._wake.clear()
            try:
                while not self._closing.is_set() and time.monotonic() >= self._next and self.once():
                    pass
            except Exception as error:  # noqa: BLE001 (the thread has to live on; what waits stays as it is)
                self._why = type(error).__name__
                self._log.error(f"{self._what} cannot be sent at the moment", error=self._why)
                self._put_off()

    def arrived(self, files: Sequence[str]) -> None:
        """Notes what arrived, however long the disk is full: it would be sent again until that is noted."""
        patiently(lambda: self._index.delivered(files), self._closing, self._log)

    def refuse(self, result: Result, reason: str) -> None:
        """Puts a result aside that is never taken as it is."""
        self._log.error("a result is refused, and put aside", study=result.task, kind=result.kind, why=reason)
        self._index.refused(result.file, reason)

    def again(self, waiting: Sequence[tuple[Result, str]]) -> None:
        """Notes what did not get through, each with the reason; nothing: all did."""
        if not waiting:
            if self._vain:
                self._log.info(f"{self._what} get through again")
            self._vain = 0
            return
        reason = self._why = waiting[0][1]
        if not self._vain:
            self._log.warn(f"{self._what} do not get through, and are tried again", why=reason)
        self._put_off()
        self._index.not_yet([result.file for result, _ in waiting], reason)
        for result, _ in waiting:
            if result.tries + 1 >= self._tries.most_tries:
                self._log.error("a result was tried often enough, and is put aside", study=result.task)
                self._index.refused(result.file, f"tried {result.tries + 1} times: {reason}")

    def _put_off(self) -> None:
        wait = min(self._tries.longest_wait_s, self._tries.wait_s * 2 ** min(self._vain, 20))
        self._vain += 1
        self._next = time.monotonic() + wait
