"""What goes to the process that owns the networks, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A study to explain.

    Attributes:
        name: of the folder of its results.
        network: that explains it.
        files: of the study; several are a volume.
        volume: whether they are a series.
    """

    name: str
    network: str
    files: tuple[Path, ...]
    volume: bool


@dataclass(frozen=True)
class Rehearsal:
    """Asks that networks are loaded, and all that explains is used once, before there is a study."""


@dataclass(frozen=True)
class Written:
    """An object of a study that is still in the making.

    Attributes:
        name: of its result: below the folder of all results.
        file: where it lies until the study is done.
    """

    name: str
    file: Path


@dataclass(frozen=True)
class Answer:
    """What became of a study.

    Attributes:
        results: of each file its name in the folder of results, its UID ("" for what is no object), its kind.
        reason: why there are none; "" if there are.
        full: whether there are none because the disk is full.
        notes: what there is to know of them.
        troubles: what went wrong beside them.
        seconds: that the network and the maps took.
    """

    results: tuple[tuple[str, str, str], ...] = ()
    reason: str = ""
    full: bool = False
    notes: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    seconds: float = 0.0
