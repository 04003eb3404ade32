"""How a run enters what it has done: line by line where each input has files, by the hundred in a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cfcam.jobs.inputs.many import Inputs
from cfcam.jobs.runs.ledger import Entry
from cfcam.jobs.runs.manifest import Manifest, Record
from cfcam.jobs.runs.plan import Plan
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.task import Task
from cfcam.jobs.store.kept import Kept
from cfcam.jobs.store.layout import ROWS
from cfcam.jobs.store.sheaf import Sheaf
from cfcam.jobs.store.write import StoreWriter

_SECONDS = 0.5  # between two writes
_MOST = 8 * ROWS  # records that wait


class Book(Protocol):
    """Takes the tasks of a run, each once it is settled."""

    def enter(self, task: Task) -> None:
        """Enters a task; its record is no longer the task's then."""

    def lacks(self, record: Record) -> bool:
        """Tells whether what a record speaks of is not there, although its files are."""

    def close(self, names: Sequence[str]) -> None:
        """Ends with what was entered; ``names`` are those of the inputs, in their order."""


@dataclass(frozen=True)
class Lines:
    """A folder's book: a task's files are on disk, and its line follows at once."""

    manifest: Manifest

    def enter(self, task: Task) -> None:
        """Enters a task; see `Book.enter`."""
        if task.record is not None:
            self.manifest.append(task.record)
            task.record = None

    def lacks(self, record: Record) -> bool:
        """Tells that nothing is missing: all there is of an input are its files."""
        return False

    def close(self, names: Sequence[str]) -> None:
        """Closes the manifest."""
        self.manifest.close(names)


@dataclass
class Shelves:
    """A store's book: maps of many tasks are written together, and then their lines.

    What is written at a time is what a kill can cost: a second of the run, and whole chunks if the run is so fast.

    Attributes:
        manifest: of the store.
        writer: of its maps.
        plan: of the run.
    """

    manifest: Manifest
    writer: StoreWriter
    plan: Plan
    _kept: list[Kept | Sheaf] = field(default_factory=list)
    _records: list[Entry] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)  # how many of what is kept belong to the records up to each
    _written: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, manifest: Manifest, plan: Plan, settings: Settings, about: dict[str, Any]) -> Shelves:
        """Opens the store in a run's folder.

        Raises:
            CfcamError: see `StoreWriter`.
        """

        def is_done(source: str, sha256: str) -> bool:  # whether of this run, or of an earlier one over other inputs
            return manifest.is_done(source, sha256, plan.settings)

        return cls(
            manifest,
            StoreWriter(settings.output, about, is_done=is_done, shard=settings.shard, overwrite=settings.overwrite),
            plan,
        )

    def enter(self, task: Task) -> None:
        """Enters a task; see `Book.enter`. It is in the store once enough others are."""
        if task.record is None:
            return
        if task.kept is not None:
            self._kept.append(task.kept)
        self._records.append(task.record)
        self._ends.append(len(self._kept))
        task.record = task.kept = None
        many = len(self._records)
        if many >= ROWS and (many >= _MOST or time.monotonic() - self._written >= _SECONDS):
            self._write(many // ROWS * ROWS)

    def lacks(self, record: Record) -> bool:
        """Tells whether the store has no maps of a record."""
        return record.input not in self.writer

    def close(self, names: Sequence[str]) -> None:
        """Writes what waits, and joins what shards have written if this is a run of the whole."""
        self._write(len(self._records))
        if self.plan.shard is None:
            self.writer.join(Inputs.of(self.plan.inputs).keys())
        self.writer.close()
        self.manifest.close(names)

    def _write(self, count: int) -> None:
        """Writes the first records that wait, and what is kept of their inputs."""
        records, self._records = self._records[:count], self._records[count:]
        done = self._ends[count - 1] if count else len(self._kept)
        kept, self._kept = self._kept[:done], self._kept[done:]
        self._ends = [end - done for end in self._ends[count:]]
        self.writer.append(kept)
        if records:
            self.manifest.append(*records)
        self._written = time.monotonic()
