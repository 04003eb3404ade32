"""What a worker did with a part, written down step by step: it outlives the worker, and the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cfcam.errors import DiskError
from cfcam.files import check_inside
from cfcam.json_text import parse_line

FOLDER = ".cluster"
_BEGUN, _ENDED = "begun", "ended"
_NAMED = re.compile(r"[0-9a-f]{24}\.[0-9a-f]{8}\.[0-9]{1,6}\.jsonl", re.ASCII)


@dataclass
class Told:
    """What a journal tells.

    Attributes:
        ended: name -> what became of it, as the job wrote it.
        open: the names of what was begun and did not end; of what was lost alone, that one.
    """

    ended: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)


class Journal:
    """A file to which one worker adds lines; each attempt at a part has its own, as a lost worker may still write.

    Args:
        output: the output folder.
        part: its id.
        run: which run asked for it, eight hexadecimal digits: workers of one that was killed may live on for a moment.
        attempt: which attempt at it.
    """

    def __init__(self, output: Path, part: str, run: str, attempt: int) -> None:
        self._output = output
        self._path = output / FOLDER / f"{part}.{run}.{attempt}.jsonl"
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            check_inside(self._path)
            self._stream = self._path.open("wb", buffering=0)
        except OSError as cause:
            raise DiskError(self._output, cause) from cause
        return self

    def __exit__(self, _a: type[BaseException] | None, _b: BaseException | None, _c: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def begin(self, name: str) -> None:
        """Says that something is begun, and that nothing else is under way."""
        self._add({_BEGUN: name})

    def end(self, name: str, line: str) -> None:
        """Says what became of something; its files are on disk."""
        self._add({_ENDED: name, "line": line})

    def _add(self, values: dict[str, str]) -> None:
        if self._stream is None:
            raise ValueError("the journal is not open")
        try:
            self._stream.write(json.dumps(values).encode("ascii") + b"\n")
        except OSError as cause:
            raise DiskError(self._output, cause) from cause

    def read(self) -> Told:
        """Returns what it tells; nothing where it was never begun. A torn line is none."""
        return _told(self._path)

    def remove(self) -> None:
        """Removes it, once what it tells is entered."""
        self._path.unlink(missing_ok=True)


def journals(output: Path) -> Iterator[tuple[Path, Told]]:
    """Yields the journals that are there, each with what it tells."""
    for path in sorted((output / FOLDER).glob("*.jsonl")):
        if _NAMED.fullmatch(path.name):
            yield path, _told(path)


def _told(path: Path) -> Told:
    told = Told()
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return told
    for line in lines:
        values = parse_line(line) or {}
        name, ended, text = values.get(_BEGUN), values.get(_ENDED), values.get("line")
        if isinstance(name, str):
            told.open.append(name)
        elif isinstance(ended, str) and isinstance(text, str):
            told.ended[ended] = text
            told.open = [one for one in told.open if one != ended]
    return told
