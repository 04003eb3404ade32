"""The manifest: one JSON line for each picture of a run, and what a later run may therefore leave alone."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import DiskError
from cfcam.files import Stamp, check_inside, stays_inside, whole
from cfcam.jobs.index.glance import Glance
from cfcam.jobs.inputs.marks import Lookup, hashes
from cfcam.jobs.inputs.shard import Shard, all_of, beside
from cfcam.jobs.runs.ledger import Entry, Ledger, head
from cfcam.json_text import parse_line
from cfcam.stages import WRITE, stage

FILE_NAME = "manifest.jsonl"
_ENCODED = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # plain values: none is in itself


class State(StrEnum):
    """What became of a picture."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class Explained:
    """One explained class of one picture.

    Attributes:
        index: the class.
        label: its name.
        probability: in [0, 1]; None where the network's scores are no probabilities.
        maps: method -> status of its map, "ok" or why there is none.
        where: of a study, in which part of the picture the first method's map is hottest, and how steady that is.
        margin: of a contrast ("a vs b"), how far the logit of the first class lies above that of the second; else None.
        box: of a detector, corners x0, y0, x1, y1 in pixels of the picture; None: no box is explained.
        regions: method -> what lies in each region of the input, as `cfcam.maps.RegionShare` has it; {} if not asked.
    """

    index: int
    label: str
    probability: float | None
    maps: dict[str, str]
    where: str = ""
    margin: float | None = None
    box: tuple[float, ...] | None = None
    regions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A line of the manifest.

    Attributes:
        input: absolute path of the picture.
        sha256: SHA-256 of the picture; None if it could not be read.
        status: "done" or "failed".
        error: why it failed, one line.
        name: what the names of its files begin with.
        layer: the layer that was mapped.
        targets: the explained classes.
        files: file, relative to the output folder -> SHA-256.
        seconds: time from the start of reading to the last file on disk.
        settings: SHA-256 over everything that changes the pictures; its meaning stands in ``run.json``.
        cfcam: version that wrote the line.
        left_out: which DICOM objects were asked for and not written of this input, and why.
        notices: what a user should know of how the picture was read and prepared.
        probabilities: name of each class of the network -> its probability, in the order of the classes; empty where
            the network's output is no vector of classes, for a failure, and in lines that an earlier cfcam wrote.
        scale: of the overlays of a picture larger than they may be, less than 1; else 1. Numbers are of the picture.
        glance: what the page of the run shows of it at first; None without a page.
        channels: of a study of several files, each channel's name and the name of its file; empty for all others.
        stamps: of the input ("") and of each of the files, see `cfcam.files.stamp_of`, as they were when their hashes
            were taken; empty where these say too little, as of a folder of slices.
    """

    input: str
    sha256: str | None
    status: State
    error: str | None
    name: str
    layer: str
    targets: tuple[Explained, ...]
    files: dict[str, str]
    seconds: float
    settings: str
    cfcam: str
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    glance: Glance | None = None
    channels: tuple[tuple[str, str], ...] = ()
    stamps: dict[str, Stamp] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: bytes) -> Record | None:
        """Returns the record in a line; None for one that is torn or no record, or that names what lies elsewhere.

        What a line of an earlier cfcam lacks is empty, and what a later one added is passed over.
        """
        try:
            if (values := parse_line(line)) is None:
                return None
            values["targets"] = tuple(Explained(**_known(Explained, target)) for target in values["targets"])
            values["status"] = State(values["status"])
            for name, kind in (("left_out", str), ("notices", str), ("channels", tuple)):
                values[name] = tuple(map(kind, values.get(name, ())))
            values["probabilities"] = {str(name): float(p) for name, p in values.get("probabilities", {}).items()}
            values["glance"] = _glance(values.get("glance"))
            values["stamps"] = {name: _stamp(stamp) for name, stamp in values.get("stamps", {}).items()}
            record = cls(**_known(cls, values))
            return record if record._stays_inside() else None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def _stays_inside(self) -> bool:
        """Whether nothing that it names leads out of the output folder: a later run writes and reads there."""
        names = [self.name, *self.files, *(self.glance.files if self.glance else ())]
        texts = (self.input, self.settings, *self.files.values())
        return all(map(stays_inside, names)) and all(isinstance(text, str) for text in texts)

    def line(self) -> bytes:
        """Returns the record as one line of JSON, in ASCII."""
        values = dict(vars(self))  # asdict would copy each value that is in it, which takes longer than all the rest
        values["targets"] = [
            {name: value for name, value in vars(target).items() if value or name not in ("regions", "box")}
            for target in self.targets
        ]
        values["glance"] = self.glance and asdict(self.glance)
        empty = [name for name in ("left_out", "probabilities", "glance", "channels", "stamps") if not values[name]]
        for name in empty + ["scale"] * (self.scale == 1):
            del values[name]
        return _ENCODED(values).encode("ascii") + b"\n"


def _glance(values: dict[str, Any] | None) -> Glance | None:
    if not values:
        return None
    known = _known(Glance, values)
    return Glance(**known | {"peak": None if known.get("peak") is None else tuple(known["peak"])})


def _stamp(values: Any) -> Stamp:
    size, content, entry, number = map(int, values)
    return size, content, entry, number


@cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(one.name for one in fields(kind))


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = _names(kind)
    return values if values.keys() <= names else {name: value for name, value in values.items() if name in names}


class Manifest:
    """The manifest of an output folder, appended to line by line.

    A record is superseded by a later one of the same picture with the same settings, or that wrote the same
    files; a failure is superseded by any later record. Superseded and torn lines are removed when the
    manifest is opened and closed; in between only whole lines are added.

    A shard of a run has a manifest of its own beside those of the others, which it reads and leaves as they are. A
    whole run takes in what shards have written, and removes their manifests when it closes its own.

    A line is read when it is asked for; what is held of each is where it lies.

    Args:
        folder: the output folder.
        shard: whose lines are written; None: those of a whole run.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self.folder, self.shard = folder, shard
        self._taken_in: list[Path] = []
        self._stream: IO[bytes] | None = None
        self._fill([])

    @classmethod
    def open(cls, folder: Path, shard: Shard | None = None) -> Manifest:
        """Reads the manifest of a folder, if there is one, and makes it ready for new lines."""
        manifest = cls(folder, shard)
        paths = all_of(folder / FILE_NAME)
        if shard is None:
            manifest._taken_in = [path for path in paths if path != manifest.path]
        else:  # of two lines the shard's own counts
            paths.sort(key=manifest.path.__eq__)
        torn = manifest._fill(paths)
        if manifest.path in torn or (manifest._dead and not manifest._taken_in):
            manifest._rewrite(n for n in manifest._own() if manifest._ledger.of(n) == manifest.path)
            manifest._fill(paths)
        return manifest

    @classmethod
    def read(cls, folder: Path) -> list[Record]:
        """Returns the records of a folder's manifest that are not superseded; nothing is written.

        Raises:
            OSError: it cannot be read.
        """
        manifest = cls(folder)
        manifest._fill(all_of(folder / FILE_NAME) or [folder / FILE_NAME])
        return list(manifest.records)

    @property
    def path(self) -> Path:
        """The manifest's file."""
        return beside(self.folder / FILE_NAME, self.shard)

    def __len__(self) -> int:
        return sum(1 for _ in self._own())

    @property
    def records(self) -> Iterator[Record]:
        """Reads the lines one by one, in the order in which they were entered, but those of other shards."""
        return filter(None, map(self._record, self._own()))

    @property
    def others(self) -> Iterator[Record]:
        """Reads the lines of other shards, and of whole runs, where a shard is at work."""
        return filter(None, (self._record(n) for n in range(len(self._ledger)) if not self._is_own(n)))

    def find(self, name: str, settings: str) -> Record | None:
        """Returns the record of a name done with these settings; its input and files are still to be compared.

        It is looked for among what was there when the manifest was opened.
        """
        return self._last(self._by_name(name), name, settings, done=True)

    def is_done(self, source: str, sha256: str, settings: str) -> bool:
        """Tells whether an input with this content was done with these settings, likewise."""
        found = None
        for line in self._by_input(source):
            values = {} if line in self._dead else parse_line(self._ledger.line(line)) or {}
            if values.get("input") == source and values.get("settings") == settings and values.get("status") == "done":
                found = values.get("sha256")
        return found == sha256

    def index(self) -> Callable[[str, str], Record | None]:
        """Returns what finds the last record of a name with some settings, whatever became of it, up to now."""
        places = Lookup(self._ledger.names())
        return lambda name, settings: self._last(places(name), name, settings)

    def names_of(self, sources: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, str]]:
        """Returns what is known of names that inputs have.

        Args:
            sources: hash of each input that is asked for.

        Returns:
            For each the number of its last line, -1 if there is none, see `name_of`; and of all other inputs the names.
        """
        lines = Lookup(self._ledger.inputs()).last(sources)
        return lines, {record.input: record.name for record in self.strangers(sources)}

    def strangers(self, sources: NDArray[np.int64]) -> Iterator[Record]:
        """Reads the lines of other inputs than those of these hashes."""
        numbers = np.flatnonzero(~np.isin(self._ledger.inputs(), sources)).tolist()
        return filter(None, map(self._record, numbers))

    def name_of(self, line: int, guess: str) -> str | None:
        """Returns the name in a line, which is read unless it has the name that is guessed; None if it is no record."""
        if self._ledger.has_name(line, guess):
            return guess
        record = self._record(line)
        return None if record is None else record.name

    def append(self, *records: Entry) -> None:
        """Adds lines, and hands them to the operating system at once.

        Raises:
            DiskError: they cannot be written, or the file is not where it was, or leads out of the folder.
        """
        check_inside(path := self.path)
        whole_of_it = b"".join(lines := [record.line() for record in records])
        try:
            if self._stream is None:
                self._stream = path.open("ab", buffering=0)
                self._end = self._stream.tell()
            if self._stream.write(whole_of_it) < len(whole_of_it):  # the next write would say why, after a torn line
                raise DiskError(self.folder, os.strerror(errno.ENOSPC))
            if not os.path.samestat(os.fstat(self._stream.fileno()), path.stat()):
                raise DiskError(self.folder, "another file lies where the manifest was")
        except OSError as cause:
            raise DiskError(self.folder, cause) from cause
        for record, line in zip(records, lines, strict=True):
            self._ledger.enter(path, self._end, len(line), record.input, record.name)
            self._end += len(line)

    def close(self, order: Iterable[str] = ()) -> None:
        """Closes the file, and removes what was superseded, and what shards had written of it.

        Args:
            order: names, in whose order the lines are put if there were shards: a single run would have written so.
        """
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._bury()
        if self._taken_in:
            lines, names = list(self._own()), self._ledger.names()
            place = Lookup(hashes(order)).last(names[lines])
            self._rewrite(lines[n] for n in np.argsort(place, kind="stable"))
            for path in self._taken_in:
                path.unlink(missing_ok=True)
            self._taken_in = []
        elif self._dead:
            self._rewrite(self._own())
        else:
            return
        self._fill([self.path])

    def _fill(self, paths: Sequence[Path]) -> set[Path]:
        """Reads where the lines of files lie; returns the files that hold torn ones."""
        self._ledger, self._dead, torn = Ledger(), set[int](), set[Path]()
        for path in paths:
            place = 0
            with path.open("rb") as file:
                for line in file:
                    if (known := head(line)) is not None or (known := _input_and_name(line)) is not None:
                        self._ledger.enter(path, place, len(line), *known)
                    if (known is None and line != b"\n") or not line.endswith(b"\n"):
                        torn.add(path)
                    place += len(line)
        self._by_name, self._by_input = Lookup(self._ledger.names()), Lookup(self._ledger.inputs())
        self._bury()
        return torn

    def _bury(self) -> None:
        """Finds what is superseded; only lines of one name can be."""
        for lines in self._ledger.several():
            own = [n for n in lines if self._is_own(n) and n not in self._dead]
            records = {n: record for n in own if (record := self._record(n)) is not None}
            kept = set(map(id, _latest(list(records.values()))))
            self._dead.update(n for n, record in records.items() if id(record) not in kept)

    def _is_own(self, line: int) -> bool:
        return self.shard is None or self._ledger.of(line) == self.path

    def _own(self) -> Iterator[int]:
        return (n for n in range(len(self._ledger)) if n not in self._dead and self._is_own(n))

    def _record(self, line: int) -> Record | None:
        if line in self._dead:
            return None
        record = Record.parse(self._ledger.line(line))
        if record is None:
            self._dead.add(line)
        return record

    def _last(self, lines: Iterable[int], name: str, settings: str, *, done: bool = False) -> Record | None:
        found = None
        for record in filter(None, map(self._record, lines)):
            if record.name == name and record.settings == settings and (record.status is State.DONE or not done):
                found = record
        return found

    def _rewrite(self, lines: Iterable[int]) -> None:
        """Writes the file anew, of these lines."""
        try:
            with stage(WRITE), whole(self.path) as temporary, temporary.open("xb") as stream:
                for line in lines:
                    stream.write(self._ledger.line(line).rstrip(b"\n") + b"\n")
        except OSError as cause:
            raise DiskError(self.folder, cause) from cause


def _input_and_name(line: bytes) -> tuple[str, str] | None:
    record = Record.parse(line)
    return None if record is None else (record.input, record.name)


def _latest(records: list[Record]) -> list[Record]:
    kept: list[Record] = []
    later: dict[str, list[Record]] = {}
    for record in reversed(records):
        after = later.setdefault(record.name, [])
        if after and record.status is State.FAILED:
            continue
        if all(r.settings != record.settings and record.files.keys().isdisjoint(r.files) for r in after):
            kept.append(record)
            after.append(record)
    return kept[::-1]
