"""What a worker is given to do, and what it gives back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_BATCHES = 4  # of a part at most: enough that what a call costs is not felt, few enough that a loss is not


@dataclass(frozen=True)
class Item:
    """One thing of a part: an input, or a batch of cases.

    Attributes:
        name: what it is called, and no other of the run.
        what: it, as the job takes it.
    """

    name: str
    what: Any


@dataclass
class Part:
    """What one worker is given at a time, and how often that was tried.

    Attributes:
        id: the same for the same things under the same settings.
        items: what is left of it to do; whole batches, unless they are done alone.
        attempt: how many workers were given it before.
        alone: one thing after the other, so that a worker that is lost leaves no doubt about which it was at.
        proven: something was done already, so that the set-up is right and each failure is an input's own.
        lost: name -> what losses of workers that were at this alone count, see `cfcam.jobs.cluster.pool.Lost`.
        idle: how many workers in a row were lost with it that got nothing done.
    """

    id: str
    items: tuple[Item, ...]
    attempt: int = 0
    alone: bool = False
    proven: bool = False
    lost: dict[str, int] = field(default_factory=dict)
    idle: int = 0


@dataclass(frozen=True)
class Ended:
    """One thing at the end of its way.

    Attributes:
        name: of the item; "" of all of them together, of which the journal says nothing.
        line: what became of it, as it stands in the journal; "" if that was known before.
        kept: what the journal does not hold of it, and is lost with the worker.
    """

    name: str
    line: str
    kept: Any = None


@dataclass(frozen=True)
class Answer:
    """What a worker gives back for a part.

    Attributes:
        ended: its items, in their order; empty with an error.
        notes: what a user should know, that was not known before.
        error: why nothing can be done, one line; "" if it can.
        disk: why nothing more can be written, one line, likewise.
        link: name of the link that leads out of the output folder, where that is why.
        stages: seconds that its threads spent, by stage.
    """

    ended: tuple[Ended, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    disk: str = ""
    link: str = ""
    stages: dict[str, float] = field(default_factory=dict)


def size_of_parts(inputs: int, workers: int, batch_size: int) -> int:
    """Returns how many inputs a part holds: whole batches, and few enough that each worker gets two parts or more."""
    batches = inputs // (2 * workers * batch_size)
    return batch_size * max(1, min(_BATCHES, batches))


def id_of(settings: str, told: Iterable[str]) -> str:
    """Returns what a part is called: a hash of the settings and of what it holds."""
    return hashlib.sha256("\0".join([settings, *told]).encode("utf-8", "surrogateescape")).hexdigest()[:24]
