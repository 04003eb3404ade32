"""A worker's side of a folder run: the inputs of a part, taken through the work as one machine takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.cluster.part import Ended, Part
from cfcam.jobs.cluster.straight import Straight
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.runs.flow import Flow, Way
from cfcam.jobs.runs.ledger import Entry, Written
from cfcam.jobs.runs.manifest import Explained, Record, State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.task import Outcome, Task
from cfcam.jobs.runs.work import Work
from cfcam.jobs.store.kept import Kept
from cfcam.jobs.store.sheaf import Sheaf, sheaf_of
from cfcam.stages import Stages


@dataclass(frozen=True)
class Todo:
    """An input, as it travels.

    Attributes:
        task: not begun.
        known: what an earlier run entered of it; still to be verified.
    """

    task: Task
    known: Record | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels as plain values: of tiny pictures paths alone would cost as much as what is written of them."""
        task, source = self.task, self.task.input
        path = source.path if isinstance(source.path, Elsewhere) else str(source.path)
        named = task.name, task.number, task.count, task.key
        return _todo, (path, str(source.folder), source.kind.value, source.label, source.problem, named, self.known)


def _todo(
    path: Path | str,
    folder: str,
    kind: str,
    label: str | None,
    problem: str | None,
    named: tuple[str, int, int, str],
    known: Record | None,
) -> Todo:
    name, number, count, key = named
    source = Input(path if isinstance(path, Path) else Path(path), *_place(folder, kind), label, problem)
    return Todo(Task(source, name, number, count, key=key), known)


@lru_cache
def _place(folder: str, kind: str) -> tuple[PurePosixPath, Kind]:
    return PurePosixPath(folder), Kind(kind)


@dataclass(frozen=True)
class Parcel:
    """Inputs of a store at the end of their way, as they travel.

    Attributes:
        rows: of each name, status, error, seconds, notices, channels, classes as `Explained` has them; and the line
            of the manifest, None if it is known.
        sheaf: what the store takes of them; None: nothing.
    """

    rows: tuple[tuple[Any, ...], ...]
    sheaf: Sheaf | None


@dataclass(frozen=True)
class End:
    """What became of an input.

    Attributes:
        outcome: so.
        entry: what is to be entered; None of one that was done before.
        kept: what goes into a store with it.
    """

    outcome: Outcome
    entry: Entry | None
    kept: Kept | Sheaf | None = None


@dataclass(frozen=True)
class Explaining:
    """Explains inputs; a `cfcam.jobs.cluster.worker.Job`.

    Attributes:
        work: what is done to each.
        settings: of the run.
        light: whether batches of it take milliseconds.
    """

    work: Work
    settings: Settings
    light: bool

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return self.work.notes

    def __call__(self, part: Part, begin: Callable[[str], None], stages: Stages) -> Iterator[Ended]:
        """Takes the inputs through the work, one after the other if they are alone; see `Job` of the worker.

        What goes into a store is lost with the worker, and travels together.
        """
        todo: dict[str, Todo] = {item.name: item.what for item in part.items}
        tasks = [one.task for one in todo.values()]
        if part.proven:
            self.work.engine.prove()
        way = self._way(lambda task: todo[task.name].known, stages)
        try:
            for some in [[task] for task in tasks] if part.alone else [tasks]:
                if part.alone:
                    begin(some[0].name)
                if self.settings.store:
                    yield Ended(some[0].name if part.alone else "", "", parcel_of(list(way(some))))
                    continue
                for task in way(some):
                    yield Ended(task.name, "" if task.record is None else task.record.line().decode("ascii"))
                    task.record = None
        finally:
            way.close()

    def _way(self, known: Callable[[Task], Record | None], stages: Stages) -> Way:
        if self.settings.store and self.light:
            return Straight(self.work, self.settings, known, stages)
        return Flow(self.work, self.settings, known, stages, aside=False)  # this process reads aside itself


def parcel_of(tasks: Sequence[Task]) -> Parcel:
    """Returns tasks that are settled as they travel."""
    rows = []
    for task in tasks:
        one = task.outcome
        assert one is not None  # noqa: S101 (it is settled)
        line = None if task.record is None else task.record.line()
        targets = () if line is None else tuple(tuple(vars(target).values()) for target in one.targets)
        rows.append((task.name, str(one.status), one.error, one.seconds, one.notices, one.channels, targets, line))
    kept = [task.kept for task in tasks if isinstance(task.kept, Kept)]
    return Parcel(tuple(rows), sheaf_of(kept) if kept else None)


def ends_of(parcel: Parcel, of: Callable[[str], Todo], output: Path) -> Iterator[tuple[str, End]]:
    """Yields name and end of what `parcel_of` was made of; the first that is done has what the store takes of all.

    Args:
        parcel: what came.
        of: returns what was sent.
        output: the store.
    """
    sheaf = parcel.sheaf
    for name, status, error, seconds, notices, channels, targets, line in parcel.rows:
        task, known = (todo := of(name)).task, todo.known
        if line is None:
            assert known is not None  # noqa: S101 (what has no line was known)
            yield name, End(Outcome.entered(known, task.input, output, State.SKIPPED), None)
            continue
        told = tuple(Explained(*target) for target in targets)
        outcome = Outcome(task.input.shown, State(status), told, (), error, seconds, notices, channels)
        kept = sheaf if outcome.status is State.DONE else None
        sheaf = None if kept is not None else sheaf
        yield name, End(outcome, Written(task.key, name, line), kept)


def end_of(line: str, todo: Todo, output: Path, *, left: bool = False) -> End | None:
    """Returns what a line of a journal says became of an input; None if it says nothing.

    Args:
        line: "" of one that was done before.
        todo: what was sent.
        output: the folder.
        left: what is known of it is not entered yet.
    """
    record = Record.parse(line.encode("ascii")) if line else todo.known
    if record is None:
        return None
    state = record.status if line else State.SKIPPED
    return End(Outcome.entered(record, todo.task.input, output, state), record if line or left else None)
