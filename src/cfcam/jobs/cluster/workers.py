"""Who works: several processes that are given parts, wherever they are, and what is known of one that is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cfcam.jobs.cluster.part import Answer, Part
from cfcam.jobs.cluster.worker import Place

LOST = (
    "workers ended while they were at it alone, again and again, as happens when memory runs out or a library crashes:"
    " run it alone without --engine to see which; make it smaller, or leave it out"
)
_TOO_OFTEN = 4


@dataclass(frozen=True)
class Lost:
    """A worker that ended before it answered.

    Attributes:
        with_node: its machine is lost too, or out of reach, which is hardly the fault of an input.
        how: it ended, in words, as far as that is known.
    """

    with_node: bool
    how: str = ""

    @property
    def reason(self) -> str:
        """Why an input is given up at which this worker was the last."""
        return "; ".join(filter(None, (LOST, self.how)))

    def blame(self, part: Part, names: Sequence[str]) -> list[str]:
        """Counts the loss against what the worker was at alone; returns what is not to be tried again.

        An input may end two workers, and be there while four machines are lost: one may take a machine down with it.
        """
        for name in names:
            part.lost[name] = part.lost.get(name, 0) + (1 if self.with_node else 2)
        return [name for name in names if part.lost[name] >= _TOO_OFTEN]


class Pool(Protocol):
    """Workers at work: `cfcam.jobs.cluster.pool.RayPool`, or `cfcam.jobs.cluster.processes.ProcessPool`.

    Attributes:
        count: how many are asked for.
        notes: what the user should know of them.
    """

    count: int
    notes: list[str]

    @property
    def why(self) -> str:
        """Where it is said why workers are lost, or what often is the reason."""

    def start(self, parts: int) -> None:
        """Has workers come; to be called once, before the first part is given.

        Args:
            parts: how many there are: no more workers are needed.
        """

    @property
    def free(self) -> int:
        """How many parts may be given now."""

    def give(self, part: Part) -> None:
        """Gives a part to a worker that is free."""

    def answers(self, seconds: float = 1.0) -> Iterator[tuple[Part, Answer | Lost]]:
        """Waits for something to happen, and yields the parts that came back.

        Raises:
            JobError: no worker can work.
        """

    def close(self) -> None:
        """Ends the workers at once."""


class Workers(Protocol):
    """Who is to work: `cfcam.jobs.cluster.pool.Cluster`, or `cfcam.jobs.cluster.processes.Processes`."""

    @property
    def cores(self) -> int:
        """CPUs of each worker."""

    def pool(self, job: bytes, place: Place, *, on_gpu: bool) -> Pool:
        """Returns workers, of which there is none before the pool's `start`.

        Args:
            job: the pickled job, sent to each.
            place: where they work.
            on_gpu: whether the network is on a GPU.

        Raises:
            CfcamError: there can be none.
        """
