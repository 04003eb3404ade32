"""The one way into the spool, whoever brings an object: kept on disk, then entered, then worked on."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfcam.errors import CfcamError, ImageError, MissingExtraError
from cfcam.jobs.gateway.header import Header, key_of
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.patience import patiently
from cfcam.jobs.gateway.records import Entry, Has, State, Task
from cfcam.jobs.gateway.rules import decide
from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.jobs.gateway.spool import FullError, Incoming, Kept, Spool, digest_of, sender_of
from cfcam.log import Log

_AT_ONCE = 256  # objects that are entered in one transaction
MIXED = "its objects are of several patients"


class RefusedError(CfcamError, ValueError):
    """An object that is not taken, now or later."""


@dataclass(frozen=True)
class Taken:
    """What became of an object that was brought.

    Attributes:
        kept: whether it is new.
        key: its neutral name.
    """

    kept: Kept
    key: str


class Intake:
    """Takes objects, and decides what is done with each.

    Args:
        settings: of the gateway.
        spool: where objects lie.
        index: what is known of them.
        log: takes a line for what is odd.
        ready: called when a study can be worked on.
    """

    def __init__(
        self, settings: GatewaySettings, spool: Spool, index: Index, log: Log, ready: Callable[[], None]
    ) -> None:
        self._settings, self._spool, self._index, self._log, self._ready = settings, spool, index, log, ready
        self._arrived: queue.SimpleQueue[Entry | threading.Event | None] = queue.SimpleQueue()
        self._heard: dict[str, float] = {}  # when the last object of a series came, by a clock that does not jump
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._waiting = index.waiting()
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._enter, name="cfcam-enter", daemon=True)

    def start(self) -> None:
        """Enters what an earlier process kept and did not enter, and begins."""
        for key in self._spool.names():
            if not self._index.known(key):
                self._recover(key)
        now = time.monotonic()
        self._heard = dict.fromkeys(self._index.open_series(), now)
        self._thread.start()

    def close(self) -> None:
        """Enters what was kept, and ends."""
        self._closing.set()
        self._arrived.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """How many objects wait or are worked on, about."""
        return self._waiting

    def recount(self) -> None:
        """Counts what waits."""
        with self._lock:
            self._waiting = self._index.waiting() + self._arrived.qsize()

    def incoming(self) -> Incoming:
        """Returns a file to write an object to.

        Raises:
            FullError: as much waits as may, or the disk is full.
        """
        if self._waiting >= self._settings.spool.most_waiting:
            self.counts["full"] += 1
            raise FullError(0, "as many objects wait as may")
        try:
            return self._spool.incoming()
        except FullError:
            self.counts["full"] += 1
            raise

    def take(self, incoming: Incoming, *, sender: str, uid: str | None = None) -> Taken:
        """Keeps an object that is written; when this returns, it is on the disk.

        Args:
            incoming: its file.
            sender: AE title, "watch" or "poll".
            uid: that the sender calls it by; None: it does not.

        Raises:
            RefusedError: it is broken, or not what it is called.
            FullError: the disk is full.
        """
        try:
            header = Header.of_file(incoming.path, "the object")
        except MissingExtraError:
            raise
        except ImageError as error:
            self.counts["broken"] += 1
            raise RefusedError(str(error)) from None
        if uid is not None and header.uid != uid:
            self.counts["broken"] += 1
            raise RefusedError("the object: has another SOP Instance UID than the sender says; export it again")
        arrived = self._spool.keep(incoming, header.key)
        self.counts[arrived.kept] += 1
        if arrived.kept is Kept.OTHER:
            self._log.warn("an object came with the UID of another, and is not kept", object=header.key, sender=sender)
            raise RefusedError("the object: another one with its SOP Instance UID is there, and is kept")
        if arrived.kept is Kept.NEW or not self._index.known(header.key):  # kept once, and its sender told "full"
            with self._lock:
                self._waiting += 1
            self._arrived.put(Entry(header, arrived.sha256, arrived.size, sender))
        return Taken(arrived.kept, header.key)

    def settle(self) -> None:
        """Waits until all that was taken is entered."""
        event = threading.Event()
        self._arrived.put(event)
        while self._thread.is_alive() and not event.wait(0.1):
            pass

    def _recover(self, key: str) -> None:
        path = self._spool.path(key)
        try:
            header = Header.of_file(path, "the object")
            entry = Entry(header, digest_of(path), path.stat().st_size, sender_of(path))
        except Exception:  # noqa: BLE001 (whatever pydicom says of a broken file)
            self._log.error("an object in the spool cannot be read, and stays there", object=key)
            return
        self._arrived.put(entry)
        self.counts["recovered"] += 1

    def _enter(self) -> None:
        going = True
        while going:
            batch: list[Entry | threading.Event | None] = [self._arrived.get()]
            while len(batch) < _AT_ONCE and not self._arrived.empty():
                batch.append(self._arrived.get())
            entries = [one for one in batch if isinstance(one, Entry)]
            if entries:
                self._enter_all(entries)
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()
                going = going and one is not None

    def _enter_all(self, entries: Sequence[Entry]) -> None:
        decided = [self._decided(entry) for entry in entries]
        if not patiently(lambda: self._index.enter(decided), self._closing, self._log):
            return  # what lies in the spool is entered at the next start
        now = time.monotonic()
        for entry, has, _ in decided:
            if has is Has.WAITING:
                self._heard[entry.header.series_key] = now
            elif has is Has.IGNORED:
                self._spool.remove(entry.header.key)
                self.counts["ignored"] += 1
        self.recount()
        if any(tasks for _, _, tasks in decided):
            self._ready()

    def _decided(self, entry: Entry) -> tuple[Entry, Has, Sequence[Task]]:
        if self._index.ours(entry.header.uid):
            return entry, Has.IGNORED, ()
        rule = decide(self._settings.rule, entry.header, sender=entry.sender).rule
        if rule is None:
            return entry, Has.IGNORED, ()
        if rule.by == "series":
            return entry, Has.WAITING, ()
        return entry, Has.TAKEN, tasks_of(entry.header.key, rule.name, rule.networks, volume=False)

    # series

    def complete(self) -> None:
        """Looks for series that are complete, and begins their studies."""
        self.settle()
        now = time.monotonic()
        for series, heard in list(self._heard.items()):
            quiet = now - heard >= self._settings.complete.quiet_s
            if quiet or self._as_expected(series):
                self._complete(series)
                if self._heard.get(series) == heard:
                    del self._heard[series]

    def _as_expected(self, series: str) -> bool:
        if not self._settings.complete.expected:
            return False
        entries = self._index.series(series)
        expected = max((entry.header.expected for entry in entries), default=0)
        return 0 < expected <= len(entries)

    def _complete(self, series: str) -> None:
        entries = [entry for entry in self._index.series(series) if self._spool.path(entry.header.key).exists()]
        if not entries:
            return
        header, slices = entries[0].header, sum(entry.header.frames for entry in entries)
        rule = decide(self._settings.rule, header, sender=entries[0].sender, slices=slices).rule
        if rule is None:
            self._index.close_series(series, Has.IGNORED, ())
            for entry in entries:
                self._spool.remove(entry.header.key)
            self.counts["ignored"] += len(entries)
        elif rule.by == "object":
            tasks = [t for e in entries for t in tasks_of(e.header.key, rule.name, rule.networks, volume=False)]
            self._index.close_series(series, Has.TAKEN, tasks)
        else:
            mixed = len({entry.header.patient for entry in entries}) > 1
            tasks = tasks_of(series, rule.name, rule.networks, volume=True, dead=MIXED if mixed else "")
            self._index.close_series(series, Has.DONE if mixed else Has.TAKEN, tasks, again=True)
        self.recount()
        self._ready()

    def files(self, task: Task) -> list[Path]:
        """Returns the files of a study."""
        keys = [e.header.key for e in self._index.series(task.unit)] if task.volume else [task.unit]
        return [path for path in map(self._spool.path, keys) if path.exists()]


def tasks_of(unit: str, rule: str, networks: Sequence[str], *, volume: bool, dead: str = "") -> list[Task]:
    """Returns the studies that become of an object or a series, one for each network."""
    state = State.DEAD if dead else State.COMPLETE
    return [
        Task(f"study-{key_of(unit, network)[:12]}", unit, volume, network, rule, state=state, reason=dead)
        for network in networks
    ]
