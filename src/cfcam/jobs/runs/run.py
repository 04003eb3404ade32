"""A folder of pictures on one machine: read ahead, explained in batches, drawn behind, and resumed after a break."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cfcam.jobs.engine.lanes import threads
from cfcam.jobs.index.page import PAGE, Facts, write_page
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.runs.entries import Entries
from cfcam.jobs.runs.manifest import Manifest, State
from cfcam.jobs.runs.pictures import Pictures
from cfcam.jobs.runs.plan import Plan, named
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.task import Outcome, Task, tasks_of
from cfcam.jobs.runs.volumes import Volumes
from cfcam.jobs.runs.work import InputKind, Work
from cfcam.jobs.study.pages import LINE, write_batch_page
from cfcam.models import LoadedModel, model_name

_LARGE_PIXELS = 12_000_000  # of such pictures only one at a time is worked on
_READERS = max(2, min(4, (os.cpu_count() or 2) // 2))
_DRAWERS = max(2, min(8, (os.cpu_count() or 2) - 1))


@dataclass
class _Pending:
    """A task that was read; and its drawing, once that has begun."""

    task: Task
    drawing: Future[None] | None = None

    def settled(self) -> bool:
        return self.task.outcome is not None or (self.drawing is not None and self.drawing.done())


class FolderRun:
    """A run over pictures; iterating does the work and yields an `Outcome` for each, in the order of the inputs.

    Reading and drawing run in threads beside the network; what is held in memory does not grow with the
    number of pictures. A picture that fails is reported, and the rest is done. Each picture is entered in
    ``manifest.jsonl`` once its files are on disk, so that a later run with the same settings goes on where
    this one was stopped.

    Args:
        model: the network.
        inputs: the pictures, from `find_inputs`.
        settings: what to do with them.

    Attributes:
        layer: the layer that is mapped.
        preprocess: what is done to each picture.
        notes: what the user should know; more may be added while the run goes on.
        page: the page that shows all pictures, else that of all reports, once it is written.
        reports: the page that lists the reports of all studies, likewise.

    Raises:
        CfcamError: the settings do not fit the network, or the output folder cannot be used. Iterating raises
            it too, if it only shows on the first pictures.
    """

    def __init__(self, model: LoadedModel, inputs: Sequence[Input], settings: Settings) -> None:
        settings.check()
        self.settings = settings = settings if settings.study is None else replace(settings, batch_size=1)
        self.inputs = named(inputs, settings.study)
        self._model = model
        kind = self._kind()
        self.preprocess = kind.preprocess
        self._work = Work(model, kind, settings, self.inputs)
        self._work.engine.open_lanes(kind.preprocess)
        self.layer = self._work.layer
        self._plan = Plan(self.inputs, settings.output, self._work.sha256, settings.overwrite)
        self._plan.make_folder()
        self._work.open()
        self._large = threading.Semaphore(1)
        self.page: Path | None = None
        self.reports: Path | None = None

    def _kind(self) -> InputKind:
        return Pictures.of(self._model, self.settings)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the set-up."""
        return self._work.notes

    def __iter__(self) -> Iterator[Outcome]:
        manifest = Manifest.open(self.settings.output)
        notes = [*self._model.notes, *self.notes]
        made_by = self._work.engine.provenance()
        self._plan.enter(self._work.meaning, made_by, command=self.settings.command, notes=notes)
        readers, drawers = threads(_READERS, "cfcam-read"), threads(_DRAWERS, "cfcam-draw")
        pending: deque[_Pending] = deque()
        lines: list[Path] = []
        try:
            for task in self._flow(manifest, readers, drawers, pending):
                outcome = _entered(task, manifest)
                lines += [file for file in outcome.files if file.name.endswith(LINE)]
                yield outcome
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
            drawers.shutdown(wait=True, cancel_futures=True)
            for one in pending:  # after an interruption: what is on disk is entered, so that it is not done again
                if one.task.record is not None:
                    manifest.append(one.task.record)
            manifest.close()
            self._write_pages(lines, manifest)

    def _write_pages(self, lines: Sequence[Path], manifest: Manifest) -> None:
        page = self.settings.page
        if lines:
            beside = "" if page is None else PAGE
            self.page = self.reports = write_batch_page(lines, self.settings.output, beside=beside)
        if page is None:
            return
        labels = page.labels
        entries = Entries(self.settings.output, self.settings.targets, self._model.classes, labels)
        names = self._plan.names(manifest)
        records = {record.name: record for record in manifest.records if record.settings == self._work.sha256}
        shown = [
            entries(source, records[name]) for source, name in zip(self.inputs, names, strict=True) if name in records
        ]
        facts = Facts(
            network=model_name(self._model.spec),
            layer=self.layer,
            methods=tuple(self._work.engine.methods),
            total=len(self.inputs),
            palette=self.settings.palette,
            notes=() if labels is None else labels.gaps(),
            reports="" if self.reports is None else self.reports.name,
        )
        self.page = write_page(
            shown,
            entries.names,
            self.settings.output,
            facts,
            labelled=labels is not None,
            self_contained=page.self_contained,
        )

    def _flow(
        self,
        manifest: Manifest,
        readers: ThreadPoolExecutor,
        drawers: ThreadPoolExecutor,
        pending: deque[_Pending],
    ) -> Iterator[Task]:
        """Yields settled tasks in order; at most a few batches of them are under way."""
        ahead = self._ahead()
        waiting = iter(tasks_of(self._plan, manifest))
        reading: deque[tuple[Task, Future[None]]] = deque()
        batch: list[_Pending] = []
        while True:
            while len(reading) < ahead and (task := next(waiting, None)) is not None:
                reading.append((task, readers.submit(self._read, task, manifest)))
            if not reading and not pending:
                return
            if reading:
                task, future = reading.popleft()
                future.result()
                pending.append(_Pending(task))
                if task.outcome is None:
                    batch.append(pending[-1])
            crowded = len(pending) >= 8 * self.settings.batch_size
            if batch and (len(batch) >= self._work.engine.batch_size or not reading or crowded):
                self._explain(batch, drawers)
                batch = []
            while pending:
                head = pending[0]
                drawn = sum(one.drawing is not None for one in pending)
                if not head.settled() and reading and drawn <= 2 * _DRAWERS + self.settings.batch_size:
                    break
                if head.drawing is not None:
                    head.drawing.result()
                yield pending.popleft().task

    def _ahead(self) -> int:
        """How many inputs are read before they are explained; of studies only one is held in memory."""
        if self.settings.study is not None:
            return 1
        return self._work.kind.most_ahead or 2 * _READERS + self.settings.batch_size

    def _read(self, task: Task, manifest: Manifest) -> None:
        """Reads and prepares a picture, unless it is already done."""
        record = self._plan.done(task.name, task.input, self._work.kind.digest, manifest)
        if record is not None:
            files = tuple(self.settings.output / name for name in record.files)
            task.outcome = Outcome(
                task.input.shown,
                State.SKIPPED,
                record.targets,
                files,
                notices=record.notices,
                probabilities=record.probabilities,
                scale=record.scale,
            )
            return
        self._work.read(task)
        with self._alone_if_large(task):
            self._work.prepare(task)

    def _explain(self, batch: Sequence[_Pending], drawers: ThreadPoolExecutor) -> None:
        self._work.explain([one.task for one in batch])
        for one in batch:
            if one.task.outcome is None:
                one.drawing = drawers.submit(self._draw, one.task)
                if self.settings.study is not None:  # it needs the network, which the next must not use meanwhile
                    one.drawing.result()

    def _draw(self, task: Task) -> None:
        self._work.reread(task)
        with self._alone_if_large(task):
            self._work.draw(task)

    def _alone_if_large(self, task: Task) -> AbstractContextManager[Any]:
        large = task.image is not None and self._work.kind.pixels(task.image) > _LARGE_PIXELS
        return self._large if large else nullcontext()


class VolumeRun(FolderRun):
    """A run over volumes, one after the other; see `FolderRun`.

    For each volume, class and method it writes the raw map as NIfTI on the volume's own grid, and three slices through
    its peak; for each volume a sheet.

    Args:
        model: a network that takes (N, C, D, H, W).
        inputs: the volumes, from `find_inputs`.
        settings: what to do with them; their ``preprocess`` is a `VolumePreprocess`.
        volumes: what concerns volumes alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        inputs: Sequence[Input],
        settings: Settings,
        volumes: VolumeSettings | None = None,
    ) -> None:
        self.volumes = volumes or VolumeSettings()
        super().__init__(model, inputs, replace(settings, batch_size=1))

    def _kind(self) -> InputKind:
        return Volumes.of(self._model, self.settings, self.volumes)


def _entered(task: Task, manifest: Manifest) -> Outcome:
    if task.record is not None:
        manifest.append(task.record)
        task.record = None
    assert task.outcome is not None  # noqa: S101 (a settled task has one)
    return task.outcome
