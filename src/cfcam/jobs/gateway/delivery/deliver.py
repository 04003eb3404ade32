"""Results to where they belong: sent until they are there, and there once, for UIDs follow from what they identify."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cfcam.exchange.pacs.line import Line
from cfcam.exchange.pacs.outcome import Outcome, Sent
from cfcam.exchange.pacs.place import Place
from cfcam.exchange.pacs.sending import send
from cfcam.files import stays_inside
from cfcam.jobs.gateway.access import access_of
from cfcam.jobs.gateway.delivery.ahead import Ahead
from cfcam.jobs.gateway.delivery.trying import Trying
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.places import Send
from cfcam.jobs.gateway.records import Result
from cfcam.jobs.gateway.spool import Spool
from cfcam.log import Log

_IDLE = 1.0  # seconds after which the line of what went ahead is not held open any more
_AT_ONCE = 32  # results that go out through one association, and again if the gateway is killed meanwhile


class Deliverer(Trying):
    """Sends objects to an archive.

    Attributes:
        ahead: those of the study that is in the making.

    Args:
        settings: where to.
        spool: where results lie.
        index: which ones.
        log: takes a line when a place is down, and when it is there again.
        there: called when some have arrived.

    Raises:
        InputError: a password is not there.
    """

    def __init__(self, settings: Send, spool: Spool, index: Index, log: Log, there: Callable[[], None]) -> None:
        super().__init__("results", settings, settings.timeout_s, index, log)
        self._spool, self._there, self.ahead = spool, there, Ahead(spool)
        self._place, self._access = Place.parse(settings.place), access_of(settings)
        self._line = Line(self._place, self._access)

    def once(self) -> bool:
        """Sends what waits; tells whether there is more that may be sent at once."""
        over = self.ahead.send(self._goes)
        more = self._due()
        self._line.close(idle_s=0.0 if over else _IDLE)  # one of DICOM takes a processor's time as long as it is open
        return more

    def _due(self) -> bool:
        """Sends results of studies that are done, and have not gone ahead."""
        waiting = self._index.to_deliver(_AT_ONCE)
        if not waiting:
            return False
        here, before = [], []
        for result in waiting:
            if self.ahead.take(result.file):
                before.append(result.file)
            elif stays_inside(result.file) and (self._spool.results / result.file).is_file():
                here.append(result)
            else:
                self._index.refused(result.file, "the result is not in the spool any more")
        if before:
            self.counts[str(Outcome.STORED)] += len(before)
            self.arrived(before)
            self._there()
        if not here:
            return len(waiting) == _AT_ONCE
        report = send(self._place, [self._spool.results / one.file for one in here], self._access)
        told: dict[Outcome, list[tuple[Result, Sent]]] = defaultdict(list)
        for sent in report.sent:
            told[sent.outcome].append((here[sent.number], sent))
            self.counts[str(sent.outcome)] += 1
        arrived = [*told[Outcome.STORED], *told[Outcome.ALREADY_THERE]]
        if arrived:
            self.arrived([result.file for result, _ in arrived])
            self._there()
        for result, sent in told[Outcome.REFUSED]:
            self.refuse(result, sent.reason)
        self.again([(result, sent.reason) for result, sent in told[Outcome.TRY_AGAIN]])
        return not told[Outcome.TRY_AGAIN] and len(waiting) == _AT_ONCE

    def _goes(self, file: Path) -> bool:
        """Sends one object ahead of its study; where that is in vain, it waits for its turn, and is counted then."""
        return not self.down and self._line.send(file).done

    def close(self) -> None:
        """Ends; what does not get through now is sent at the next start."""
        super().close()
        self._line.close()
