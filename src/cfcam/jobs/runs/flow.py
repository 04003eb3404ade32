"""Inputs on their way side by side: read ahead, explained in batches, drawn behind, and settled in their order."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

from cfcam.jobs.engine.lanes import threads
from cfcam.jobs.inputs.aside import MANY, Aside, Found
from cfcam.jobs.runs.manifest import Record, State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.standing import stands, untouched
from cfcam.jobs.runs.task import Outcome, Task
from cfcam.jobs.runs.work import Work
from cfcam.stages import DECODE, DRAW, MAPS, Stages, stage

_LARGE_PIXELS = 12_000_000  # of such pictures only one at a time is worked on
_CORES = os.cpu_count() or 2
_READERS = max(2, min(4, _CORES // 2))
_DRAWERS = max(2, min(8, _CORES - 1))


Known = Callable[[Task], Record | None]


class Way(Protocol):
    """Takes the tasks of a run through the work: `Flow`, or several workers.

    Attributes:
        stages: where the threads' time went.
    """

    stages: Stages

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yields the tasks, settled, in their order."""

    def close(self) -> list[Task]:
        """Ends what is under way; returns the tasks that were, some of which may be settled."""


MakeFlow = Callable[[Work, Settings, Known], Way]


@dataclass
class _Pending:
    """A task that was read; and its drawing, once that has begun."""

    task: Task
    drawing: Future[None] | None = None

    def settled(self) -> bool:
        return self.task.outcome is not None or (self.drawing is not None and self.drawing.done())


