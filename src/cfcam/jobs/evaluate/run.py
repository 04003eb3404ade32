"""An evaluation of maps on many pictures: batch by batch, kept on disk as it grows, and resumed after a break."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cfcam._version import __version__
from cfcam.capture import Capture, Network, probe_layers
from cfcam.errors import CfcamError, JobError, describe_first, one_line
from cfcam.files import own_output, settings_hash
from cfcam.jobs.engine.inference import NOT_FINITE, Engine, is_out_of_memory
from cfcam.jobs.evaluate.cases import Loadable, Progress, drawn
from cfcam.jobs.evaluate.examples import Example, example
from cfcam.jobs.evaluate.rows import FILE_NAME, Part, RowsFile
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.inputs.names import without_folders
from cfcam.jobs.inputs.preparing import assumption_notes, prepared_for
from cfcam.jobs.inputs.run_file import entered_runs, finish, now, write_runs
from cfcam.jobs.inputs.shard import part_of
from cfcam.methods.base import Method
from cfcam.metrics.scorecard.card import Scorecard, scorecard
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.paper import WRONG, PaperEvaluator
from cfcam.metrics.scorecard.samples import Row, Sample
from cfcam.models import LoadedModel, model_name
from cfcam.stages import DECODE, METRICS, WRITE, Stages, stage

_FAILURES = (CfcamError, RuntimeError, ValueError, ArithmeticError, LookupError, MemoryError)
"""What one picture may raise in a user's network; anything else is a mistake of ours, and stops the run."""


