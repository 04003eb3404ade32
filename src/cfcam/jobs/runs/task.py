"""An input of a run on its way, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from torch import Tensor

from cfcam.files import Stamp
from cfcam.imaging import Volume
from cfcam.jobs.engine.batch import One
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.runs.ledger import Entry
from cfcam.jobs.runs.manifest import Explained, Record, State
from cfcam.jobs.runs.plan import Plan
from cfcam.jobs.store.kept import Kept
from cfcam.jobs.store.sheaf import Sheaf


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        path: the picture, as it was named; of a DICOM study its neutral name.
        status: done, skipped (already done), or failed.
        targets: the explained classes with the status of each map.
        files: what is on disk for it.
        error: why it failed, one line.
        seconds: time spent on it.
        notices: what the user should know of how it was read and prepared.
        channels: which file became which channel, see `Record`.
        probabilities: name of each class of the network -> its probability, see `Record`.
        scale: of its overlays, see `Record`.
    """

    path: Path
    status: State
    targets: tuple[Explained, ...] = ()
    files: tuple[Path, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    channels: tuple[tuple[str, str], ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0

    @classmethod
    def entered(cls, record: Record, source: Input, output: Path, status: State) -> Outcome:
        """Returns what became of an input, by the record of it.

        Args:
            record: as it was entered.
            source: the input.
            output: the folder in which its files are.
            status: skipped, or that of the record.
        """
        return cls(
            source.shown,
            status,
            record.targets,
            tuple(output / name for name in record.files),
            error=record.error,
            seconds=0.0 if status is State.SKIPPED else record.seconds,
            notices=record.notices,
            probabilities=record.probabilities,
            scale=record.scale,
            channels=record.channels,
        )


@dataclass
class Task:
    """One input on its way.

    Attributes:
        input: which.
        name: what the names of its files begin with.
        number: its number among the inputs, from 1.
        count: how many inputs there are.
        started: when its reading began, in the seconds of `time.perf_counter`.
        stamp: of the source when its reading began; None where it says too little.
        sha256: of the source, once it is read.
        image: picture or volume, as long as it is held in memory.
        notices: of how it was read and prepared.
        channels: which file became which channel.
        tensor: (C, *spatial) as the network takes it, as long as that is needed.
        size: of the source, along the axes of the network's input, once it is read.
        explained: until it is drawn.
        kept: what goes into a store, until it is there; of the first of several that travelled together, all of theirs.
        outcome: what became of it, at the end of its way.
        record: the line of the manifest that says so.
        key: how the manifest knows the input.
    """

    input: Input
    name: str
    number: int = 1
    count: int = 1
    started: float = 0.0
    stamp: Stamp | None = None
    sha256: str | None = None
    image: Any = None
    notices: tuple[str, ...] = ()
    channels: tuple[tuple[str, str], ...] = ()
    tensor: Tensor | None = None
    size: tuple[int, ...] = ()
    explained: One | None = None
    kept: Kept | Sheaf | None = None
    outcome: Outcome | None = None
    record: Entry | None = None
    key: str = ""

    def __post_init__(self) -> None:
        self.key = self.key or self.input.key


class Step(StrEnum):
    """What is done to an input, where that may fail."""

    READ = "read"
    DRAW = "draw"


class Failing(Protocol):
    """Takes an input's steps."""

    def went_wrong(self, task: Task, step: Step, error: Exception) -> None:
        """Is told of an error; what it raises goes further."""


F = TypeVar("F", bound=Failing)
P = ParamSpec("P")
Method = Callable[Concatenate[F, Task, P], None]


def failing(step: Step) -> Callable[[Method[F, P]], Method[F, P]]:
    """Marks what is a step: what goes wrong with one of ten thousand inputs is told, and does not stop the rest."""

    def of(method: Method[F, P]) -> Method[F, P]:
        @wraps(method)
        def tried(self: F, task: Task, /, *args: P.args, **kwargs: P.kwargs) -> None:
            try:
                method(self, task, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 (a decoder may raise anything)
                self.went_wrong(task, step, error)

        return tried

    return of


def channels_of(image: Any) -> tuple[tuple[str, str], ...]:
    """Returns which file became which channel, of a volume that was read from several; else ()."""
    return image.source.channels if isinstance(image, Volume) else ()


def tasks_of(plan: Plan, names: Sequence[str]) -> Iterator[Task]:
    """Yields a task for each input that a plan takes, in their order; none is held once it is settled.

    Args:
        plan: of the run.
        names: of all inputs, from `Plan.names`.
    """
    return (
        Task(source, name, number, len(names), key=key)
        for number, (source, key, name) in enumerate(
            zip(plan.inputs, Inputs.of(plan.inputs).keys(), names, strict=True), start=1
        )
        if plan.takes(source)
    )
