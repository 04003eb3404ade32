"""Results to where they belong: sent until they are there, and there once, for UIDs follow from what they identify."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict

from cfcam.exchange.pacs.outcome import Outcome, Sent
from cfcam.exchange.pacs.place import Place
from cfcam.exchange.pacs.sending import send
from cfcam.jobs.gateway.access import access_of
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.log import Log
from cfcam.jobs.gateway.places import Send
from cfcam.jobs.gateway.records import Result
from cfcam.jobs.gateway.spool import Spool

_AT_ONCE = 256  # results that go out through one association
_LOOK = 0.5  # seconds between two looks for results that somebody else has put back


class Deliverer:
    """Sends what waits, and waits longer and longer where nobody takes it.

    Args:
        settings: where to.
        spool: where results lie.
        index: which ones.
        log: takes a line when a place is down, and when it is there again.

    Raises:
        InputError: a password is not there.
    """

    def __init__(self, settings: Send, spool: Spool, index: Index, log: Log) -> None:
        self._settings, self._spool, self._index, self._log = settings, spool, index, log
        self._place, self._access = Place.parse(settings.place), access_of(settings)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._vain, self._next = 0, 0.0  # by a clock that does not jump
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="cfcam-deliver", daemon=True)

    @property
    def down(self) -> bool:
        """Whether the last try was in vain."""
        return self._vain > 0

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
        self._thread.join(self._settings.timeout_s + 5)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_LOOK)
            self._wake.clear()
            try:
                while not self._closing.is_set() and time.monotonic() >= self._next and self._once():
                    pass
            except Exception as error:  # noqa: BLE001 (the thread has to live on; what waits stays as it is)
                self._log.error("results cannot be sent at the moment", error=type(error).__name__)
                self._put_off()

    def _once(self) -> bool:
        """Sends what waits; tells whether there is more that may be sent at once."""
        waiting = self._index.to_deliver(_AT_ONCE)
        if not waiting:
            return False
        here = []
        for result in waiting:
            if (self._spool.results / result.file).is_file():
                here.append(result)
            else:
                self._index.refused(result.file, "the result is not in the spool any more")
        report = send(self._place, [self._spool.results / one.file for one in here], self._access)
        told: dict[Outcome, list[tuple[Result, Sent]]] = defaultdict(list)
        for sent in report.sent:
            told[sent.outcome].append((here[sent.number], sent))
            self.counts[str(sent.outcome)] += 1
        arrived = [*told[Outcome.STORED], *told[Outcome.ALREADY_THERE]]
        if arrived:
            self._index.delivered([result.file for result, _ in arrived])
        for result, sent in told[Outcome.REFUSED]:
            self._log.error("a result is refused, and put aside", study=result.task, kind=result.kind, why=sent.reason)
            self._index.refused(result.file, sent.reason)
        self._again(told[Outcome.TRY_AGAIN])
        return not told[Outcome.TRY_AGAIN] and len(waiting) == _AT_ONCE

    def _again(self, waiting: list[tuple[Result, Sent]]) -> None:
        if not waiting:
            if self._vain:
                self._log.info("results get through again")
            self._vain = 0
            return
        reason = waiting[0][1].reason
        if not self._vain:
            self._log.warn("results do not get through, and are tried again", why=reason)
        self._put_off()
        self._index.not_yet([result.file for result, _ in waiting], reason)
        for result, _ in waiting:
            if result.tries + 1 >= self._settings.most_tries:
                self._log.error("a result was tried often enough, and is put aside", study=result.task)
                self._index.refused(result.file, f"tried {result.tries + 1} times: {reason}")

    def _put_off(self) -> None:
        wait = min(self._settings.longest_wait_s, self._settings.wait_s * 2 ** min(self._vain, 20))
        self._vain += 1
        self._next = time.monotonic() + wait
