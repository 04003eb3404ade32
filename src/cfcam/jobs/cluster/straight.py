"""Inputs on their way one after the other, in one thread: for a worker that has a core of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from cfcam.jobs.inputs.find import Kind
from cfcam.jobs.runs.flow import Known
from cfcam.jobs.runs.manifest import State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.standing import stands, untouched
from cfcam.jobs.runs.task import Outcome, Task
from cfcam.jobs.runs.work import Work
from cfcam.stages import DECODE, MAPS, Stages

_SMALL = 1 << 18  # bytes of a picture's pixels, of which a batch may wait for one another


class Straight:
    """Takes tasks into a store; a `cfcam.jobs.runs.flow.Way` that does what `cfcam.jobs.runs.flow.Flow` does.

    Where a batch takes the network a few milliseconds, threads that read ahead cost more than they bring.

    Args:
        work: what is done to each.
        settings: of the run, which writes a store.
        known: see there.
        stages: takes down where the time goes.

    Attributes:
        stages: as given.
    """

    def __init__(self, work: Work, settings: Settings, known: Known, stages: Stages) -> None:
        self._work, self._settings, self._known, self.stages = work, settings, known, stages

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yields the tasks, settled, in their order.

        Raises:
            CfcamError: see `cfcam.jobs.runs.flow.Flow`.
        """
        taken = list(tasks)
        waiting = iter(taken)
        while batch := self._read(waiting):
            with self.stages(MAPS):  # whatever of it is the network's own pass, the engine counts apart
                self._work.explain(batch)
        yield from taken

    def close(self) -> list[Task]:
        """Returns the tasks that are under way: there are none."""
        return []

    def _read(self, waiting: Iterator[Task]) -> list[Task]:
        """Reads and prepares a batch of those that are to be explained; there are no more where it is empty."""
        batch: list[Task] = []
        with self.stages(DECODE):
            for task in waiting:
                if not self._is_done(task):
                    self._work.read(task)
                if task.outcome is None and not self._waits(task):
                    self._work.prepare(task)
                if task.outcome is None:
                    batch.append(task)
                if len(batch) >= self._work.engine.batch_size:
                    break
            self._work.prepare_together([task for task in batch if task.tensor is None])
        return batch

    def _is_done(self, task: Task) -> bool:
        known, output = self._known(task), self._settings.output
        if known is None:
            return False
        same = not self._settings.verify and untouched(known, task.input.path, output)
        if not same and not stands(known, partial(self._work.kind.digest, task.input), output):
            return False
        task.outcome = Outcome.entered(known, task.input, output, State.SKIPPED)
        return True

    def _waits(self, task: Task) -> bool:
        """Whether a picture is prepared with the others of its batch."""
        return task.input.kind is Kind.PICTURE and self._work.kind.memory(task.image) <= _SMALL
