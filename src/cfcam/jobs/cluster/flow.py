"""The inputs of a run taken through the work by workers: in parts, each exactly once, whoever is lost on the way."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from cfcam.errors import JobError
from cfcam.files import sweep
from cfcam.jobs.cluster.explaining import End, Explaining, Parcel, Todo, end_of, ends_of
from cfcam.jobs.cluster.journal import journals
from cfcam.jobs.cluster.part import Answer, Item, Part, id_of, size_of_parts
from cfcam.jobs.cluster.sharing import Share, Sharing
from cfcam.jobs.cluster.worker import Place
from cfcam.jobs.cluster.workers import Lost, Workers
from cfcam.jobs.runs.flow import Known, MakeFlow
from cfcam.jobs.runs.manifest import Record, State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.standing import verified
from cfcam.jobs.runs.task import Task
from cfcam.jobs.runs.work import Work

_WHOLE = ""  # what the losses of a part are counted under that is not done input by input


@dataclass
class _Share(Share):
    """A part on its way, the tasks it came from, and what has become of them so far."""

    tasks: list[Task] = field(default_factory=list)
    ended: dict[str, End] = field(default_factory=dict)

    def over(self) -> bool:
        return len(self.ended) == len(self.tasks)


def on_cluster(workers: Workers) -> MakeFlow:
    """Returns the ``flow`` of a `cfcam.jobs.FolderRun` whose inputs workers take.

    Args:
        workers: those of a cluster, or processes of this machine.
    """
    return partial(ClusterFlow, workers=workers)


class ClusterFlow(Sharing[_Share]):
    """Takes tasks through the work on workers; a `cfcam.jobs.runs.flow.Way`.

    The batches that a lost worker left over go to another worker as they are, since a network adds in another order
    where fewer share a batch. Only a part that has ended two workers is done one input after the other; an input at
    which two more are lost is recorded as failed. What goes into a store instead of files is lost with a worker, and
    done again.

    Args:
        work: what is done to each.
        settings: of the run.
        known: returns what an earlier run entered of an input.
        workers: those of a cluster, or processes of this machine.

    Raises:
        CfcamError: the network cannot be sent, or the workers cannot be had.
    """

    def __init__(self, work: Work, settings: Settings, known: Known, workers: Workers) -> None:
        if settings.shard is not None:
            raise JobError(f"shard {settings.shard} among workers: leave the shard out, the inputs are shared out here")
        self._work, self._settings, self._known = work, settings, known
        self._left = {} if settings.store or settings.overwrite else self._left_over()
        job = pickle.dumps(Explaining(work, settings, work.engine.light))  # what cannot be sent leaves no folder behind
        super().__init__(Place.made(settings.output, workers.cores), work.notes)
        self._waiting: Iterator[Task] = iter(())
        self._torn = False  # whether a lost worker may have left a file half written
        self._pool = workers.pool(job, self.place, on_gpu=work.engine.on_gpu)
        work.notes.extend(self._pool.notes)

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yields the tasks, settled, in their order.

        Raises:
            CfcamError: the set-up does not allow to explain anything, or the workers cannot work.
        """
        waiting = iter(tasks)
        if (first := next(waiting, None)) is not None:
            self._waiting = chain([first], waiting)
            self._pool.start(-(-first.count // self._size(first, self._pool.count)))
        for share in self.settled(self._pool):
            yield from self._settled(share)

    def close(self) -> list[Task]:
        """Ends the workers; returns the tasks that were under way, with what their workers wrote down."""
        self._pool.close()
        found: list[Task] = []
        self._torn |= bool(self.shares)
        for share in self.shares:
            self._take_down(share)
            found += [task for task in self._settled(share) if task.outcome is not None]
        self.place.leave(whole=self.whole)
        if self._torn:
            sweep(self._settings.output)
        return found

    def make(self, workers: int) -> _Share | None:
        """Returns the next part of the inputs, see `Sharing.make`."""
        if (first := next(self._waiting, None)) is None:
            return None
        tasks = list(chain([first], islice(self._waiting, self._size(first, workers) - 1)))
        told = (f"{task.name}\0{task.key}" for task in tasks)
        items = tuple(Item(task.name, Todo(task, self._before(task))) for task in tasks)
        return _Share(Part(id_of(self._work.sha256, told), items), tasks)

    def answered(self, share: _Share, answer: Answer) -> None:
        """Takes what became of inputs, see `Sharing.answered`."""
        todo: dict[str, Todo] = {item.name: item.what for item in share.part.items}
        output = self._settings.output
        for one in answer.ended:
            if isinstance(one.kept, Parcel):
                share.ended.update(ends_of(one.kept, todo.__getitem__, output))
            elif (end := end_of(one.line, todo[one.name], output, left=one.name in self._left)) is not None:
                share.ended[one.name] = end
        self.proven = self.proven or any(end.outcome.status is State.DONE for end in share.ended.values())

    def lost(self, share: _Share, lost: Lost) -> None:
        """Takes down what the worker wrote, and makes a part of what it left over; see `Sharing.lost`."""
        self._torn = True
        part = share.part
        told = self.place.journal(part).read()
        self._take_down(share)
        given_up = lost.blame(part, told.open if part.alone else [_WHOLE])
        for item in part.items:
            if item.name in given_up:
                share.ended[item.name] = self._given_up(item.what.task, lost)
        part.alone = part.alone or bool(given_up)
        left = [item for item in part.items if item.name not in share.ended]
        part.items = tuple(left if part.alone or not left else part.items[self._begin(share, left[0]) :])
        self.again(share)

    def _size(self, first: Task, workers: int) -> int:
        return size_of_parts(first.count, workers, self._settings.batch_size)

    def _begin(self, share: _Share, first: Item) -> int:
        """Returns where in a part the batch begins that its first unfinished input is in, as far as that is known."""
        number = share.part.items.index(first)
        before = (share.ended[item.name] for item in share.part.items[:number])
        if all(end.outcome.status is State.DONE for end in before):
            return number - number % self._settings.batch_size
        return 0  # what failed to be read, or was done before, was in no batch

    def _before(self, task: Task) -> Record | None:
        return self._known(task) or self._left.get(task.name)

    def _take_down(self, share: _Share) -> None:
        """Enters what the journals of a part tell, where files are as they were written a moment ago."""
        if self._settings.store:
            return
        of = {task.name: task for task in share.tasks}
        for journal in self.place.journals(share.part):
            for name, line in journal.read().ended.items():
                if name in share.ended or name not in of:
                    continue
                end = end_of(line, Todo(of[name], None), self._settings.output)
                if end is not None and isinstance(end.entry, Record) and verified(end.entry, self._settings.output):
                    share.ended[name] = end

    def _given_up(self, task: Task, lost: Lost) -> End:
        self._work.fail(task, lost.reason, JobError(lost.reason))
        assert task.outcome is not None  # noqa: S101 (it is settled)
        return End(task.outcome, task.record)

    def _settled(self, share: _Share) -> Iterator[Task]:
        """Yields the tasks of a share; those that came to their end with their outcomes, and records to be entered."""
        for task in share.tasks:
            if task.outcome is None and task.name in share.ended:
                end = share.ended[task.name]
                task.outcome, task.record, task.kept = end.outcome, end.entry, end.kept
            yield task

    def _left_over(self) -> dict[str, Record]:
        """What the journals of a run that was killed tell of these settings: name -> record, of what is done."""
        found: dict[str, Record] = {}
        for _, told in journals(self._settings.output):
            for name, line in told.ended.items():
                record = Record.parse(line.encode("ascii"))
                if record is not None and record.settings == self._work.sha256 and record.status is State.DONE:
                    found[name] = record
        return found
