"""The batches of an evaluation, measured by workers: the same rows to the last bit as on one machine."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from cfcam.errors import CfcamError
from cfcam.jobs.cluster.journal import journals
from cfcam.jobs.cluster.measuring import Batch, Measuring, part_of
from cfcam.jobs.cluster.part import Answer, Ended, Item, id_of
from cfcam.jobs.cluster.part import Part as Due
from cfcam.jobs.cluster.sharing import Share, Sharing
from cfcam.jobs.cluster.worker import Place
from cfcam.jobs.cluster.workers import Lost, Workers
from cfcam.jobs.evaluate.cases import Loadable
from cfcam.jobs.evaluate.rows import Part
from cfcam.jobs.evaluate.run import EvaluationRun, Measure

_WHOLE, _CASE = "batch", "case "


@dataclass
class _Share(Share):
    """A batch on its way.

    Attributes:
        key: of the batch.
        cases: all of it, by name.
        costs: what the methods cost is measured with it.
        done: what became of it.
        failed: name of a case -> why it is not measured.
        alone: item -> what it measured alone, after the batch had ended workers.
    """

    key: str = ""
    cases: dict[str, Loadable] = field(default_factory=dict)
    costs: bool = False
    done: Part | None = None
    failed: dict[str, str] = field(default_factory=dict)
    alone: dict[str, Part] = field(default_factory=dict)

    def over(self) -> bool:
        return self.done is not None

    def as_a_batch(self) -> tuple[Item, ...]:
        """All cases that have not failed, to be measured side by side."""
        left = [case for name, case in self.cases.items() if name not in self.failed]
        return (Item(_WHOLE, Batch(self.key, left, self.costs, dict(self.failed))),)

    def one_by_one(self) -> tuple[Item, ...]:
        """The cases of which is not known yet whether they end workers."""
        left = {f"{_CASE}{name}": case for name, case in self.cases.items() if name not in self.failed}
        return tuple(Item(name, Batch(self.key, [case])) for name, case in left.items() if name not in self.alone)

    def of_each(self) -> Part:
        """What the cases measured alone."""
        parts = list(self.alone.values())
        return Part(
            self.key,
            [row for part in parts for row in part.rows],
            {name: why for part in parts for name, why in part.failed.items()} | self.failed,
            {name: notes for part in parts for name, notes in part.notes.items()},
        )


def measured_on(workers: Workers) -> Measure:
    """Returns the ``measure`` of a `cfcam.jobs.evaluate.run.EvaluationRun` whose batches workers take.

    Args:
        workers: those of a cluster, or processes of this machine.
    """

    def measure(run: EvaluationRun, todo: Sequence[tuple[str, Sequence[Loadable]]]) -> Generator[Part, None, None]:
        if todo:
            yield from _Evaluation(run, todo, Place.made(run.output, workers.cores)).parts(workers)

    return measure


class _Evaluation(Sharing[_Share]):
    """Each batch is a part of its own.

    A batch whose worker was lost is measured once more as it is. When it has ended two, each of its cases is measured
    alone, to see which of them ends workers; that one fails, and the batch is measured without it. If it is none of
    them, what each measured alone is what counts.
    """

    def __init__(self, run: EvaluationRun, todo: Sequence[tuple[str, Sequence[Loadable]]], place: Place) -> None:
        super().__init__(place, run.notes)
        self.stages = run.stages
        self._run, self._batches, self._waiting = run, len(todo), iter(todo)
        self._costs_due = run.evaluator.costs is None
        told = ((path.name.split(".")[0], told.ended.get(_WHOLE, "")) for path, told in journals(run.output))
        self._left = {part: line for part, line in told if line}

    def parts(self, workers: Workers) -> Iterator[Part]:
        """Yields what became of each batch, in their order."""
        try:
            job = pickle.dumps(Measuring(self._run))
        except CfcamError:  # what cannot be sent leaves no folder behind
            self.place.leave(whole=True)
            raise
        pool = workers.pool(job, self.place, on_gpu=self._run.on_gpu)
        self._run.notes.extend(pool.notes)
        try:
            pool.start(self._batches)
            for share in self.settled(pool):
                assert share.done is not None  # noqa: S101 (it is over)
                yield share.done
        finally:
            pool.close()
            self.place.leave(whole=self.whole)

    def make(self, workers: int) -> _Share | None:
        """Returns the next batch, see `Sharing.make`."""
        key, batch = next(self._waiting, ("", ()))
        if not batch:
            return None
        share = _Share(
            Due(id_of(self._run.fingerprint, [key]), ()), key, {case.name: case for case in batch}, self._costs_due
        )
        self._costs_due = False
        share.part.items = share.as_a_batch()
        if not share.costs:
            left = part_of(self._left.get(share.part.id, ""))
            share.done = left if left is not None and left.tells_of(share.cases) else None
        return share

    def answered(self, share: _Share, answer: Answer) -> None:
        """Takes rows, see `Sharing.answered`."""
        for one in answer.ended:
            self._enter(share, one)
        self._go_on(share)

    def lost(self, share: _Share, lost: Lost) -> None:
        """Says what is to be measured again, see `Sharing.lost`."""
        told = self.place.journal(share.part).read()
        for name, line in told.ended.items():
            self._enter(share, Ended(name, line))
        for name in lost.blame(share.part, told.open):
            if name != _WHOLE:
                share.failed[name.removeprefix(_CASE)] = lost.reason
            elif share.alone:
                share.done = share.of_each()
            else:
                share.part.items = share.one_by_one()
                share.part.lost[_WHOLE] = 0
                self.again(share)
                return
        self._go_on(share)

    def _go_on(self, share: _Share) -> None:
        """Has done what is left of a batch: of its cases one by one, then of all side by side."""
        if share.done is not None:
            return
        alone = share.part.items[0].name != _WHOLE
        share.part.items = (share.one_by_one() if alone else ()) or share.as_a_batch()
        self.again(share)

    def _enter(self, share: _Share, one: Ended) -> None:
        part = part_of(one.line)
        if part is None:
            return
        if one.name != _WHOLE:
            share.alone[one.name] = part
            return
        share.done = part
        self.proven = self.proven or bool(part.rows)
        if one.kept:
            self._run.evaluator.costs = one.kept
        elif share.costs:
            self._costs_due = True  # they went with the worker: the next batch has them measured
