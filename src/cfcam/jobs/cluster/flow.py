"""The inputs of a run taken through the work by a cluster: in parts, each exactly once, whoever is lost on the way."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from cfcam._version import __version__
from cfcam.errors import DiskError, JobError
from cfcam.jobs.cluster.explaining import Explaining, Todo, record_of
from cfcam.jobs.cluster.journal import journals
from cfcam.jobs.cluster.part import Answer, Ended, Item, Part, id_of, size_of_parts
from cfcam.jobs.cluster.pool import IDLE, LOST, Cluster, Lost, Pool
from cfcam.jobs.cluster.worker import Place
from cfcam.jobs.runs.flow import Known, MakeFlow
from cfcam.jobs.runs.manifest import Record, State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.standing import verified
from cfcam.jobs.runs.task import Outcome, Task
from cfcam.jobs.runs.work import Work
from cfcam.jobs.store.kept import Kept

_AHEAD = 4  # parts for each worker, finished or under way, that wait for one before them


@dataclass
class _Share:
    """A part on its way, the tasks it came from, and what has become of them so far."""

    part: Part
    tasks: list[Task]
    ended: dict[str, tuple[Record, Kept | None, bool]] = field(default_factory=dict)

    def over(self) -> bool:
        return len(self.ended) == len(self.tasks)


def on_cluster(cluster: Cluster) -> MakeFlow:
    """Returns the ``flow`` of a `cfcam.jobs.FolderRun` whose inputs the workers of a cluster take.

    Args:
        cluster: which, and how much of it.
    """
    return partial(ClusterFlow, cluster=cluster)


class ClusterFlow:
    """Takes tasks through the work on the workers of a cluster; a `cfcam.jobs.runs.flow.Way`.

    Ray starts workers and carries parts to them. What is done is decided here, and by files: a worker writes down each
    input when its files are there, so that what a lost worker did is neither lost nor done again. The inputs of its
    part that are left go to another worker one after the other; an input at which two more workers are lost is
    recorded as failed. What goes into a store instead of files is lost with a worker, and done again.

    Args:
        work: what is done to each.
        settings: of the run.
        known: returns what an earlier run entered of an input.
        cluster: which, and how much of it.

    Raises:
        CfcamError: the network cannot be sent, or the cluster cannot be reached.
    """

    def __init__(self, work: Work, settings: Settings, known: Known, cluster: Cluster) -> None:
        if settings.shard is not None:
            raise JobError(f"shard {settings.shard} on a cluster: leave the shard out, the cluster shares inputs out")
        self._work, self._settings, self._known = work, settings, known
        self._shares: deque[_Share] = deque()
        self._again: deque[_Share] = deque()
        self._proven = self._whole = False
        self._left = {} if settings.store or settings.overwrite else self._left_over()
        self._place = Place.made(settings.output, cluster.cores)
        job = pickle.dumps(Explaining(work, settings))
        self._pool: Pool | None = Pool(cluster, job, self._place, on_gpu=work.engine.on_gpu)
        work.notes.extend(self._pool.notes)

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yields the tasks, settled, in their order.

        Raises:
            CfcamError: the set-up does not allow to explain anything, or the workers cannot work.
        """
        assert self._pool is not None  # noqa: S101 (it is not closed)
        pool, waiting = self._pool, iter(tasks)
        due: _Share | None = None
        while True:
            while (due := due or self._next(waiting)) is not None and pool.free:
                due.part.proven = self._proven
                pool.give(due.part)
                due = None
            if not self._shares:
                self._whole = True
                return
            for part, answer in pool.answers():
                share = next(one for one in self._shares if one.part is part)
                if isinstance(answer, Lost):
                    self._lost(share, answer)
                else:
                    self._answered(share, answer)
            while self._shares and self._shares[0].over():
                share = self._shares[0]
                yield from self._settled(share)
                self._shares.popleft()
                for journal in self._place.journals(share.part):
                    journal.remove()

    def close(self) -> list[Task]:
        """Ends the workers; returns the tasks that were under way, with what their workers wrote down."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        found: list[Task] = []
        for share in self._shares:
            self._take_down(share)
            found += [task for task in self._settled(share) if task.outcome is not None]
        self._place.leave(whole=self._whole)
        return found

    def _next(self, waiting: Iterator[Task]) -> _Share | None:
        """Returns what to give to a worker: what a lost one left over first."""
        if self._again:
            return self._again.popleft()
        assert self._pool is not None  # noqa: S101 (it is not closed)
        if len(self._shares) >= _AHEAD * self._pool.count or (first := next(waiting, None)) is None:
            return None
        size = size_of_parts(first.count, self._pool.count, self._settings.batch_size)
        tasks = list(chain([first], islice(waiting, size - 1)))
        told = (f"{task.name}\0{task.input.key}" for task in tasks)
        items = tuple(Item(task.name, Todo(task, self._before(task))) for task in tasks)
        self._shares.append(_Share(Part(id_of(self._work.sha256, told), items), tasks))
        return self._shares[-1]

    def _before(self, task: Task) -> Record | None:
        return self._known(task) or self._left.get(task.name)

    def _answered(self, share: _Share, answer: Answer) -> None:
        if answer.disk:
            raise DiskError(self._settings.output, answer.disk)
        if answer.error:
            if share.part.proven or (share is self._shares[0] and not self._proven):
                raise JobError(answer.error)
            self._take_down(share)  # once another input is explained, each of these fails by itself
            self._leave_over(share)
            return
        self._work.notes.extend(note for note in answer.notes if note not in self._work.notes)
        known = {item.name: item.what.known for item in share.part.items}
        for one in answer.ended:
            record, kept = record_of(one)
            skipped = record is None
            record = record or known[one.name]
            assert record is not None  # noqa: S101 (what has no line was known)
            share.ended[one.name] = (record, kept, skipped)
            self._proven = self._proven or record.status is State.DONE

    def _lost(self, share: _Share, lost: Lost) -> None:
        """Takes down what the worker wrote, and makes a part of what it left over."""
        part = share.part
        told = self._place.journal(part).read()
        self._take_down(share)
        part.idle = 0 if told.ended or told.open or lost.with_node else part.idle + 1
        if part.idle >= IDLE:
            raise JobError(
                f"{IDLE} workers in a row were lost before they explained one of the same {len(part.items)} inputs:"
                " Ray's logs say why"
            )
        given_up = lost.blame(part, told.open) if part.alone else []
        for item in part.items:
            if item.name in given_up:
                share.ended[item.name] = (self._given_up(item.what.task), None, False)
        part.alone = True
        self._leave_over(share)

    def _leave_over(self, share: _Share) -> None:
        """Has another worker do what is left of a part."""
        part = share.part
        part.items = tuple(item for item in part.items if item.name not in share.ended)
        part.attempt += 1
        if part.items:
            self._again.append(share)

    def _take_down(self, share: _Share) -> None:
        """Enters what the journals of a part tell, where files are as they were written a moment ago."""
        if self._settings.store:
            return
        for journal in self._place.journals(share.part):
            for name, line in journal.read().ended.items():
                record, _ = record_of(Ended(name, line))
                if record is not None and name not in share.ended and verified(record, self._settings.output):
                    share.ended[name] = (record, None, False)

    def _given_up(self, task: Task) -> Record:
        return Record(
            input=task.input.key,
            sha256=None,
            status=State.FAILED,
            error=LOST,
            name=task.name,
            layer=self._work.layer,
            targets=(),
            files={},
            seconds=0.0,
            settings=self._work.sha256,
            cfcam=__version__,
        )

    def _settled(self, share: _Share) -> Iterator[Task]:
        """Yields the tasks of a share; those that came to their end with their outcomes, and records to be entered."""
        for task in share.tasks:
            if task.outcome is None and task.name in share.ended:
                record, task.kept, skipped = share.ended[task.name]
                state = State.SKIPPED if skipped else record.status
                task.outcome = Outcome.entered(record, task.input, self._settings.output, state)
                task.record = record if not skipped or task.name in self._left else None
            yield task

    def _left_over(self) -> dict[str, Record]:
        """What the journals of a run that was killed tell of these settings: name -> record, of what is done."""
        found: dict[str, Record] = {}
        for _, told in journals(self._settings.output):
            for name, line in told.ended.items():
                record, _ = record_of(Ended(name, line))
                if record is not None and record.settings == self._work.sha256 and record.status is State.DONE:
                    found[name] = record
        return found
