"""A folder of pictures on one machine: read ahead, explained in batches, drawn behind, and resumed after a break."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cfcam.errors import DiskError, JobError
from cfcam.files import own_output
from cfcam.imaging.drawing.look import Look
from cfcam.jobs.index.page import PAGE, Facts, write_page
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.inputs.shard import all_of, part_of
from cfcam.jobs.runs.book import Book, Lines, Shelves
from cfcam.jobs.runs.entries import Entries
from cfcam.jobs.runs.flow import Flow, MakeFlow, Way
from cfcam.jobs.runs.kind import InputKind
from cfcam.jobs.runs.manifest import FILE_NAME as LINES
from cfcam.jobs.runs.manifest import Manifest, Record, State
from cfcam.jobs.runs.pictures import Pictures
from cfcam.jobs.runs.plan import Plan, named
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.task import Outcome, Task, tasks_of
from cfcam.jobs.runs.volumes import Volumes
from cfcam.jobs.runs.work import Work
from cfcam.jobs.study.pages import LINE, write_batch_page
from cfcam.models import LoadedModel, model_name
from cfcam.models.packing import check_packable
from cfcam.stages import Stages


def _check_what_is_there(settings: Settings) -> None:
    """Refuses to write files into a store, or a store among files: each would tell of the other's inputs."""
    output, is_store = settings.output, (settings.output / "zarr.json").exists()
    if is_store and not settings.store:
        raise JobError(f"{output}: is a store of maps: choose another --output folder, or give it as --store")
    if settings.store and not is_store and all_of(output / LINES):
        raise JobError(f"{output}: holds the files of a run, and no store: choose another --store")


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
        flow: who takes them through the work: threads of this process, or the workers of a cluster.
        at_end: called once all inputs are done, with their number, while the folder is still held.

    Attributes:
        layer: the layer that is mapped.
        preprocess: what is done to each picture.
        notes: what the user should know; more may be added while the run goes on.
        page: the page that shows all pictures, else that of all reports, once it is written.
        reports: the page that lists the reports of all studies, likewise.
        stages: where the threads' time went, at the end.

    Raises:
        CfcamError: the settings do not fit the network, or the output folder cannot be used, for instance because
            another run is at work there. Iterating raises it too, if it only shows then or on the first pictures.
    """

    def __init__(
        self,
        model: LoadedModel,
        inputs: Sequence[Input],
        settings: Settings,
        *,
        flow: MakeFlow = Flow,
        at_end: Callable[[int], None] | None = None,
    ) -> None:
        settings.check()
        self._flow, self._at_end = flow, at_end
        self.settings = settings = replace(settings, batch_size=1) if settings.asks_again else settings
        self.inputs = named(inputs, settings.study)
        self._model = model
        kind = self._kind()
        self.preprocess = kind.preprocess
        if flow is not Flow:  # it goes to other processes: what cannot is told before anything is made
            check_packable((model, kind, settings), model_name(model.spec))
        self._work = Work(model, kind, settings, self.inputs)
        self._work.engine.open_lanes(kind.preprocess)
        self.layer = self._work.layer
        self._plan = Plan(
            self.inputs, settings.output, self._work.sha256, settings.overwrite, settings.shard, settings.option
        )
        self._count = self._plan.count()
        self._plan.make_folder()
        _check_what_is_there(settings)
        self._work.open()
        self.page: Path | None = None
        self.reports: Path | None = None
        self.stages = Stages()

    def _kind(self) -> InputKind:
        return Pictures.of(self._model, self.settings)

    def __len__(self) -> int:
        return self._count

    @property
    def light(self) -> bool:
        """Whether batches of it take milliseconds."""
        return self._work.engine.light

    @property
    def notes(self) -> list[str]:
        """What the user should know about the set-up."""
        return self._work.notes

    def __iter__(self) -> Iterator[Outcome]:
        with own_output(self.settings.output, part=part_of(self.settings.shard), option=self.settings.option):
            try:
                yield from self._outcomes()
            except OSError as cause:
                raise DiskError(self.settings.output, cause) from cause

    def _outcomes(self) -> Iterator[Outcome]:
        manifest = Manifest.open(self.settings.output, self.settings.shard)
        names = self._plan.names(manifest)
        book = self._book(manifest)
        notes = [*self._model.notes, *self.notes]
        made_by = self._work.engine.provenance()
        earlier, others = len(manifest), self._plan.others(manifest)
        command = self.settings.command
        self._plan.enter(self._work.meaning, made_by, command=command, notes=notes, earlier=earlier, others=others)
        counts, started = Counter[str](), time.perf_counter()
        flow = self._flow(self._work, self.settings, lambda task: self._known(task, manifest, book))
        lines: list[Path] = []
        try:
            for task in flow(tasks_of(self._plan, names)):
                book.enter(task)
                outcome = task.outcome
                assert outcome is not None  # noqa: S101 (a settled task has one)
                counts[outcome.status] += 1
                lines += [file for file in outcome.files if file.name.endswith(LINE)]
                yield outcome
        except DiskError:  # no page can be written either
            with suppress(DiskError):
                self._enter_rest(flow, manifest, book, names)
            raise
        except BaseException:
            self._enter_rest(flow, manifest, book, names, lines)
            self._end(flow, counts, started, complete=False)
            raise
        self._enter_rest(flow, manifest, book, names, lines)
        self._end(flow, counts, started, complete=True)
        if self._at_end is not None and not counts[State.FAILED]:
            self._at_end(len(self))

    def _end(self, flow: Way, counts: Counter[str], started: float, *, complete: bool) -> None:
        """Enters how the run ended, or was stopped."""
        self.stages = flow.stages
        ended = {"outcomes": dict(counts), "complete": complete, "seconds": round(time.perf_counter() - started, 3)}
        self._plan.finish({**ended, "stages": self.stages.seconds, "slowest": self.stages.slowest})

    def _enter_rest(
        self, flow: Way, manifest: Manifest, book: Book, names: Sequence[str], lines: Sequence[Path] | None = None
    ) -> None:
        """Enters what is on disk after an interruption, so that it is not done again; with ``lines`` writes pages."""
        try:
            for task in flow.close():
                book.enter(task)
        finally:
            book.close(names)
        if lines is not None and self.settings.shard is None:
            self._write_pages(lines, manifest, names)

    def _known(self, task: Task, manifest: Manifest, book: Book) -> Record | None:
        record = self._plan.known(task.name, manifest)
        return None if record is None or book.lacks(record) else record

    def _book(self, manifest: Manifest) -> Book:
        if not self.settings.store:
            return Lines(manifest)
        about = {"settings": self._work.sha256, **self._work.meaning}
        return Shelves.open(manifest, self._plan, self.settings, about)

    def _write_pages(self, lines: Sequence[Path], manifest: Manifest, names: Sequence[str]) -> None:
        page = self.settings.page
        if lines:
            beside = "" if page is None else PAGE
            self.page = self.reports = write_batch_page(lines, self.settings.output, beside=beside)
        if page is None:
            return
        labels = page.labels
        entries = Entries(
            self.settings.output,
            ("labels",) if self.settings.classes else self.settings.targets,
            self._model.classes,
            labels,
        )
        settled = manifest.index()
        shown = [
            entries(source, record)
            for source, name in zip(self.inputs, names, strict=True)
            if (record := settled(name, self._work.sha256)) is not None
        ]
        facts = Facts(
            network=model_name(self._model.spec),
            layer=self.layer,
            methods=tuple(self._work.engine.methods),
            total=len(self.inputs),
            look=Look(**self.settings.look()),
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


class VolumeRun(FolderRun):
    """A run over volumes, one after the other; see `FolderRun`.

    For each volume, class and method it writes the raw map as NIfTI on the volume's own grid, and three slices through
    its peak; for each volume a sheet.

    Args:
        model: a network that takes (N, C, D, H, W).
        inputs: the volumes, from `find_inputs`.
        settings: what to do with them; their ``preprocess`` is a `VolumePreprocess`.
        volumes: what concerns volumes alone.
        flow: as there.
        at_end: as there.
    """

    def __init__(
        self,
        model: LoadedModel,
        inputs: Sequence[Input],
        settings: Settings,
        volumes: VolumeSettings | None = None,
        *,
        flow: MakeFlow = Flow,
        at_end: Callable[[int], None] | None = None,
    ) -> None:
        self.volumes = (volumes or VolumeSettings()).of(model)
        several = bool(self.volumes.channels) or len(self.volumes.endings) > 1
        # Of several files one stands for the study: whether another one changed, its size and time do not tell.
        settings = replace(settings, batch_size=1, verify=settings.verify or several)
        super().__init__(model, self.volumes.studies(inputs), settings, flow=flow, at_end=at_end)

    def _kind(self) -> InputKind:
        return Volumes.of(self._model, self.settings, self.volumes)
