"""What becomes of objects that are sent or fetched: one typed outcome each, so that a queue knows what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cfcam.errors import CfcamError


class NetworkError(CfcamError, RuntimeError):
    """A place cannot be reached, or does not do what it is asked.

    Attributes:
        again: whether the same may succeed later: nobody answered, or it was too busy.
    """

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class Outcome(StrEnum):
    """What became of an object."""

    STORED = "stored"
    ALREADY_THERE = "already there"
    REFUSED = "refused"  # for good: the same object would be refused again
    TRY_AGAIN = "try again"  # the place was not there, or too busy


@dataclass(frozen=True)
class Sent:
    """One object that was sent or fetched, or was not.

    Attributes:
        number: its place among those given, from 0.
        uid: its SOP Instance UID; empty where the object has none.
        outcome: what became of it.
        reason: what there is to say of it, in one line without anything of a patient; empty where all is well.
        code: the status of DIMSE or HTTP that said so; None where none came.
        path: where it was read from or written to; None for what was given as a dataset.
        size: bytes that went over the network.
    """

    number: int
    uid: str
    outcome: Outcome
    reason: str = ""
    code: int | None = None
    path: Path | None = field(default=None, repr=False)
    size: int = 0

    @property
    def done(self) -> bool:
        """Whether the object is where it should be."""
        return self.outcome in (Outcome.STORED, Outcome.ALREADY_THERE)


On = Callable[[Sent], None]
"""Told of each object as soon as it is known what became of it."""


@dataclass(frozen=True)
class Report:
    """What became of all of them.

    Attributes:
        sent: one for each object, in the order in which they were given.
    """

    sent: tuple[Sent, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many had an outcome."""
        return sum(one.outcome is outcome for one in self.sent)

    @property
    def done(self) -> bool:
        """Whether all are where they should be."""
        return all(one.done for one in self.sent)

    @property
    def reasons(self) -> dict[tuple[Outcome, str], int]:
        """What was said, and of how many: the commonest first."""
        counts = Counter((one.outcome, one.reason) for one in self.sent if one.reason)
        return dict(counts.most_common())

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values; no path but the file's own name, no UID."""
        return {
            **{str(outcome).replace(" ", "_"): self.count(outcome) for outcome in Outcome},
            "bytes": sum(one.size for one in self.sent),
            "objects": [
                {"number": one.number + 1, "outcome": str(one.outcome), "reason": one.reason, "code": one.code}
                for one in self.sent
            ],
        }
