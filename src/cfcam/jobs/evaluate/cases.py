"""What is evaluated, in which order, and how far that is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cfcam.errors import JobError
from cfcam.jobs.inputs.ground_truth import Notice
from cfcam.metrics.scorecard.samples import Sample


class Loadable(Protocol):
    """A case: `cfcam.jobs.cases.case.Case`, or anything like it."""

    @property
    def name(self) -> str:
        """What to call it in the tables."""

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on, as plain values."""

    def load(self, preprocess: Any, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Reads the case; see `cfcam.jobs.cases.case.load_case`. ``preprocess`` is one of pictures, or of volumes."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, in cases.

    Attributes:
        done: with numbers or failed, those of an earlier run included.
        total: of the run.
        failed: among the ones done.
        earlier: done by an earlier run.
        failures: of the batch just done, why: name -> reason.
    """

    done: int
    total: int
    failed: int
    earlier: int
    failures: Mapping[str, str] = field(default_factory=dict)

    def numbers(self) -> dict[str, int]:
        """Returns how many there are, as plain values."""
        return {"done": self.done, "total": self.total, "failed": self.failed, "earlier": self.earlier}


def drawn(cases: Sequence[Loadable], limit: int | None, seed: int) -> list[Loadable]:
    """Returns cases in an order that depends on their names and the seed only; the first of them, if there is a limit.

    Raises:
        JobError: there are none.
    """
    if not cases:
        raise JobError("there are no cases to evaluate")

    def place(case: Loadable) -> str:
        return hashlib.sha256(f"{seed} {case.name}".encode(errors="surrogatepass")).hexdigest()

    return sorted(cases, key=place)[:limit]
