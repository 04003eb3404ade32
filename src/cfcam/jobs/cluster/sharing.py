"""Parts on their way: given out, answered, given out again when a worker is lost, and taken in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from cfcam.errors import DiskError, JobError, LinkError
from cfcam.jobs.cluster.part import Answer, Part
from cfcam.jobs.cluster.worker import Place
from cfcam.jobs.cluster.workers import Lost, Pool
from cfcam.stages import Stages

_AHEAD = 4  # parts for each worker, finished or under way, that wait for one before them
_IDLE = 4  # workers in a row that were lost with a part and got nothing done


@dataclass
class Share(ABC):
    """A part on its way; whoever shares things out knows what it was made of, and what has become of it so far.

    Attributes:
        part: as a worker gets it.
    """

    part: Part

    @abstractmethod
    def over(self) -> bool:
        """Tells whether everything in it came to its end."""


S = TypeVar("S", bound=Share)


class Sharing(ABC, Generic[S]):
    """Gives parts to workers until all are done; each thing exactly once, whoever is lost on the way.

    A pool starts workers and carries parts to them. What is done is decided here, and by files: a worker writes down
    what it has done, so that a worker that is lost leaves it behind.

    Args:
        place: where the run works.
        notes: are told what the user should know.

    Attributes:
        place: as given.
        shares: those under way, in their order.
        proven: something was done, so that the set-up is right and each failure is an input's own.
        whole: everything is done, and was taken.
        stages: where the time of the workers' threads went.
    """

    def __init__(self, place: Place, notes: list[str]) -> None:
        self.place, self._notes = place, notes
        self._again: deque[S] = deque()
        self.shares: deque[S] = deque()
        self.proven = self.whole = False
        self.stages = Stages()

    @abstractmethod
    def make(self, workers: int) -> S | None:
        """Returns the next share, of so many workers; None: there is no more."""

    @abstractmethod
    def answered(self, share: S, answer: Answer) -> None:
        """Takes what a worker gives back, which is no error."""

    @abstractmethod
    def lost(self, share: S, lost: Lost) -> None:
        """Takes down what a lost worker wrote, and says what is to be done again."""

    def settled(self, pool: Pool) -> Iterator[S]:
        """Yields the shares that are over, in their order.

        Raises:
            CfcamError: the set-up does not allow to do anything, or the workers cannot work.
        """
        due: S | None = None
        while True:
            while (due := due or self._next(pool.count)) is not None and (due.over() or pool.free):
                if not due.over():
                    due.part.proven = self.proven
                    pool.give(due.part)
                due = None
            taken = 0
            while self.shares and self.shares[0].over():
                yield self.shares[0]
                self._forget(self.shares.popleft())
                taken += 1
            if taken:
                continue
            if not self.shares:
                self.whole = True
                return
            for part, answer in pool.answers():
                share = next(one for one in self.shares if one.part is part)
                if isinstance(answer, Lost):
                    self._count(share, answer, pool.why)
                    self.lost(share, answer)
                else:
                    self._take(share, answer)

    def again(self, share: S) -> None:
        """Has another worker do what is left of a part."""
        share.part.attempt += 1
        if share.part.items:
            self._again.append(share)

    def _next(self, workers: int) -> S | None:
        """What is due: first what a lost worker left over."""
        if self._again:
            return self._again.popleft()
        if len(self.shares) >= _AHEAD * workers or (share := self.make(workers)) is None:
            return None
        self.shares.append(share)
        return share

    def _take(self, share: S, answer: Answer) -> None:
        if answer.link:
            raise LinkError(answer.link)
        if answer.disk:
            raise DiskError(self.place.output, answer.disk)
        self.stages.add(answer.stages)
        if not answer.error:
            self._notes.extend(note for note in answer.notes if note not in self._notes)
            self.answered(share, answer)
            return
        if share.part.proven or (share is self.shares[0] and not self.proven):
            raise JobError(answer.error)
        self.again(share)  # once another input is done, each of these fails by itself

    def _forget(self, share: S) -> None:
        """Removes the journals of what was taken."""
        for journal in self.place.journals(share.part):
            journal.remove()

    def _count(self, share: S, lost: Lost, why: str) -> None:
        told = self.place.journal(share.part).read()
        share.part.idle = 0 if told.ended or told.open or lost.with_node else share.part.idle + 1
        if share.part.idle >= _IDLE:
            said = "; ".join(filter(None, (why, lost.how)))
            raise JobError(f"{_IDLE} workers in a row were lost before they did anything of the same part: {said}")
