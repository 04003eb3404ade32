"""What is kept of the outcomes of a run, to be told at its end: numbers, and as many as are shown."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfcam.jobs import Outcome

ROWS_SHOWN = 20
FAILURES_SHOWN = 10


@dataclass
class Tally:
    """What became of the pictures of a run; it does not grow with their number, unless all are asked for.

    Attributes:
        keep: whether all outcomes are kept.
        seconds: duration of the run, without loading the network.
        outcomes: one for each picture, in order, if they are kept.
        shown: the first with maps.
        failed: the first that failed.
        rows: classes of all pictures with maps.
        placed: whether it is known of any where its map points.
        notices: what is to be known of how pictures were read: the first picture's name, and of how many it is said.
        told: notes that were shown while the run went on.
        read: bytes of JPEGs, once for each overlay that was written of them as PNG.
        written: bytes of these overlays.
    """

    keep: bool = False
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    shown: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    rows: int = 0
    placed: bool = False
    notices: dict[str, tuple[str, int]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    read: int = 0
    written: int = 0
    _counts: Counter[str] = field(default_factory=Counter)
    _folder: str | None = None
    _several: bool = False

    def add(self, outcome: Outcome) -> None:
        """Takes in what became of the next picture."""
        self._counts[outcome.status] += 1
        if self.keep:
            self.outcomes.append(outcome)
        if outcome.status == "failed" and len(self.failed) < FAILURES_SHOWN:
            self.failed.append(outcome)
        if outcome.targets:
            self._show(outcome)
        for notice in outcome.notices:
            name, count = self.notices.get(notice, (outcome.path.name, 0))
            self.notices[notice] = name, count + 1
        if outcome.files and outcome.status == "done" and outcome.path.suffix.lower() in (".jpg", ".jpeg"):
            overlays = [f for f in outcome.files if f.suffix == ".png" and not f.name.endswith("_sheet.png")]
            self.written += sum(map(_size, overlays))
            self.read += _size(outcome.path) * len(overlays)

    def _show(self, outcome: Outcome) -> None:
        if self.rows < ROWS_SHOWN:
            self.shown.append(outcome)
        self.rows += len(outcome.targets)
        self.placed |= any(target.where for target in outcome.targets)
        if not self._several:
            folder = os.path.dirname(outcome.path)  # noqa: PTH120 (paths are slow, and tiny pictures many)
            self._several = self._folder is not None and folder != self._folder
            self._folder = folder

    @property
    def news(self) -> list[str]:
        """What is to be known of how pictures were read and was not shown while the run went on, a line each."""
        lines = []
        for notice, (name, count) in self.notices.items():
            line = f"{name}: {notice}"
            of_one = count == 1 and any(note.startswith(f"{line} (") for note in self.told)
            if line not in self.told and not of_one:
                lines.append(f"{name} and {count - 1} more: {notice}" if count > 1 else line)
        return lines

    @property
    def several(self) -> bool:
        """Whether those with maps lie in several folders."""
        return self._several

    def count(self, state: str) -> int:
        """Number of pictures in a state."""
        return self._counts[state]

    @property
    def rate(self) -> float:
        """Pictures explained in a second."""
        return self.count("done") / self.seconds if self.seconds > 0 else 0.0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it went away meanwhile
        return 0
