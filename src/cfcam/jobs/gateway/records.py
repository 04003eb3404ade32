"""What the index of a spool holds: objects, studies, and their results."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cfcam.jobs.gateway.header import Header

BUNDLE = "fhir"
"""Kind of the result that is a Bundle, for a FHIR server."""

ROOT = "ko"
"""Kind of the result that names all others of its study."""


class State(StrEnum):
    """How far a study is, which one network explains."""

    COMPLETE = "complete"
    WORKING = "working"
    RESULTS = "results"
    DELIVERED = "delivered"
    DEAD = "dead"


class Has(StrEnum):
    """How far an object is."""

    WAITING = "waiting"  # for others of its series
    TAKEN = "taken"  # by a study
    DONE = "done"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Entry:
    """An object in the spool."""

    header: Header
    sha256: str
    size: int
    sender: str


@dataclass(frozen=True)
class Task:
    """A study that one network explains.

    Attributes:
        id: its neutral name.
        unit: key of the object, or of the series.
        volume: whether it is a series.
        network: that explains it.
        rule: by which it does.
        round: how often it was explained before, with fewer objects.
        state: how far it is.
        tries: how often it was tried.
        reason: why it failed.
    """

    id: str
    unit: str
    volume: bool
    network: str
    rule: str
    round: int = 0
    state: str = State.COMPLETE
    tries: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """Of the folder of its results."""
        return f"{self.id}-{self.round}"


@dataclass(frozen=True)
class Result:
    """An object of a study's results, or another file.

    Attributes:
        file: its place below the folder of results.
        task: the study.
        uid: of the object; "" for what is none, and stays here.
        kind: of object.
        tries: to deliver it.
    """

    file: str
    task: str
    uid: str
    kind: str
    tries: int = 0
