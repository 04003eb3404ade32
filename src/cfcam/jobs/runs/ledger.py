"""The lines of manifests: what becomes one, and where they lie, so that a line is read when it is asked for."""

from __future__ import annotations

import json
import re
import threading
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from cfcam.jobs.inputs.marks import alone

# There is one way to read a string: nothing is tried twice. Possessive loops around groups fail in Python 3.11.2.
_STRING = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_HEAD = re.compile(rb'\{"input":%b(?:,"(?!name")[a-z0-9]+":(?:null|%b))*,"name":%b' % (_STRING, _STRING, _STRING))
_ESCAPE = b"\\"


class Entry(Protocol):
    """What becomes a line."""

    @property
    def input(self) -> str:
        """How the manifest knows the input."""

    @property
    def name(self) -> str:
        """What the names of the input's files begin with."""

    def line(self) -> bytes:
        """Returns the line, with its line feed."""


@dataclass(frozen=True)
class Written:
    """The line of a record that this process need not read; see `Entry`.

    Attributes:
        input: how the manifest knows the input.
        name: what the names of its files begin with.
        text: the line.
    """

    input: str
    name: str
    text: bytes

    def line(self) -> bytes:
        """Returns the line."""
        return self.text


class Ledger:
    """The lines of some files, in the order in which they were entered: some thirty bytes each.

    Input and name of a line are known by their hashes alone; whoever finds a line by them reads it and looks.
    """

    def __init__(self) -> None:
        self.files: list[Path] = []
        self._of, self._starts, self._lengths = array("I"), array("Q"), array("I")
        self._inputs, self._names = array("q"), array("q")
        self._open: dict[int, IO[bytes]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._starts)

    def of(self, number: int) -> Path:
        """Returns the file of a line."""
        return self.files[self._of[number]]

    def enter(self, file: Path, start: int, length: int, source: str, name: str) -> None:
        """Enters a line.

        Args:
            file: that has it.
            start: where it begins, in bytes.
            length: of it, with the line feed.
            source: how the manifest knows its input.
            name: what the names of the input's files begin with.
        """
        if file not in self.files[-1:]:
            self.files.append(file)
        self._of.append(len(self.files) - 1)
        self._starts.append(start)
        self._lengths.append(length)
        self._inputs.append(hash(source))
        self._names.append(hash(name))

    def line(self, number: int) -> bytes:
        """Reads a line.

        Raises:
            OSError: it cannot be read.
        """
        of = self._of[number]
        with self._lock:
            if of not in self._open:
                self._open[of] = self.files[of].open("rb")
            self._open[of].seek(self._starts[number])
            return self._open[of].read(self._lengths[number])

    def has_name(self, number: int, name: str) -> bool:
        """Tells whether a line has a name."""
        return self._names[number] == hash(name)

    def inputs(self) -> NDArray[np.int64]:
        """Returns the hash of each line's input."""
        return np.array(self._inputs, dtype=np.int64)

    def names(self) -> NDArray[np.int64]:
        """Returns the hash of each line's name."""
        return np.array(self._names, dtype=np.int64)

    def several(self) -> list[list[int]]:
        """Returns the lines whose name others have too, by name, the first entered first."""
        names = self.names()
        ordered = np.sort(names)
        if not (ordered[1:] == ordered[:-1]).any():  # as ever but where something was done again
            return []
        places = np.flatnonzero(~alone(names))
        order = places[np.argsort(names[places], kind="stable")]
        ends = np.flatnonzero(np.diff(names[order])) + 1
        return [group.tolist() for group in np.split(order, ends) if len(group)]

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()


def head(line: bytes) -> tuple[str, str] | None:
    """Returns input and name of a line that a run wrote, by its first values alone; None where it is another.

    A line that begins so may still be none; that shows once it is read.
    """
    if not line.endswith(b"}\n") or (found := _HEAD.match(line)) is None:
        return None
    try:
        return _text(found[1]), _text(found[3])
    except ValueError:
        return None


def _text(quoted: bytes) -> str:
    if _ESCAPE in quoted:
        return str(json.loads(b'"' + quoted + b'"'))
    return quoted.decode("ascii")
