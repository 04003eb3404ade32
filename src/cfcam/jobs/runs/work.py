"""One input's way: read, prepared, explained, drawn and recorded; wherever that is done, and by whomever."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cfcam._version import __version__
from cfcam.errors import CfcamError, DiskError, ImageError, JobError, describe_first, is_full, without_name
from cfcam.explanation import Explanation
from cfcam.files import Stamp, settings_hash, sha256_of
from cfcam.jobs.engine.batch import One
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.engine.meaning import meaning_of
from cfcam.jobs.index.glance import Glance, shown_by_browsers
from cfcam.jobs.inputs.aside import Found
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.preparing import assumption_notes
from cfcam.jobs.inputs.privacy import labelled, renamed, without_paths
from cfcam.jobs.inputs.reading import check_showable, check_storable
from cfcam.jobs.runs import boxes
from cfcam.jobs.runs.drawing import explained
from cfcam.jobs.runs.further import Seen
from cfcam.jobs.runs.kind import InputKind
from cfcam.jobs.runs.manifest import Record, State
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.runs.standing import stamp_before, stamps_of
from cfcam.jobs.runs.task import Outcome, Step, Task, channels_of, failing
from cfcam.jobs.store.kept import Keeping
from cfcam.jobs.study.explained import Results
from cfcam.jobs.study.regions import ByRegion, RegionSettings, by_region, rows_of
from cfcam.jobs.study.run import Studies
from cfcam.memory import give_back
from cfcam.models import LoadedModel, model_name
from cfcam.models.packing import packed, unpacked
from cfcam.stages import DRAW, stage

_KEPT_BYTES = 8_000_000  # a larger picture is read a second time to be drawn, rather than held in between


class Work:
    """Takes inputs on their way, step after step; a failure of one of them is its outcome.

    The steps of one input follow each other: `read`, `prepare`, `explain`, `reread`, `draw`; calling the work takes all
    of them. Steps of several inputs may run in several threads, but `explain` in one at a time.

    It knows no manifest and takes no lock, and can be pickled for another process or machine: the network travels as
    a module, see `cfcam.models.packing`, and is run once on noise when it arrives. Its records there are those that it
    would have made here; whoever has the output folder enters them.

    Args:
        model: the network.
        kind: of the inputs.
        settings: of the run.
        inputs: of the run; those whose size the network's input has say which shape to rehearse.

    Attributes:
        kind: as given.
        engine: what explains.
        layer: the layer that is mapped.
        meaning: what changes the files.
        sha256: SHA-256 over ``meaning``.

    Raises:
        CfcamError: the settings do not fit the network.
    """

    def __init__(self, model: LoadedModel, kind: InputKind, settings: Settings, inputs: Sequence[Input]) -> None:
        self._hold(model, kind, settings, several=len(inputs) > 1)
        self._settle(kind.shape(inputs, self._loaded))

    def _hold(self, model: LoadedModel, kind: InputKind, settings: Settings, *, several: bool) -> None:
        self.kind = kind
        self._model, self._settings, self._several = model, settings, several
        self._told: set[str] = set()
        self._studies: Studies | None = None
        self._keeping: Keeping | None = None
        self.engine = Engine.of(
            model, settings.methods, settings.targets, layer=settings.layer, batch_size=settings.batch_size
        )
        self.engine.windows = kind.windows
        self.engine.notes += assumption_notes(kind.preprocess)

    def _settle(self, shape: Any) -> None:
        self._shape = shape
        if shape is not None:
            self.engine.rehearse(shape, leave_out=self._settings.leave_out)
        self.layer = self.engine.layer
        self.meaning = meaning_of(
            self._settings.drawn(),
            self._model,
            self.engine.provenance(),
            layer=self.layer,
            preprocess=self.kind.preprocess.as_dict(),
            further=self.kind.described(),
        )
        self.sha256 = settings_hash(self.meaning)

    def open(self) -> None:
        """Opens what studies are entered in.

        Raises:
            CfcamError: that cannot be opened, or a library is missing.
        """
        settings = self._settings
        if settings.study is None:
            return
        results = Results(
            settings.study,
            self.engine,
            self.kind.preprocess,
            self._model,
            window=settings.window,
            several=self._several,
            reported=bool(settings.study.report),
            settings=settings.drawn(),
            settings_sha256=self.sha256,
        )
        self._studies = Studies(results, settings.output, **settings.look())

    def __getstate__(self) -> dict[str, Any]:
        given = {"model": self._model, "kind": self.kind, "settings": self._settings, "several": self._several}
        state = {"given": given, "shape": self._shape, "meaning": self.meaning, "opened": self._studies is not None}
        return {"packed": packed(state, model_name(self._model.spec))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sent = unpacked(state["packed"])
        self._hold(**sent["given"])
        self._settle(sent["shape"])
        if settings_hash(sent["meaning"]) != self.sha256:
            both = {**sent["meaning"], **self.meaning}
            differ = [name for name in both if sent["meaning"].get(name) != self.meaning.get(name)]
            raise JobError(
                f"this process would not write the files that the run asks for ({', '.join(differ)} differ): install"
                " the same version of cfcam, and of what the network is made of, on every machine"
            )
        if sent["opened"]:
            self.open()

    @property
    def notes(self) -> list[str]:
        """What the user should know; more may be added with each input."""
        return self.engine.notes

    def __call__(self, task: Task) -> Task:
        """Takes an input on its whole way.

        Raises:
            CfcamError: none was explained yet, and this one cannot be for a reason that lies in the set-up.
        """
        self.read(task)
        self.prepare(task)
        self.explain([task])
        self.reread(task)
        self.draw(task)
        return task

    @failing(Step.READ)
    def read(self, task: Task) -> None:
        """Reads an input."""
        task.started = time.perf_counter()
        if task.input.problem is not None:
            raise ImageError(task.input.problem)
        self._take(task, stamp_before(task.input), self.kind.read(task.input))

    def take(self, tasks: Sequence[Task], found: Sequence[Found]) -> None:
        """Takes pictures that a process of its own has read, and prepares them; see `read` and `prepare`."""
        for task, (stamp, image) in zip(tasks, found, strict=True):
            self._take(task, stamp, image)
        self.prepare_together(tasks)

    def prepare_together(self, tasks: Sequence[Task]) -> None:
        """Prepares small pictures that were read, in less time than one by one; see `prepare`."""
        good = [task for task in tasks if task.outcome is None]
        try:
            tensors = self.kind.preprocess.together([task.image for task in good])
        except Exception:  # noqa: BLE001 (one of them cannot be prepared: which it is, and why, shows one by one)
            tensors = [None] * len(good)
        for task, tensor in zip(good, tensors, strict=True):
            task.tensor = tensor
            self.prepare(task)

    @failing(Step.READ)
    def _take(self, task: Task, stamp: Stamp | None, image: Any) -> None:
        task.stamp, task.image = stamp, self._accepted(image, task.input)
        task.sha256 = task.image.sha256
        task.notices, task.channels = self.kind.preprocess.notices(task.image), channels_of(task.image)

    @failing(Step.READ)
    def prepare(self, task: Task) -> None:
        """Brings what was read to the network's input; a large picture is not held any longer."""
        if task.outcome is not None:
            return
        if task.tensor is None:
            task.tensor = self.kind.preprocess(task.image)
        task.size = tuple(map(int, task.image.size))
        if self._settings.store or (self._studies is None and self.kind.memory(task.image) > _KEPT_BYTES):
            task.image = None

    def explain(self, tasks: Sequence[Task]) -> None:
        """Explains inputs of one shape, side by side.

        Raises:
            CfcamError: see `cfcam.jobs.engine.inference.Engine`.
        """
        ready = [task for task in tasks if task.outcome is None]
        if not ready:
            return
        asked = self._settings.classes
        classes = None if asked is None else [asked[str(task.input.absolute)] for task in ready]
        views = [boxes.view_of(self.kind.preprocess, task.size) for task in ready] if self.engine.asks_boxes else None
        ones = self.engine.in_batches([task.tensor for task in ready if task.tensor is not None], classes, views)
        with stage(DRAW) if self._settings.store else nullcontext():
            for task, one in zip(ready, ones, strict=True):
                if isinstance(one, str):
                    self.fail(task, one)
                    continue
                task.explained, task.notices = one, (*task.notices, *one.said)
                if self._settings.store:
                    self._keep(task, one)
                elif not self._settings.asks_again:
                    task.tensor = None

    @failing(Step.READ)
    def reread(self, task: Task) -> None:
        """Reads an input again that is no longer held."""
        if task.outcome is not None or task.image is not None or self._settings.store:
            return
        image = self._loaded(task.input)
        if image.sha256 != task.sha256:
            self.fail(task, "the picture changed while it was explained: run again")
        else:
            task.image = image
            give_back()  # what its decoder has freed stays with this process otherwise, as much as the picture itself

    @failing(Step.DRAW)
    def draw(self, task: Task) -> None:
        """Writes the files of an input; those of its study use the network.

        Raises:
            DiskError: nothing more can be written into the output folder.
        """
        image, one, x = task.image, task.explained, task.tensor
        task.image = task.explained = task.tensor = None
        if task.outcome is not None:
            return
        assert one is not None  # noqa: S101 (the step before)
        explanation, targets = one.alone(), explained(one.batch, one.number, self.kind.preprocess, image.size)
        files = self.kind.draw(image, explanation, task.name)
        left_out: tuple[str, ...] = ()
        if self._settings.further is not None:
            further = self._settings.further(self._seen(task, image, explanation))
            files, left_out = [*files, *further.files], further.left_out
            self.engine.notes.extend(further.left_out)
        if self._settings.regions is not None and x is not None:
            found = self._by_region(self._settings.regions, task, image, x, explanation)
            files += self.kind.draw.regions(image, explanation, found, task.name)
            columns = {(int(explanation.targets[0, k]), explanation.label(0, k)): k for _, k in found.shares}
            targets = tuple(replace(t, regions=rows_of(found, columns.get((t.index, t.label), -1))) for t in targets)
        if self._studies is not None and x is not None:
            study = self._studies(image, explanation, x, task.name, task.input)
            files, left_out = [*files, *study.files], (*left_out, *study.left_out)
            targets = tuple(replace(t, where=study.places.get((t.index, t.label), "")) for t in targets)
        if (glance := self._glance(task, image, explanation)) is not None:
            files = [*files, *(self._settings.output / file for file in glance.files)]
        digests = {file.relative_to(self._settings.output).as_posix(): sha256_of(file) for file in files}
        outcome = Outcome(
            task.input.shown,
            State.DONE,
            targets,
            tuple(files),
            seconds=_spent(task),
            notices=task.notices,
            channels=task.channels,
            probabilities=explanation.class_probabilities(0),
            scale=self._settings.scale_of(image.size) if len(image.size) == 2 else 1.0,
        )
        task.record = replace(self._record(task, outcome, digests, left_out), glance=glance)
        task.outcome = outcome

    @failing(Step.DRAW)
    def _keep(self, task: Task, one: One) -> None:
        """What a store takes of an input, in place of files; the probabilities of all classes are among its scores."""
        check_storable(task.key)
        if self._keeping is None or self._keeping.batch is not one.batch:
            self._keeping = Keeping(one.batch)
        targets = explained(one.batch, one.number, self.kind.preprocess, task.size)
        at, digest = [target.box for target in targets] if self.engine.asks_boxes else None, task.sha256 or ""
        task.kept = self._keeping(one.number, source=task.key, sha256=digest, size=task.size, boxes=at)
        outcome = Outcome(task.input.shown, State.DONE, targets, (), None, _spent(task), task.notices, task.channels)
        task.record = self._record(task, outcome, {})
        task.image = task.tensor = task.explained = None
        task.outcome = outcome

    def _seen(self, task: Task, image: Any, explanation: Explanation) -> Seen:
        name = task.input.label or labelled(task.input.path).label or task.input.path.name
        stem = self._settings.output / task.name
        return Seen(image, explanation, self.kind.preprocess, name, stem, task.notices)

    def _by_region(self, how: RegionSettings, task: Task, image: Any, x: Tensor, explanation: Explanation) -> ByRegion:
        found = by_region(
            how, self.engine, self.kind.preprocess, image, x, explanation, task.input, several=self._several
        )
        name = task.input.shown.name
        self.engine.notes += [f"{name}: {line}" for line in found.notices]
        return found

    def _glance(self, task: Task, image: Any, explanation: Explanation) -> Glance | None:
        if self._settings.page is None:
            return None
        embeddable = task.input.label is None and task.input.path.is_file() and shown_by_browsers(task.input.path)
        return self.kind.draw.glance(image, explanation, task.name, embeddable=embeddable)

    def _loaded(self, source: Input) -> Any:
        return self._accepted(self.kind.read(source), source)

    def _accepted(self, image: Any, source: Input) -> Any:
        """What was read of an input, and what is said of it; one with a label forgets its path."""
        for notice in image.notices:
            once, note = self.kind.note(notice, source)
            if once not in self._told:
                self._told.add(once)
                self.engine.notes.append(note)
        if self._settings.study is not None:
            check_showable(image, source, allow_burned_in=self._settings.study.allow_burned_in)
        return renamed(image, source)

    def went_wrong(self, task: Task, step: Step, error: Exception) -> None:
        """Enters that a step failed, unless it is where all are written; see `failing`."""
        if isinstance(error, DiskError):
            raise error
        if step is Step.DRAW:
            self._stop_if_of_the_disk(error.__cause__ if isinstance(error, CfcamError) else error)
        if isinstance(error, CfcamError):
            self.fail(task, str(error), error)
        elif isinstance(error, MemoryError):
            self.fail(task, f"not enough memory to {step} the picture: make it smaller", error)
        else:  # a decoder may raise anything
            done = "read" if step is Step.READ else "drawn"
            self.fail(task, f"cannot be {done} ({_told(error, task.input)})", error)

    def _stop_if_of_the_disk(self, error: BaseException | None) -> None:
        """A disk that is full, or a folder that is gone, is none of the picture's: all others would meet it too."""
        if not isinstance(error, OSError) or error.errno in (None, errno.ENAMETOOLONG):
            return
        output = self._settings.output
        named = error.filename is not None and output.absolute() in Path(os.fsdecode(error.filename)).absolute().parents
        if is_full(error) or named or not output.is_dir():  # else it may be the input, which studies read once more
            raise DiskError(output, error) from error

    def fail(self, task: Task, error: str, cause: BaseException | None = None) -> None:
        """Settles an input as failed: one line says why, without the path of one that has a label."""
        line = without_name(" ".join(error.split()), task.input.path)
        line = without_paths(line, task.input, task.number, task.count)
        task.image = task.tensor = task.explained = None
        outcome = Outcome(task.input.shown, State.FAILED, error=line, seconds=_spent(task))
        task.record = self._record(task, outcome, {})
        if self._studies is not None:
            self._studies.failed(task.sha256, "ModelError" if cause is None else type(cause).__name__)
        task.outcome = outcome

    def _record(self, task: Task, outcome: Outcome, digests: dict[str, str], left_out: tuple[str, ...] = ()) -> Record:
        return Record(
            input=task.key,
            sha256=task.sha256,
            status=outcome.status,
            error=outcome.error,
            name=task.name,
            layer=self.layer,
            targets=outcome.targets,
            files=digests,
            seconds=round(outcome.seconds, 3),
            settings=self.sha256,
            cfcam=__version__,
            left_out=left_out,
            notices=outcome.notices,
            channels=outcome.channels,
            probabilities=outcome.probabilities,
            scale=outcome.scale,
            stamps=stamps_of(task.stamp, digests, self._settings.output) if outcome.status is State.DONE else {},
        )


def _spent(task: Task) -> float:
    return time.perf_counter() - task.started if task.started else 0.0  # read by nobody here


def _told(error: BaseException, source: Input) -> str:
    """An error that nobody foresaw; of an input with a label only its kind, for its words may quote the file."""
    return type(error).__name__ if source.label is not None else describe_first(error)
