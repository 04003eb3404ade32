"""An evaluation of maps on many pictures: batch by batch, kept on disk as it grows, and resumed after a break."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.errors import JobError
from cfcam.files import own_output, settings_hash
from cfcam.jobs.evaluate.cases import Loadable, Progress, drawn
from cfcam.jobs.evaluate.examples import Example, example
from cfcam.jobs.evaluate.rows import FILE_NAME, Part, RowsFile
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.jobs.evaluate.work import FAILURES, EvaluationWork
from cfcam.jobs.inputs.names import without_folders
from cfcam.jobs.inputs.run_file import begin, finish
from cfcam.jobs.inputs.shard import part_of
from cfcam.metrics.scorecard.card import Scorecard, scorecard
from cfcam.metrics.scorecard.paper import WRONG
from cfcam.metrics.scorecard.rows import Rows
from cfcam.models import LoadedModel, model_name
from cfcam.models.packing import check_packable
from cfcam.stages import METRICS, WRITE, Stages

Measure = Callable[["EvaluationRun", Sequence[tuple[str, Sequence[Loadable]]]], Generator[Part, None, None]]
"""Measures batches of a run, and yields their parts in the same order: this process, or the workers of a cluster."""


def measured_here(run: EvaluationRun, todo: Sequence[tuple[str, Sequence[Loadable]]]) -> Generator[Part, None, None]:
    """Measures batches in this process, one after the other."""
    for key, batch in todo:
        with run.stages(METRICS):  # what is read meanwhile counts apart
            part = run.work(key, batch)
        yield part


class EvaluationRun(EvaluationWork):
    """Measures what the maps of a network are worth on many pictures.

    The cases are worked on in an order drawn by the seed, in batches that do not depend on what is done already, so
    that a run that was stopped and went on gives the same numbers as one that was not. After each batch its rows are
    on disk (``rows.jsonl``); what is held in memory meanwhile does not grow with the number of cases.

    Args:
        model: the network.
        cases: see `cfcam.jobs.cases.folder.find_cases`.
        settings: what to measure, and how.
        output: the folder to write into.
        measure: who measures: this process, or the workers of a cluster.

    Attributes:
        layer: the layer that is mapped.
        preprocess: what is done to each picture.
        notes: what the user should know; more may be added while the run goes on.
        batch_size: pictures in one pass of the network.
        stages: where the time of the last measuring went, of workers too.
        evaluator: what measures.

    Raises:
        CfcamError: the settings do not fit the network, or the output folder cannot be used.
    """

    kind = "picture"
    _tell_first: Callable[[], None] | None = None  # a run on a worker of a cluster tells nobody

    def __init__(
        self,
        model: LoadedModel,
        cases: Sequence[Loadable],
        settings: EvaluationSettings,
        output: str | Path,
        *,
        measure: Measure = measured_here,
    ) -> None:
        settings.check()
        if measure is not measured_here:  # it goes to other processes: what cannot is told before anything is made
            check_packable((model, cases[:1], settings), model_name(model.spec))
        self._measure_all = measure
        self.stages = Stages()
        self._found = len(cases)
        self._places = {case.name: n for n, case in enumerate(cases)}
        if len(self._places) < len(cases):
            raise JobError("two cases have the same name: give each its own")
        self._hold(model, drawn(cases, settings.limit, settings.seed), settings, Path(output))
        self._sized = self._with_size()
        self._settle()
        with self._alone():
            self._file = RowsFile(self.output, self._setup(), overwrite=settings.overwrite, shard=settings.shard)

    # What follows is otherwise for volumes, see `cfcam.jobs.evaluate.volumes`.

    def _example(self, case: Any) -> Example:
        """A sheet of one case."""
        return example(self.evaluator, case.load(self.preprocess, self._classes, lambda _: None), self.preprocess)

    # What follows is the same for both.

    def __len__(self) -> int:
        return len(self.cases)

    def __call__(self, progress: Callable[[Progress], None] | None = None) -> Scorecard:
        """Does what is not done yet, and returns the scorecard of all cases.

        Args:
            progress: called at the beginning, after the first case and after each batch.

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
            progress: called at the beginning, after the first case and after each batch.

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
        whole = {} if shard is None else {"shard": str(shard), "of_inputs": len(self)}
        takes = sum(len(batch) for name, batch in self._batches() if self._takes(name))
        begin(self.output, FILE_NAME, key, {"inputs": takes, "earlier": self._file.own, **whole}, shard)
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
            if (there := self._file.known(key, (case.name for case in batch))) is not None:
                earlier += len(batch)
                failed += len(there.failed)
            else:
                todo.append((key, batch))
        done, self._succeeded = earlier, earlier > failed
        tell(Progress(done, total, failed, earlier))
        self._tell_first = lambda: tell(Progress(earlier + 1, total, failed, earlier))
        with closing(self._measure_all(self, todo)) as parts:  # whatever ends the run, workers do not outlive it
            for part, (_, batch) in zip(parts, todo, strict=True):
                with self.stages(WRITE):
                    self._file.append(part)
                if self._file.costs is None and self.evaluator.costs is not None:
                    self._file.set_costs(self.evaluator.costs)
                done, failed = done + len(batch), failed + len(part.failed)
                tell(Progress(done, total, failed, earlier, part.failed))
        return Progress(done, total, failed, earlier)

    def _heard_first(self, part: Part) -> None:
        if self._tell_first is not None and not part.failed:
            self._tell_first()

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
            except FAILURES:  # reported with the rows
                continue
        return found

    def _batches(self) -> Iterator[tuple[str, Sequence[Loadable]]]:
        """Yields batches of cases under the hash of what their numbers depend on."""
        size = self.batch_size
        for start in range(0, len(self.cases), size):
            batch = self.cases[start : start + size]
            yield settings_hash({"cases": [case.identity() for case in batch]}), batch

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that the numbers depend on, apart from the cases."""
        return self._file.fingerprint

    def _scorecard(self, keys: Iterable[str]) -> Scorecard:
        rows = Rows()
        failed: dict[str, str] = {}
        notes: dict[str, list[str]] = {}
        for key in keys:
            part = self._file.read(key)
            rows.extend(part.rows)
            failed |= part.failed
            notes |= part.notes
        places = np.array([self._places[image] for image in rows.words("image")], dtype=np.int64)
        rows = rows.take(np.argsort(places[rows.codes("image")], kind="stable")) if len(rows) else rows
        failed = dict(sorted(failed.items(), key=lambda item: self._places[item[0]]))
        self.evaluator.costs = self._file.costs
        card = scorecard(self.evaluator, rows, failed)
        return replace(card, info=card.info | self._about() | {"case_notes": notes})

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
            "notes": list(dict.fromkeys([*self.notes, *self.evaluator.told()])),
        }
