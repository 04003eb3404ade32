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
        taken, batch = list[Task](), list[Task]()
        for task in tasks:
            taken.append(task)
            with self.stages(DECODE):
                self._read(task)
            if task.outcome is None:
                batch.append(task)
            if len(batch) >= self._work.engine.batch_size:
                self._explain(batch)
                batch = []
        self._explain(batch)
        yield from taken

    def close(self) -> list[Task]:
        """Returns the tasks that are under way: there are none."""
        return []

    def _read(self, task: Task) -> None:
        known, output = self._known(task), self._settings.output
        if known is not None and (
            (not self._settings.verify and untouched(known, task.input.path, output))
            or stands(known, partial(self._work.kind.digest, task.input), output)
        ):
            task.outcome = Outcome.entered(known, task.input, output, State.SKIPPED)
            return
        self._work.read(task)
        if task.outcome is None and not self._waits(task):
            self._work.prepare(task)

    def _waits(self, task: Task) -> bool:
        """Whether a picture is prepared with the others of its batch."""
        return task.input.kind is Kind.PICTURE and self._work.kind.memory(task.image) <= _SMALL

    def _explain(self, batch: list[Task]) -> None:
        with self.stages(DECODE):
            self._work.prepare_together([task for task in batch if task.tensor is None])
        with self.stages(MAPS):  # whatever of it is the network's own pass, the engine counts apart
            self._work.explain(batch)
