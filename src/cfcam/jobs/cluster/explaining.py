"""A worker's side of a folder run: the inputs of a part, taken through the work as one machine takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cfcam.jobs.cluster.part import Ended, Part
from cfcam.jobs.runs.flow import Flow
from cfcam.jobs.runs.manifest import Record
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.task import Task
from cfcam.jobs.runs.work import Work
from cfcam.jobs.store.kept import Kept


@dataclass(frozen=True)
class Todo:
    """An input, as it travels.

    Attributes:
        task: not begun.
        known: what an earlier run entered of it; still to be verified.
    """

    task: Task
    known: Record | None


@dataclass(frozen=True)
class Explaining:
    """Explains inputs; a `cfcam.jobs.cluster.worker.Job`.

    Attributes:
        work: what is done to each.
        settings: of the run.
    """

    work: Work
    settings: Settings

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return self.work.notes

    def __call__(self, part: Part, begin: Callable[[str], None]) -> Iterator[Ended]:
        """Takes the inputs through the work, see `cfcam.jobs.runs.flow.Flow`; one after the other if they are alone."""
        todo: dict[str, Todo] = {item.name: item.what for item in part.items}
        tasks = [one.task for one in todo.values()]
        if part.proven:
            self.work.engine.prove()
        flow = Flow(self.work, self.settings, lambda task: todo[task.name].known)
        try:
            for some in [[task] for task in tasks] if part.alone else [tasks]:
                if part.alone:
                    begin(some[0].name)
                for task in flow(some):
                    yield ended(task)
        finally:
            flow.close()


def ended(task: Task) -> Ended:
    """Returns what became of a task that is settled; no line if it was done before."""
    line = "" if task.record is None else task.record.line().decode("ascii")
    kept: Any = task.kept
    task.record = task.kept = None
    return Ended(task.name, line, kept)


def record_of(one: Ended) -> tuple[Record | None, Kept | None]:
    """Returns what `ended` was made of."""
    return (Record.parse(one.line.encode("ascii")) if one.line else None), one.kept
