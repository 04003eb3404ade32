"""A gateway at work: what comes in is kept, explained and sent on; a crash costs time, and nothing else."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cfcam.errors import JobError
from cfcam.files import stays_inside
from cfcam.jobs.gateway.access import exposed_secrets
from cfcam.jobs.gateway.arrivals.intake import Intake
from cfcam.jobs.gateway.arrivals.poll import Poller
from cfcam.jobs.gateway.arrivals.receive import Receiver
from cfcam.jobs.gateway.arrivals.watch import Watcher
from cfcam.jobs.gateway.delivery.deliver import Deliverer
from cfcam.jobs.gateway.delivery.post import Poster
from cfcam.jobs.gateway.health import Server
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.job import Answer, Job, Rehearsal, Written
from cfcam.jobs.gateway.metrics import numbers
from cfcam.jobs.gateway.patience import patiently
from cfcam.jobs.gateway.records import Result, Task
from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.jobs.gateway.spool import Spool
from cfcam.jobs.gateway.work import LostError, Worker
from cfcam.log import Log

INDEX = "index.sqlite"
_LOOK = 0.5  # seconds between two looks for complete series, and for what somebody else has put back
_SWEEP = 600.0  # seconds between two looks for what may go, at most
_FULL = 5.0  # seconds before work on a full disk is tried again
_DAY = 86400.0


class Gateway:
    """All of it, from `start` to `close`.

    Args:
        settings: what it does.
        log: takes a line for what happens.

    Raises:
        CfcamError: it cannot be set up: the spool is another's, an address is taken, a password is missing.
    """

    def __init__(self, settings: GatewaySettings, log: Log) -> None:
        self.settings, self._log = settings, log
        self._closing, self._wake, self._warm = threading.Event(), threading.Event(), threading.Event()
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self._parts = ExitStack()
        self._threads: list[threading.Thread] = []
        with ExitStack() as made:
            self.spool = Spool(settings.spool)
            made.callback(self.spool.close)
            self.index = Index(self.spool.folder / INDEX)
            made.callback(self.index.close)
            self.intake = Intake(settings, self.spool, self.index, log, self._wake.set)
            self.poster = Poster(settings.fhir, self.spool, self.index, log) if settings.fhir else None
            there = self.poster.wake if self.poster else _nothing
            self.deliverer = Deliverer(settings.send, self.spool, self.index, log, there) if settings.send else None
            self.worker = Worker(settings, self._ahead)
            self.receiver = Receiver(settings.receive, self.intake, log) if settings.receive else None
            self.watcher = Watcher(settings.watch, self.intake, log) if settings.watch else None
            self.poller = Poller(settings.poll, self.spool, self.index, self.intake, log) if settings.poll else None
            self.server = Server(settings.health, self.problems, self.numbers) if settings.health else None
            self._parts = made.pop_all()

    def start(self) -> None:
        """Takes up what was left, and begins."""
        for left in self.spool.work.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        if back := self.index.back():
            self._log.info("studies that were being explained are taken up again", studies=back)
        for told in exposed_secrets(self.settings):
            self._log.warn(told)
        self.intake.start()
        for run, name in ((self._explain, "explain"), (self._complete, "complete"), (self._sweep, "sweep")):
            thread = threading.Thread(target=self._guarded, args=(run,), name=f"cfcam-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        for part in (self.deliverer, self.poster, self.watcher, self.poller, self.server, self.receiver):
            if part is not None:
                part.start()
        at = {"port": self.receiver.port} if self.receiver else {}
        self._log.info("the gateway is ready", **at)

    def wait(self) -> None:
        """Waits until it is to end.

        Raises:
            JobError: the lock of the spool was removed.
        """
        while not self._closing.wait(1):
            if self.spool.is_lost():
                raise JobError(
                    "the file of the spool's lock was removed, so that another gateway may work there: this one ends;"
                    " see that no other does, and start it again"
                )

    def stop(self) -> None:
        """Asks it to end."""
        self._closing.set()
        self._wake.set()

    def close(self) -> None:
        """Ends: nothing more is taken, and what is not done is at the next start."""
        self.stop()
        for part in (self.receiver, self.watcher, self.poller, self.server):
            if part is not None:
                part.close()
        self.intake.close()
        self.worker.close()
        for thread in self._threads:
            thread.join(10)
        for sender in (self.deliverer, self.poster):
            if sender is not None:
                sender.close()
        self._parts.close()
        self._log.info("the gateway has ended")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _a: type[BaseException] | None, _b: BaseException | None, _c: TracebackType | None) -> None:
        self.close()

    def problems(self) -> list[str]:
        """Returns what keeps it from its work, a line each."""
        found = [f"{thread.name} has ended" for thread in self._threads if not thread.is_alive()]
        if self.spool.free() < self.settings.spool.least_free_mb << 20:
            found.append("the disk is full")
        if self.intake.waiting >= self.settings.spool.most_waiting:
            found.append("the queue is full")
        if not self._warm.is_set():
            found.append("its networks are not loaded yet")
        if self.deliverer is not None and self.deliverer.down:
            found.append(f"results do not get through: {self.deliverer.why}")
        if self.poster is not None and self.poster.down:
            found.append(f"Bundles do not get through: {self.poster.why}")
        return found

    def numbers(self) -> Iterator[Any]:
        """Yields its metrics."""
        return numbers(
            self.spool,
            self.index,
            self.intake,
            self.receiver,
            self.deliverer,
            self.poster,
            worked=self.counts,
            seconds=self.seconds,
            starts=self.worker.starts,
        )

    def _guarded(self, run: Callable[[], None]) -> None:
        """Runs a step again and again; an error of it costs a second, not the gateway."""
        while not self._closing.is_set():
            try:
                run()
            except Exception as error:  # noqa: BLE001 (a full disk, a broken index: somebody may mend it)
                if not self._closing.is_set():
                    self._log.error("a step of the gateway failed, and is tried again", error=type(error).__name__)
                    self._closing.wait(1)

    def _complete(self) -> None:
        self.intake.complete()
        self._closing.wait(_LOOK)

    def _rehearse(self) -> None:
        try:
            answer = self.worker(Rehearsal()) if self.settings.work.rehearsed else Answer()
            for trouble in answer.troubles:
                self._log.warn("a network is not rehearsed", why=trouble)
        except LostError as error:
            if not self._closing.is_set():
                self._log.warn("the networks cannot be loaded beforehand", why=str(error))
        self._warm.set()

    def _explain(self) -> None:
        if not self._warm.is_set():
            self._rehearse()
        task = self.index.take()
        if task is None:
            self._wake.wait(_LOOK)
            self._wake.clear()
            return
        self._one(task)
        self.intake.recount()

    def _ahead(self, one: Written) -> None:
        if self.deliverer is not None:
            self.deliverer.ahead.offer(one)
            self.deliverer.wake()

    def _no_more_ahead(self, task: Task, *, done: bool) -> None:
        if self.deliverer is not None:
            self.deliverer.ahead.end(task.name, done=done)

    def _one(self, task: Task) -> None:
        started = time.perf_counter()
        try:
            answer = self.worker(Job(task.name, task.network, tuple(self.intake.files(task)), task.volume))
        except LostError as error:
            if self._closing.is_set():
                return  # it is taken up at the next start
            self._no_more_ahead(task, done=False)
            self.counts["lost"] += 1
            if task.tries + 1 >= self.settings.work.most_tries:
                self._aside(task, str(error))
            else:
                self._log.warn("work on a study ended without an answer, and is tried again", study=task.id)
                self._entered(self.index.again, task, str(error))
            return
        self._no_more_ahead(task, done=not (answer.full or answer.reason))
        if answer.full:
            self._log.error("the disk takes no results at the moment", study=task.id)
            self._entered(self.index.again, task, "the disk is full", counted=False)
            self._closing.wait(_FULL)
            return
        if answer.reason:
            self._aside(task, answer.reason)
            return
        # Before it counts as explained: killed in between, it is told twice and not never.
        for note in answer.notes:
            self._log.info("of a study there is something to know", study=task.id, note=note)
        for trouble in answer.troubles:
            self._log.warn("a study is explained, and something beside it went wrong", study=task.id, why=trouble)
        results = [Result(f"{task.name}/{name}", task.id, uid, kind) for name, uid, kind in answer.results]
        sent, posted = self.deliverer is not None, self.poster is not None
        self._entered(self.index.finish, task, results, sent=sent, posted=posted)
        for sender in (self.deliverer, self.poster):
            if sender is not None:
                sender.wake()
        self.counts["explained"] += 1
        self.seconds += time.perf_counter() - started
        objects = sum(bool(result.uid) for result in results)
        took = f"{time.perf_counter() - started:.2f}"
        self._log.info("a study is explained", study=task.id, network=task.network, objects=objects, seconds=took)

    def _aside(self, task: Task, reason: str) -> None:
        self.counts["put aside"] += 1
        self._log.error("a study is put aside", study=task.id, network=task.network, why=reason)
        self._entered(self.index.dead, task, reason)

    def _entered(self, enter: Callable[..., None], *values: Any, **named: Any) -> None:
        patiently(partial(enter, *values, **named), self._closing, self._log)

    def _sweep(self) -> None:
        kept = self.settings.spool.keep_days * _DAY
        self._closing.wait(min(_SWEEP, kept / 10))
        if not self._closing.is_set():
            self.sweep(time.time() - kept)

    def sweep(self, before: float) -> None:
        """Removes objects and results with which all was done before a moment."""
        objects, tasks = self.index.old(before)
        for key in objects:
            self.spool.remove(key)
        for task in tasks:
            if not stays_inside(task.id):
                continue
            for number in range(task.round + 1):
                with suppress(OSError):
                    shutil.rmtree(self.spool.results / f"{task.id}-{number}")
                shutil.rmtree(self.spool.ahead / f"{task.id}-{number}", ignore_errors=True)
        self.index.forget(objects, tasks)


def _nothing() -> None:
    """Where nobody waits for results to arrive."""


def status(settings: GatewaySettings) -> dict[str, Any]:
    """Returns how far the work of a gateway is, whether it runs or not.

    Raises:
        JobError: it was never started.
    """
    index = Index(Path(settings.spool.folder) / INDEX, make=False)
    try:
        aside = [{"study": one.id, "network": one.network, "reason": one.reason} for one in index.put_aside()]
        held_up = [{"results": count, "reason": reason} for count, reason in index.held_up()]
        return {**index.counts(), "held_up": held_up, "put_aside": aside}
    finally:
        index.close()


def retry(settings: GatewaySettings, studies: list[str]) -> list[str]:
    """Lets studies that were put aside be tried again, and returns their names.

    Args:
        settings: of the gateway, which may be running.
        studies: their names; empty: all.

    Raises:
        JobError: it was never started.
    """
    index = Index(Path(settings.spool.folder) / INDEX, make=False)
    try:
        return index.retry(studies)
    finally:
        index.close()