class Flow:
    """Takes tasks through the work; at most a few batches of them are under way, however many there are.

    Reading and drawing run in threads beside the network. It writes no manifest: whoever calls it enters the records.

    Args:
        work: what is done to each.
        settings: of the run.
        known: returns what an earlier run entered of an input, None if it must be explained in any case. It is done if
            the input and its files are as they were.
        stages: takes down where the threads' time goes; None: its own.
        aside: read small pictures in processes of their own, where there are many.

    Attributes:
        stages: where the threads' time went.
    """

    def __init__(
        self, work: Work, settings: Settings, known: Known, stages: Stages | None = None, *, aside: bool = True
    ) -> None:
        self._work, self._settings, self._known = work, settings, known
        self._readers, self._drawers = threads(_READERS, "cfcam-read"), threads(_DRAWERS, "cfcam-draw")
        self._pending: deque[_Pending] = deque()
        self._drawn = 0  # of those that are pending
        self._large = threading.Semaphore(1)
        self._mine, self._asides = threading.local(), list[Aside]()  # each reader has its own
        self.stages = stages or Stages()
        self._with_asides = aside and _CORES > 1

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yields the tasks, settled, in their order.

        Raises:
            CfcamError: none was explained yet, and the first cannot be for a reason that lies in the set-up.
        """
        ahead, pending = self._ahead(), self._pending
        waiting = iter(tasks)
        batches = self._batches_ahead()
        some = max(1, batches * min(self._settings.batch_size, ahead) // (2 * _READERS))  # by one thread, in one go
        reading: deque[tuple[Task, Future[None] | None]] = deque()
        batch: list[_Pending] = []
        read: Future[None] | None = None
        while True:
            while len(reading) <= ahead - some and (begun := self._begun(list(islice(waiting, some)))):
                reading += begun
            if not reading and not pending:
                return
            if reading:
                task, future = reading.popleft()
                if future is not None and future is not read:  # many are read in one go
                    future.result()
                    read = future
                pending.append(_Pending(task))
                if task.outcome is None:
                    batch.append(pending[-1])
            crowded = len(pending) >= 8 * self._settings.batch_size
            if batch and (len(batch) >= self._work.engine.batch_size or not reading or crowded):
                self._explain(batch)
                batch = []
            while pending:
                head = pending[0]
                if not head.settled() and reading and self._drawn <= 2 * _DRAWERS + self._settings.batch_size:
                    break
                if head.drawing is not None:
                    head.drawing.result()
                    self._drawn -= 1
                yield pending.popleft().task

    def close(self) -> list[Task]:
        """Ends the threads; returns the tasks that were under way, some of which may be settled."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._drawers.shutdown(wait=True, cancel_futures=True)
        for aside in self._asides:
            aside.close()
        return [one.task for one in self._pending]

    def _ahead(self) -> int:
        """How many inputs are read before they are explained; of studies only one is held in memory."""
        if self._settings.asks_again:
            return 1
        return self._work.kind.most_ahead or 2 * _READERS + self._batches_ahead() * self._settings.batch_size

    def _batches_ahead(self) -> int:
        """How many batches are read meanwhile: two, and in larger pieces, where only small tensors are held of them."""
        return 2 if self._settings.store and self._work.engine.light else 1

    def _begun(self, tasks: Sequence[Task]) -> list[tuple[Task, Future[None] | None]]:
        """Begins to read inputs; those whose stamps say that they are done cost no thread."""
        output, by_content = self._settings.output, self._settings.verify
        records = [self._known(task) for task in tasks]
        to_read: list[tuple[Task, Record | None]] = []
        for task, record in zip(tasks, records, strict=True):
            if record is not None and not by_content and untouched(record, task.input.path, output):
                self._skip(task, record)
            else:
                to_read.append((task, record))
        future = self._readers.submit(self._read_all, to_read) if to_read else None
        return [(task, None if task.outcome is not None else future) for task in tasks]

    def _skip(self, task: Task, record: Record) -> None:
        task.outcome = Outcome.entered(record, task.input, self._settings.output, State.SKIPPED)

    def _read_all(self, tasks: Sequence[tuple[Task, Record | None]]) -> None:
        """Reads and prepares inputs, unless they are already done."""
        fresh = [task for task, known in tasks if not self._stands(task, known)]
        with self.stages(DECODE):
            found = self._found_aside(fresh)
            if taken := [(task, one) for task, one in zip(fresh, found, strict=True) if one is not None]:
                self._work.take(*zip(*taken, strict=True))
            for task, one in zip(fresh, found, strict=True):
                if one is None:
                    self._work.read(task)
                    with self._alone_if_large(task):
                        self._work.prepare(task)

    def _stands(self, task: Task, known: Record | None) -> bool:
        if known is None or not stands(known, partial(self._work.kind.digest, task.input), self._settings.output):
            return False
        self._skip(task, known)
        return True

    def _found_aside(self, tasks: Sequence[Task]) -> Sequence[Found | None]:
        """What a process of its own reads of small pictures, where there are enough of them."""
        few = len(tasks) < 2 or tasks[0].count < MANY or not self._with_asides
        wanted = None if few else self._work.kind.wanted([task.input for task in tasks])
        if wanted is None:
            return [None] * len(tasks)
        started = time.perf_counter()
        for task in tasks:
            task.started = started
        if (aside := getattr(self._mine, "aside", None)) is None:
            aside = self._mine.aside = Aside()
            self._asides.append(aside)
        return aside(wanted)

    def _explain(self, batch: Sequence[_Pending]) -> None:
        with self.stages(MAPS):  # whatever of it is the network's own pass, the engine counts apart
            self._work.explain([one.task for one in batch])
        for one in batch:
            if one.task.outcome is None:
                one.drawing = self._drawers.submit(self._draw, one.task)
                self._drawn += 1
                if self._settings.asks_again:  # it needs the network, which the next must not use meanwhile
                    one.drawing.result()

    def _draw(self, task: Task) -> None:
        with self.stages(DRAW):
            with stage(DECODE):
                self._work.reread(task)
            with self._alone_if_large(task):
                self._work.draw(task)

    def _alone_if_large(self, task: Task) -> AbstractContextManager[Any]:
        large = task.image is not None and self._work.kind.pixels(task.image) > _LARGE_PIXELS
        return self._large if large else nullcontext()