class EvaluationRun:
    """Measures what the maps of a network are worth on many pictures.

    The cases are worked on in an order drawn by the seed, in batches that do not depend on what is done already, so
    that a run that was stopped and went on gives the same numbers as one that was not. After each batch its rows are
    on disk (``rows.jsonl``); what is held in memory meanwhile does not grow with the number of cases.

    Args:
        model: the network.
        cases: see `cfcam.jobs.cases.folder.find_cases`.
        settings: what to measure, and how.
        output: the folder to write into.

    Attributes:
        layer: the layer that is mapped.
        preprocess: what is done to each picture.
        notes: what the user should know; more may be added while the run goes on.
        batch_size: pictures in one pass of the network.
        stages: where the time of the last measuring went.

    Raises:
        CfcamError: the settings do not fit the network, or the output folder cannot be used.
    """

    kind = "picture"
    _usual_batch_size = 8

    def __init__(
        self, model: LoadedModel, cases: Sequence[Loadable], settings: EvaluationSettings, output: str | Path
    ) -> None:
        settings.check()
        self.settings = settings
        self.output = Path(output)
        self.notes: list[str] = list(model.notes)
        self.stages = Stages()
        self.batch_size = settings.batch_size or self._usual_batch_size
        self.cases = drawn(cases, settings.limit, settings.seed)
        self._found = len(cases)
        self._places = {case.name: n for n, case in enumerate(cases)}
        if len(self._places) < len(cases):
            raise JobError("two cases have the same name: give each its own")
        self._model = model
        self.preprocess = self._preparation()
        self.notes += assumption_notes(self.preprocess)
        self._sized = self._with_size()
        engine = self._rehearse()
        self.layer = engine.layer
        self._provenance = engine.provenance()
        self._classes = self._known_classes()
        self.evaluator = self._evaluator(self._applicable(engine.methods) if settings.leave_out else engine.methods)
        self._succeeded = False
        self._error: Exception | None = None
        with self._alone():
            self._file = RowsFile(self.output, self._setup(), overwrite=settings.overwrite, shard=settings.shard)

    # What follows is otherwise for volumes, see `cfcam.jobs.evaluate.volumes`.

    def _preparation(self) -> Any:
        """What is done to each case before the network sees it."""
        return prepared_for(self._model, self.settings.preprocess)

    def _with_size(self) -> Any:
        """The preparation, with a size of the network's input to rehearse with."""
        return self.preprocess

    def _metrics(self) -> str | tuple[str, ...]:
        """The metrics as the evaluator takes them."""
        return "all" if self.settings.metrics == ("all",) else self.settings.metrics

    def _measuring(self) -> dict[str, Any]:
        """Settings of the evaluator that depend on what it measures."""
        return {
            "black": tuple(-mean / std for mean, std in zip(self.preprocess.mean, self.preprocess.std, strict=True))
        }

    def _example(self, case: Any) -> Example:
        """A sheet of one case."""
        return example(self.evaluator, case.load(self.preprocess, self._classes, lambda _: None), self.preprocess)

    # What follows is the same for both.

    def __len__(self) -> int:
        return len(self.cases)

    def __call__(self, progress: Callable[[Progress], None] | None = None) -> Scorecard:
        """Does what is not done yet, and returns the scorecard of all cases.

        Args:
            progress: called at the beginning and after each batch.

        Raises:
            CfcamError: the network cannot be explained on any of the first pictures, another run is at work in the
                output folder, or the settings have a shard.
        """
        if self.settings.shard is not None:
            raise JobError(f"shard {self.settings.shard} alone has no scorecard: measure it, and join it with the rest")
        with self._alone():
            self.measure(progress)
            keys = [key for key, _ in self._batches()]
            self._file.join(keys)
            return self._scorecard(keys)

    def measure(self, progress: Callable[[Progress], None] | None = None) -> Progress:
        """Does what is not done yet of the cases, or of those that the shard takes.

        Args:
            progress: called at the beginning and after each batch.

        Returns:
            How far it is at the end.

        Raises:
            CfcamError: the network cannot be explained on any of the first pictures, or another run is at work in the
                output folder.
        """
        with self._alone():
            self._file.refresh()
            self.evaluator.costs = self._file.costs
            return self._measured(progress or (lambda _: None))

    def _alone(self) -> AbstractContextManager[None]:
        """Holds the output folder, or the shard's part of it."""
        return own_output(self.output, part=part_of(self.settings.shard))

    def _measured(self, tell: Callable[[Progress], None]) -> Progress:
        shard, key = self.settings.shard, self._file.fingerprint
        runs = entered_runs(self.output, shard)
        whole = {} if shard is None else {"shard": str(shard), "of_inputs": len(self)}
        takes = sum(len(batch) for name, batch in self._batches() if self._takes(name))
        runs[key] = {"started": now(), "inputs": takes, "earlier": self._file.own, **whole}
        write_runs(self.output, FILE_NAME, runs, shard)
        self.stages = Stages()
        try:
            progress = self._worked(tell)
        except BaseException:
            finish(self.output, FILE_NAME, key, {"complete": False, **self._spent()}, shard)
            raise
        counts = {"done": progress.done - progress.failed, "failed": progress.failed}
        finish(self.output, FILE_NAME, key, {"outcomes": counts, "complete": True, **self._spent()}, shard)
        return progress

    def _spent(self) -> dict[str, Any]:
        return {"stages": self.stages.seconds, "slowest": self.stages.slowest}

    def _worked(self, tell: Callable[[Progress], None]) -> Progress:
        earlier = failed = 0
        todo = []
        batches = [(key, batch) for key, batch in self._batches() if self._takes(key)]
        total = sum(len(batch) for _, batch in batches)
        for key, batch in batches:
            if key in self._file:
                earlier += len(batch)
                failed += len(self._file.read(key).failed)
            else:
                todo.append((key, batch))
        done, self._succeeded = earlier, earlier > failed
        tell(Progress(done, total, failed, earlier))
        for key, batch in todo:
            with self.stages(METRICS):  # what is read meanwhile counts apart
                part = self._work(key, batch)
            with self.stages(WRITE):
                self._file.append(part)
            if self._file.costs is None and self.evaluator.costs is not None:
                self._file.set_costs(self.evaluator.costs)
            done, failed = done + len(batch), failed + len(part.failed)
            tell(Progress(done, total, failed, earlier))
        return Progress(done, total, failed, earlier)

    def _takes(self, key: str) -> bool:
        return self.settings.shard is None or self.settings.shard.takes(key)

    def examples(self, count: int = 3) -> list[Example]:
        """Returns sheets of the first cases in the order drawn by the seed; one that cannot be shown is passed over."""
        found: list[Example] = []
        for case in self.cases:
            if len(found) == count:
                break
            try:
                found.append(self._example(case))
            except _FAILURES:  # reported with the rows
                continue
        return found

    def _batches(self) -> Iterator[tuple[str, Sequence[Loadable]]]:
        """Yields batches of cases under the hash of what their numbers depend on."""
        size = self.batch_size
        for start in range(0, len(self.cases), size):
            batch = self.cases[start : start + size]
            yield settings_hash({"cases": [case.identity() for case in batch]}), batch

    def _work(self, key: str, batch: Sequence[Loadable]) -> Part:
        part = Part(key)
        samples = []
        for case in batch:
            try:
                with stage(DECODE):
                    sample = case.load(self.preprocess, self._classes, part.notes.setdefault(case.name, []).append)
            except CfcamError as error:
                part.failed[case.name] = " ".join(str(error).split())
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                part.failed[case.name] = "not enough memory to read it: make it smaller"
                continue
            if sample.label is None and self.settings.explained == "label":
                part.failed[case.name] = "it has no label, and the label is to be explained"
            else:
                samples.append(sample)
        self._measure(samples, part)
        if not self._succeeded and isinstance(self._error, CfcamError):
            raise self._error  # where nothing has succeeded, and the error is one of ours, all others would meet it too
        return replace(part, notes={name: lines for name, lines in part.notes.items() if lines})

    def _measure(self, samples: Sequence[Sample], part: Part) -> None:
        """Enters rows, or a failure, for each sample.

        A batch that fails is halved until the culprit stands alone; so is one of volumes of several sizes.
        """
        if not samples:
            return
        try:
            rows = self.evaluator(samples)
        except _FAILURES as error:
            if len(samples) == 1:
                self._fail(samples[0], error, part)
                return
        else:
            self._enter(rows, part)
            return
        torch.cuda.empty_cache()  # the batch may have failed for lack of memory
        half = len(samples) // 2
        self._measure(samples[:half], part)
        self._measure(samples[half:], part)

    def _fail(self, sample: Sample, error: Exception, part: Part) -> None:
        self._error = error
        told = one_line(error, 240) if isinstance(error, CfcamError) else describe_first(error)
        part.failed[sample.name] = f"the network failed on it ({told})"

    def _enter(self, rows: Sequence[Row], part: Part) -> None:
        self._succeeded = True
        broken = {row.image for row in rows if not math.isfinite(row.probability)}
        part.failed.update(dict.fromkeys(sorted(broken), NOT_FINITE))
        part.rows.extend(row for row in rows if row.image not in broken)

    def _scorecard(self, keys: Iterable[str]) -> Scorecard:
        rows: list[Row] = []
        failed: dict[str, str] = {}
        notes: dict[str, list[str]] = {}
        for key in keys:
            part = self._file.read(key)
            rows += part.rows
            failed |= part.failed
            notes |= part.notes
        rows.sort(key=lambda row: self._places[row.image])
        failed = dict(sorted(failed.items(), key=lambda item: self._places[item[0]]))
        self.evaluator.costs = self._file.costs
        card = scorecard(self.evaluator, rows, failed)
        return replace(card, info=card.info | self._about() | {"case_notes": notes})

    def _rehearse(self) -> Engine:
        """Runs the network once on noise, so that a wrong set-up shows before the first picture is read."""
        engine = Engine.of(self._model, self.settings.methods, ["predicted"], layer=self.settings.layer)
        engine.rehearse(self._sized, leave_out=self.settings.leave_out)
        self.notes += engine.notes
        return engine

    def _applicable(self, methods: Mapping[str, Method]) -> dict[str, Method]:
        """Returns the methods that give a map of noise; of the others a note is left."""
        noise = torch.randn(self._input_shape(), generator=torch.Generator().manual_seed(0))
        capture = Capture(self._network(), noise, layer=self.layer)
        kept = {}
        for name, method in methods.items():
            try:
                if not _masks_channels(method):
                    with capture.quiet():
                        method.maps(capture)
                kept[name] = method
            except CfcamError as error:
                self.notes.append(f"{name} is left out: {error}")
        return kept

    def _network(self) -> Network:
        return Network(self._model.module, self._model.probability, self._model.output)

    def _input_shape(self) -> tuple[int, ...]:
        return (1, self._sized.channels, *self._sized.input_size)

    def _known_classes(self) -> Sequence[str] | int:
        if self._model.classes is not None:
            return self._model.classes
        outputs = probe_layers(self._network(), torch.zeros(self._input_shape()))[1][-1]
        return max(2, outputs)  # a single output tells two classes apart

    def _evaluator(self, methods: Mapping[str, Method]) -> Evaluator:
        chosen = self.settings
        settings: dict[str, Any] = {
            "controls": chosen.controls,
            "layer": self.layer,
            "classes": self._model.classes,
            "probability": self._model.probability,
            "output": self._model.output,
            "threshold": chosen.threshold,
            "seed": chosen.seed,
            **self._measuring(),
        }
        if chosen.protocol is not None:
            return PaperEvaluator(self._model.module, methods, **settings)
        return Evaluator(self._model.module, methods, self._metrics(), explained=chosen.explained, **settings)

    def _setup(self) -> dict[str, Any]:
        """Everything that the numbers depend on, apart from the cases."""
        return {
            "cfcam": __version__,
            "model": {"spec": self._model.spec, **self._provenance["model"]},
            "classes": list(self._model.classes) if self._model.classes else None,
            "probability": self._provenance["probability"],
            **{key: self._provenance[key] for key in ("output",) if key in self._provenance},
            "layer": self.layer,
            "prepared": self.preprocess.told,
            "preprocess": self.preprocess.as_dict(),
            "methods": {name: method.parameters() for name, method in self.evaluator.methods.items()},
            "settings": asdict(self.evaluator.settings),
            "batch_size": self.batch_size,
        }

    def _about(self) -> dict[str, Any]:
        """What the scorecard's provenance holds beside the evaluator's own."""
        protocol = {"title": f"Measured by the protocol {self.settings.protocol}.", "wrong": list(WRONG)}
        return self._setup() | {
            "model": {"spec": model_name(self._model.spec), **self._provenance["model"]},
            "protocol": protocol if self.settings.protocol else None,
            "fingerprint": self._file.fingerprint,
            "data": without_folders(self.settings.data),
            "cases": {"found": self._found, "taken": len(self), "seed": self.settings.seed},
            "versions": {key: self._provenance[key] for key in ("cfcam", "torch", "python")},
            "device": self._provenance["device"],
            "command": list(map(without_folders, self.settings.command)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "notes": list(dict.fromkeys(self.notes)),
        }


def _masks_channels(method: Method) -> bool:
    """Whether a method runs the network once per channel: those apply to every network, and take long to try."""
    return "channels" in method.cost
