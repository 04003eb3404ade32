"""A folder of pictures on one machine: read ahead, explained in batches, drawn behind, and resumed after a break."""

from __future__ import annotations

import json
import math
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from cfcam._version import __version__
from cfcam.errors import CfcamError, InputError, JobError
from cfcam.explanation import Explanation
from cfcam.files import settings_hash, sha256_of, write_whole
from cfcam.jobs.engine.inference import Engine, prepare_methods
from cfcam.jobs.engine.lanes import threads
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.names import output_names
from cfcam.jobs.inputs.preparing import assumption_notes, prepared_for
from cfcam.jobs.inputs.privacy import comes_from_dicom, renamed, with_labels, without_paths
from cfcam.jobs.inputs.reading import check_showable, load_picture
from cfcam.jobs.runs.drawing import Artist, explained
from cfcam.jobs.runs.manifest import FILE_NAME, Explained, Manifest, Record, State, verified
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.study.pages import LINE, write_batch_page
from cfcam.jobs.study.result import Results
from cfcam.jobs.study.run import Studies
from cfcam.models import LoadedModel

PROVENANCE = "run.json"

_KEPT_BYTES = 8_000_000  # a larger picture is read a second time to be drawn, rather than held in between
_LARGE_PIXELS = 12_000_000  # of such pictures only one at a time is worked on
_READERS = max(2, min(4, (os.cpu_count() or 2) // 2))
_DRAWERS = max(2, min(8, (os.cpu_count() or 2) - 1))


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
    """

    path: Path
    status: State
    targets: tuple[Explained, ...] = ()
    files: tuple[Path, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


@dataclass
class _Task:
    """One picture on its way: read, then explained, then drawn."""

    input: Input
    name: str
    started: float = 0.0
    sha256: str | None = None
    tensor: Tensor | None = None
    image: Any = None
    notices: tuple[str, ...] = ()
    outcome: Outcome | None = None
    record: Record | None = None
    drawing: Future[None] | None = field(default=None, repr=False)

    def settled(self) -> bool:
        return self.outcome is not None or (self.drawing is not None and self.drawing.done())


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
        page: the page that lists the reports of all studies, once it is written.

    Raises:
        CfcamError: the settings do not fit the network, or the output folder cannot be used. Iterating raises
            it too, if it only shows on the first pictures.
    """

    def __init__(self, model: LoadedModel, inputs: Sequence[Input], settings: Settings) -> None:
        settings.check()
        self.settings = settings = settings if settings.study is None else replace(settings, batch_size=1)
        self.inputs = self._named(inputs)
        self._model = model
        self.preprocess = self._preparation()
        self._told: set[str] = set()
        self._engine = Engine(
            model.module,
            prepare_methods(settings.methods),
            settings.targets,
            layer=settings.layer,
            classes=model.classes,
            probability=model.probability,
            output=model.output,
            batch_size=settings.batch_size,
        )
        self._engine.notes += assumption_notes(self.preprocess)
        self._rehearse()
        self.layer = self._engine.layer
        self._prepare_folder()
        self._meaning = self._describe()
        self._hash = settings_hash(self._meaning)
        self._artist = self._drawing()
        self._studies = None
        if settings.study is not None:
            results = Results(
                settings.study,
                self._engine,
                self.preprocess,
                model,
                window=settings.window,
                several=len(self.inputs) > 1,
                settings=settings.drawn(),
                settings_sha256=self._hash,
            )
            self._studies = Studies(results, settings.output, palette=settings.palette, opacity=settings.opacity)
        self._large = threading.Semaphore(1)
        self.page: Path | None = None

    # What follows is otherwise for volumes, see `cfcam.jobs.runs.volumes`.

    def _preparation(self) -> Any:
        """What is done to each input before the network sees it."""
        return prepared_for(self._model, self.settings.preprocess)

    def _rehearse(self) -> None:
        self._engine.rehearse(self.preprocess, leave_out=self.settings.leave_out)
        self._engine.open_lanes(self.preprocess)

    def _drawing(self) -> Callable[[Any, Explanation, str], list[Path]]:
        """What writes the files of an input, given itself, its explanation, and what their names begin with."""
        return Artist(self.settings, self.preprocess, self._model.spec)

    def _load(self, source: Input) -> Any:
        """Reads an input."""
        image = load_picture(source, max_pixels=self.settings.max_pixels, window=self.settings.window)
        for notice in image.notices:
            if notice not in self._told:
                self._told.add(notice)
                self._engine.notes.append(f"{source.shown.name}: {notice} (the first such file; others are not listed)")
        return image

    def _loaded(self, source: Input) -> Any:
        """Reads an input; one with a label forgets its path."""
        image = self._load(source)
        how = self.settings.study
        if how is not None:
            check_showable(image, source, allow_burned_in=how.allow_burned_in)
        return renamed(image, source)

    def _digest(self, source: Input) -> str:
        """The SHA-256 that the input would have, if it was read."""
        return sha256_of(source.path)

    def _pixels(self, image: Any) -> int:
        return math.prod(image.size)

    def _bytes(self, image: Any) -> int:
        return int(image.pixels.nbytes)

    def _ahead(self) -> int:
        """How many inputs are read before they are explained; of studies only one is held in memory."""
        return 1 if self.settings.study is not None else 2 * _READERS + self.settings.batch_size

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the set-up."""
        return self._engine.notes

    def __iter__(self) -> Iterator[Outcome]:
        manifest = Manifest.open(self.settings.output)
        self._write_provenance()
        readers, drawers = threads(_READERS, "cfcam-read"), threads(_DRAWERS, "cfcam-draw")
        open_tasks: deque[_Task] = deque()
        lines: list[Path] = []
        try:
            for task in self._flow(manifest, readers, drawers, open_tasks):
                outcome = self._entered(task, manifest)
                lines += [file for file in outcome.files if file.name.endswith(LINE)]
                yield outcome
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
            drawers.shutdown(wait=True, cancel_futures=True)
            for task in open_tasks:  # after an interruption: what is on disk is entered, so that it is not done again
                if task.record is not None:
                    manifest.append(task.record)
            manifest.close()
            if lines:
                self.page = write_batch_page(lines, self.settings.output)

    def _flow(
        self,
        manifest: Manifest,
        readers: ThreadPoolExecutor,
        drawers: ThreadPoolExecutor,
        open_tasks: deque[_Task],
    ) -> Iterator[_Task]:
        """Yields settled tasks in order; at most a few batches of them are under way."""
        ahead = self._ahead()
        names = self._names(manifest)
        waiting = zip(self.inputs, names, strict=True)
        reading: deque[tuple[_Task, Future[None]]] = deque()
        batch: list[_Task] = []
        while True:
            while len(reading) < ahead and (following := next(waiting, None)) is not None:
                task = _Task(*following)
                reading.append((task, readers.submit(self._read, task, manifest)))
            if not reading and not open_tasks:
                return
            if reading:
                task, future = reading.popleft()
                future.result()
                open_tasks.append(task)
                if task.outcome is None:
                    batch.append(task)
            crowded = len(open_tasks) >= 8 * self.settings.batch_size
            if batch and (len(batch) >= self._engine.batch_size or not reading or crowded):
                self._explain(batch, drawers)
                batch = []
            while open_tasks:
                head = open_tasks[0]
                drawn = sum(task.drawing is not None for task in open_tasks)
                if not head.settled() and reading and drawn <= 2 * _DRAWERS + self.settings.batch_size:
                    break
                if head.drawing is not None:
                    head.drawing.result()
                yield open_tasks.popleft()

    def _read(self, task: _Task, manifest: Manifest) -> None:
        """Reads and prepares a picture, unless it is already done."""
        task.started = time.perf_counter()
        try:
            if self._is_done(task, manifest):
                return
            image = self._loaded(task.input)
            task.sha256, task.notices = image.sha256, self.preprocess.notices(image)
            with self._alone_if_large(image):
                task.tensor = self.preprocess(image)
            task.image = image if self._studies is not None or self._bytes(image) <= _KEPT_BYTES else None
        except CfcamError as error:
            self._fail(task, str(error), error)
        except MemoryError as error:
            self._fail(task, "not enough memory to read the picture: make it smaller", error)
        except Exception as error:  # noqa: BLE001 (one picture of ten thousand does not stop the rest)
            self._fail(task, f"cannot be read ({_told(error, task.input)})", error)

    def _is_done(self, task: _Task, manifest: Manifest) -> bool:
        record = None if self.settings.overwrite else manifest.find(task.name, self._hash)
        if record is None:
            return False
        try:
            same = record.sha256 == self._digest(task.input)
        except (OSError, CfcamError):
            return False
        if not same or not verified(record, self.settings.output):
            return False
        files = tuple(self.settings.output / name for name in record.files)
        task.outcome = Outcome(task.input.shown, State.SKIPPED, record.targets, files, notices=record.notices)
        return True

    def _explain(self, batch: Sequence[_Task], drawers: ThreadPoolExecutor) -> None:
        explanations = self._engine([task.tensor for task in batch if task.tensor is not None])
        for task, explanation in zip(batch, explanations, strict=True):
            x, task.tensor = task.tensor, None
            if isinstance(explanation, str):
                task.image = None
                self._fail(task, explanation)
            elif self._studies is None:
                task.drawing = drawers.submit(self._draw, task, explanation)
            else:  # its uncertainty needs the network, which the next study must not use meanwhile
                task.drawing = drawers.submit(self._draw, task, explanation, x)
                task.drawing.result()

    def _draw(self, task: _Task, explanation: Explanation, x: Tensor | None = None) -> None:
        try:
            image, task.image = task.image, None
            if image is None:
                image = self._loaded(task.input)
                if image.sha256 != task.sha256:
                    self._fail(task, "the picture changed while it was explained: run again")
                    return
            with self._alone_if_large(image):
                files, targets = self._artist(image, explanation, task.name), explained(explanation)
                left_out: tuple[str, ...] = ()
                if self._studies is not None and x is not None:
                    study = self._studies(image, explanation, x, task.name, task.input)
                    files, left_out = [*files, *study.files], study.left_out
                    targets = tuple(replace(t, where=study.places.get((t.index, t.label), "")) for t in targets)
            digests = {file.relative_to(self.settings.output).as_posix(): sha256_of(file) for file in files}
            outcome = Outcome(
                task.input.shown, State.DONE, targets, tuple(files), None, self._spent(task), task.notices
            )
            task.record = self._record(task, outcome, digests, left_out)
            task.outcome = outcome
        except CfcamError as error:
            self._fail(task, str(error), error)
        except OSError as error:
            self._fail(task, f"its files cannot be written ({error.strerror or error}): check the disk", error)
        except MemoryError as error:
            self._fail(task, "not enough memory to draw the picture: make it smaller", error)
        except Exception as error:  # noqa: BLE001 (as in _read)
            self._fail(task, f"cannot be drawn ({_told(error, task.input)})", error)

    def _alone_if_large(self, image: Any) -> AbstractContextManager[Any]:
        return self._large if self._pixels(image) > _LARGE_PIXELS else nullcontext()

    def _fail(self, task: _Task, error: str, cause: BaseException | None = None) -> None:
        line = " ".join(error.split()).removeprefix(f"{task.input.path}: ")
        line = without_paths(line, task.input, self.inputs.index(task.input) + 1, len(self.inputs))
        outcome = Outcome(task.input.shown, State.FAILED, error=line, seconds=self._spent(task))
        task.record = self._record(task, outcome, {})
        if self._studies is not None:
            self._studies.failed(task.sha256, "ModelError" if cause is None else type(cause).__name__)
        task.outcome = outcome

    def _record(self, task: _Task, outcome: Outcome, digests: dict[str, str], left_out: tuple[str, ...] = ()) -> Record:
        return Record(
            input=task.input.key,
            sha256=task.sha256,
            status=outcome.status,
            error=outcome.error,
            name=task.name,
            layer=self.layer,
            targets=outcome.targets,
            files=digests,
            seconds=round(outcome.seconds, 3),
            settings=self._hash,
            cfcam=__version__,
            left_out=left_out,
            notices=outcome.notices,
        )

    @staticmethod
    def _spent(task: _Task) -> float:
        return time.perf_counter() - task.started

    @staticmethod
    def _entered(task: _Task, manifest: Manifest) -> Outcome:
        if task.record is not None:
            manifest.append(task.record)
            task.record = None
        assert task.outcome is not None  # noqa: S101 (a settled task has one)
        return task.outcome

    def _names(self, manifest: Manifest) -> list[str]:
        places = [(source.absolute, source.folder) for source in self.inputs if source.label is None]
        mine = {str(path) for path, _ in places}
        known = {record.input: record.name for record in manifest.records}
        others = [name for path, name in known.items() if path not in mine and Path(path).exists()]
        labels = [source.label for source in self.inputs if source.label is not None]
        plain = iter(output_names(places, known, taken=[*others, *labels]))
        return [next(plain) if source.label is None else source.label for source in self.inputs]

    def _named(self, inputs: Sequence[Input]) -> tuple[Input, ...]:
        """The inputs; of studies those that are DICOM with neutral names, for their own may be the patient's."""
        how = self.settings.study
        if how is None:
            return tuple(inputs)
        if how.dicom and not any(map(comes_from_dicom, inputs)):
            raise InputError(
                "--dicom: none of the inputs is DICOM, so that there is nothing to refer to: give DICOM files or a"
                " folder of slices; maps of NIfTI are written as NIfTI, of pictures as PNG"
            )
        return tuple(inputs) if how.keep_names else with_labels(inputs)

    def _prepare_folder(self) -> None:
        output = self.settings.output
        places = {os.path.realpath(output / source.folder) for source in self.inputs}
        holders = {os.path.realpath(s.path if s.path.is_dir() else s.path.parent) for s in self.inputs}
        if both := sorted(places & holders):
            raise JobError(f"{both[0]} holds input pictures and would be written into: choose another --output folder")
        try:
            output.mkdir(parents=True, exist_ok=True)
            probe = output / f".cfcam.{os.getpid()}.tmp"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise JobError(
                f"{output}: cannot be written into ({error.strerror}): choose another --output folder"
            ) from error

    def _describe(self) -> dict[str, Any]:
        """What changes the pictures: two runs that agree in it need not both be made."""
        made_by = self._engine.provenance()
        return {
            **self.settings.drawn(),
            "cfcam": __version__,
            "model": {"spec": self._model.spec, **made_by["model"]},
            "classes": list(self._model.classes) if self._model.classes else None,
            "methods": made_by["methods"],
            "probability": made_by["probability"],
            **{key: made_by[key] for key in ("output",) if key in made_by},
            "layer": self.layer,
            "preprocess": self.preprocess.as_dict(),
        }

    def _write_provenance(self) -> None:
        """Enters these settings in ``run.json``, under the hash by which the manifest's lines refer to them."""
        path = self.settings.output / PROVENANCE
        try:
            runs = dict(json.loads(path.read_bytes())["runs"])
        except (OSError, ValueError, KeyError, TypeError):
            runs = {}
        made_by = self._engine.provenance()
        runs[self._hash] = {
            "settings": self._meaning,
            "command": list(self.settings.command),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "inputs": len(self.inputs),
            "versions": {key: made_by[key] for key in ("cfcam", "torch", "python")},
            "machine": {
                "device": made_by["device"],
                "system": platform.platform(),
                "processors": os.cpu_count(),
            },
            "notes": [*self._model.notes, *self.notes],
        }
        write_whole(path, json.dumps({"format": 1, "manifest": FILE_NAME, "runs": runs}, indent=1).encode())


def _told(error: BaseException, source: Input) -> str:
    """An error that nobody foresaw; of an input with a label only its kind, for its words may quote the file."""
    kind = type(error).__name__
    return kind if source.label is not None else f"{kind}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), "no reason given")
