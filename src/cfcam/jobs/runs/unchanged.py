"""Whether anything has changed since a run ended with all done; told without reading an input or loading a network.

A run that ends so leaves a note of what the system said then of all that had a say: of the inputs, of the files that
the network and its code came from, of what the run has written, and the command itself. Where all of this is as it was,
the same command would find the same inputs done; where something is not, or cannot be told, it finds out as ever.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam._version import __version__
from cfcam.errors import CfcamError
from cfcam.files import is_past, is_settled, stamp_of, write_whole
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.inputs.lists import is_list
from cfcam.locks import is_lock

FILE_NAME = ".unchanged.json"
_FORMAT = 1
_BITS = 2**128


@dataclass
class Unchanged:
    """The note of a run; see this module.

    Attributes:
        output: folder of the run.
        sources: what its inputs are found in.
        recursive: whether sub-folders of these are searched.
        options: all other values of the command that have a say.
        files: further files that have a say, such as those that the options name.
    """

    output: Path
    sources: tuple[Path, ...]
    recursive: bool
    options: Mapping[str, Any]
    files: tuple[Path, ...] = ()
    _begun: str | None = field(default=None, init=False)

    def inputs(self) -> int | None:
        """Returns how many inputs are done, if nothing has changed; None where that cannot be told."""
        try:
            note = json_text.read(self._path)
            if not isinstance(note, dict) or (note.get("cfcam_unchanged"), note.get("command")) != (_FORMAT, self._key):
                return None
            known = note["files"]
            if any(list(stamp_of(file)) != stamp for file, stamp in known.items()):
                return None
            if note["output"] != self._written() or note["sources"] != self._seen():
                return None
            return int(note["inputs"])
        except (CfcamError, OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def begin(self) -> None:
        """Looks at the inputs before any of them is read; what changes from here on is not told of as unchanged."""
        self._begun = self._seen()

    def write(self, inputs: int, files: Iterable[str]) -> None:
        """Leaves the note, if it can be told that the inputs are still as they were when the run began.

        Args:
            inputs: how many there are, all of them done.
            files: that the network and its code came from.

        Raises:
            OSError: it cannot be written.
        """
        if self._begun is None or self._begun != self._seen():
            return
        stamps = {str(file): stamp_of(file) for file in sorted({*files, *map(str, self.files)})}
        if not all(map(is_settled, stamps.values())):
            return
        note = {
            "cfcam_unchanged": _FORMAT,
            "command": self._key,
            "inputs": inputs,
            "sources": self._begun,
            "output": self._written(),
            "files": stamps,
        }
        write_whole(self._path, json.dumps(note).encode("ascii"))

    @property
    def _path(self) -> Path:
        return self.output / FILE_NAME

    @property
    def _key(self) -> str:
        said = {name: repr(value) for name, value in sorted(self.options.items())}
        where = [str(Path.cwd()), __version__, sys.version, sys.prefix, *map(str, self.sources), str(self.recursive)]
        return hashlib.sha256(json.dumps([said, where]).encode()).hexdigest()

    def _seen(self) -> str | None:
        """What the system says of the sources; None where it says too little, or something is of just now."""
        try:
            return self._told()
        except OSError:  # a link to nothing, or a folder that may not be read
            return None

    def _told(self) -> str | None:
        total = latest = 0
        for source in self.sources:
            if isinstance(source, Elsewhere) or is_list(source):
                return None
            places = [source] if source.exists() else sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207 (as where inputs are found)
            if not places:
                return None
            for place in places:
                for name, found in _below(place, deeper=self.recursive, but=self.output):
                    total += _number(name, found)
                    latest = max(latest, found.st_mtime_ns, found.st_ctime_ns)
        return f"{total % _BITS:032x}" if is_past(latest) else None

    def _written(self) -> str:
        """What the system says of all that lies in the output folder, but this note and what holds the folder."""
        there = _below(self.output, deeper=True)
        total = sum(_number(name, found) for name, found in there if not _is_own(name) and stat.S_ISREG(found.st_mode))
        return f"{total % _BITS:032x}"


def _is_own(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last == FILE_NAME or is_lock(last)


def _below(place: Path, *, deeper: bool, but: Path | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Yields what is at a place and in it; a folder in a folder is looked into only if that is asked for."""
    found = place.stat()
    if not stat.S_ISDIR(found.st_mode):
        yield str(place), found
        return
    left_out = None if but is None else os.path.realpath(but)
    waiting = [str(place)]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                inside = entry.stat()
                if stat.S_ISDIR(inside.st_mode):
                    if left_out is not None and os.path.realpath(entry.path) == left_out:
                        continue
                    if deeper:
                        waiting.append(entry.path)
                yield entry.path, inside


def _number(name: str, found: os.stat_result) -> int:
    """A number for what the system says of a file; these are added up, since folders are listed in any order."""
    text = f"{name}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest(), "big")
