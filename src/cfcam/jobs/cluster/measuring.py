"""A worker's side of an evaluation: batches of cases, measured as one machine measures them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from cfcam.jobs.cluster.part import Ended
from cfcam.jobs.cluster.part import Part as Due
from cfcam.jobs.evaluate.cases import Loadable
from cfcam.jobs.evaluate.rows import Part
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.json_text import parse_line
from cfcam.stages import METRICS, Stages


@dataclass(frozen=True)
class Batch:
    """Cases that are measured side by side, as they travel.

    Attributes:
        key: see `cfcam.jobs.evaluate.rows.Part`.
        cases: the cases.
        costs: what the methods cost is to be measured too: once for a run.
        failed: name of a case of the batch that is not measured with it -> why.
    """

    key: str
    cases: Sequence[Loadable]
    costs: bool = False
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measuring:
    """Measures batches of cases; a `cfcam.jobs.cluster.worker.Job`.

    Attributes:
        run: the evaluation, which has no file here.
    """

    run: EvaluationRun
    light: ClassVar[bool] = False

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return self.run.notes

    def __call__(self, part: Due, begin: Callable[[str], None], stages: Stages) -> Iterator[Ended]:
        """Measures the batches of a part; see `cfcam.jobs.cluster.worker.Job`."""
        for item in part.items:
            batch: Batch = item.what
            begin(item.name)
            self.run.evaluator.costs = None if batch.costs else {}
            with stages(METRICS):  # what is read meanwhile counts apart
                done = self.run.work(batch.key, batch.cases, proven=part.proven)
            done = replace(done, failed=done.failed | batch.failed)
            yield Ended(item.name, line_of(done), self.run.evaluator.costs if batch.costs else None)


def line_of(part: Part) -> str:
    """Returns what became of a batch as a line of JSON; numbers are the same when they are read again."""
    return json.dumps(part.as_values())


def part_of(line: str) -> Part | None:
    """Returns what `line_of` was made of; None of a line that is none."""
    return Part.parse(parse_line(line.encode()))
