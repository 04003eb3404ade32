"""The manifest: one JSON line for each picture of a run, and what a later run may therefore leave alone."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from cfcam.errors import DiskError
from cfcam.files import sha256_of, stays_inside, write_whole
from cfcam.jobs.index.glance import Glance
from cfcam.jobs.inputs.shard import Shard, all_of, beside
from cfcam.json_text import parse_line

FILE_NAME = "manifest.jsonl"


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
    """

    index: int
    label: str
    probability: float | None
    maps: dict[str, str]
    where: str = ""
    margin: float | None = None


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
        scale: of the overlays of a picture that was larger than they may be, less than 1; 1 for all others. Maps and
            numbers are of the picture as it is.
        glance: what the page of the run shows of it at first; None without a page.
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

    @classmethod
    def parse(cls, line: bytes) -> Record | None:
        """Returns the record in a line; None for one that is torn or no record, or that names what lies elsewhere.

        What a line of an earlier cfcam lacks is empty, and what a later one added is passed over.
        """
        try:
            values = parse_line(line)
            if values is None:
                return None
            values["targets"] = tuple(Explained(**_known(Explained, target)) for target in values["targets"])
            values["status"] = State(values["status"])
            values["left_out"] = tuple(values.get("left_out", ()))
            values["notices"] = tuple(values.get("notices", ()))
            values["probabilities"] = {str(name): float(p) for name, p in values.get("probabilities", {}).items()}
            values["glance"] = _glance(values.get("glance"))
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
        values = asdict(self)
        for name in ("left_out", "probabilities", "glance"):
            if not values[name]:
                del values[name]
        if self.scale == 1:
            del values["scale"]
        return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"


def _glance(values: dict[str, Any] | None) -> Glance | None:
    if not values:
        return None
    known = _known(Glance, values)
    return Glance(**known | {"peak": None if known.get("peak") is None else tuple(known["peak"])})


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


@dataclass
class Manifest:
    """The manifest of an output folder, appended to line by line.

    A record is superseded by a later one of the same picture with the same settings, or that wrote the same
    files; a failure is superseded by any later record. Superseded and torn lines are removed when the
    manifest is opened and closed; in between only whole lines are added.

    A shard of a run has a manifest of its own beside those of the others, which it reads and leaves as they are. A
    whole run takes in what shards have written, and removes their manifests when it closes its own.

    Attributes:
        folder: the output folder.
        shard: whose lines are written; None: those of a whole run.
        records: in the order in which they were entered.
        others: those of other shards, and of whole runs, where a shard is at work.
    """

    folder: Path
    shard: Shard | None = None
    records: list[Record] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)
    _taken_in: list[Path] = field(default_factory=list)
    _done: dict[tuple[str, str], Record] = field(default_factory=dict)
    _stream: IO[bytes] | None = None

    @classmethod
    def open(cls, folder: Path, shard: Shard | None = None) -> Manifest:
        """Reads the manifest of a folder, if there is one, and makes it ready for new lines."""
        manifest = cls(folder, shard)
        torn = False
        for path in all_of(folder / FILE_NAME):
            records, broken = _read(path)
            mine = path == manifest.path
            torn |= mine and broken
            (manifest.others if shard is not None and not mine else manifest.records).extend(records)
            if shard is None and not mine:
                manifest._taken_in.append(path)
        manifest._tidy(torn=torn)
        manifest._done = {
            (r.name, r.settings): r for r in (*manifest.others, *manifest.records) if r.status is State.DONE
        }
        return manifest

    @classmethod
    def read(cls, folder: Path) -> list[Record]:
        """Returns the records of a folder's manifest that are not superseded; nothing is written.

        Raises:
            OSError: it cannot be read.
        """
        found = all_of(folder / FILE_NAME) or [folder / FILE_NAME]
        return _latest([record for path in found for record in _read(path)[0]])

    @property
    def path(self) -> Path:
        """The manifest's file."""
        return beside(self.folder / FILE_NAME, self.shard)

    def find(self, name: str, settings: str) -> Record | None:
        """Returns the record of a name done with these settings; its input and files are still to be compared."""
        return self._done.get((name, settings))

    def append(self, record: Record) -> None:
        """Adds a line, and hands it to the operating system at once.

        Raises:
            DiskError: it cannot be written, or the file is not where it was.
        """
        try:
            if self._stream is None:
                self._stream = self.path.open("ab", buffering=0)
            line = record.line()
            if self._stream.write(line) < len(line):  # the next write would say why, and leave a torn line before it
                raise DiskError(self.folder, os.strerror(errno.ENOSPC))
            if not os.path.samestat(os.fstat(self._stream.fileno()), self.path.stat()):
                raise DiskError(self.folder, "another file lies where the manifest was")
        except OSError as cause:
            raise DiskError(self.folder, cause) from cause
        self.records.append(record)

    def close(self, order: Sequence[str] = ()) -> None:
        """Closes the file, and removes what was superseded, and what shards had written of it.

        Args:
            order: names, in whose order the lines are put if there were shards: a single run would have written so.
        """
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._taken_in:
            place = {name: number for number, name in enumerate(order)}
            self.records.sort(key=lambda record: place.get(record.name, -1))
            self._tidy(torn=True)
            for path in self._taken_in:
                path.unlink(missing_ok=True)
        else:
            self._tidy()

    def _tidy(self, *, torn: bool = False) -> None:
        kept = _latest(self.records)
        if torn or (len(kept) < len(self.records) and not self._taken_in):
            try:
                write_whole(self.path, b"".join(record.line() for record in kept))
            except OSError as cause:
                raise DiskError(self.folder, cause) from cause
        self.records = kept


def _read(path: Path) -> tuple[list[Record], bool]:
    """The records of a file, and whether it holds torn lines."""
    data = path.read_bytes()
    parsed = [Record.parse(line) for line in data.split(b"\n") if line]
    return [record for record in parsed if record is not None], None in parsed or not data.endswith(b"\n")


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


def verified(record: Record, folder: Path) -> bool:
    """Tells whether all files of a record are in the folder, as they were written."""
    try:
        return all(sha256_of(folder / name) == digest for name, digest in record.files.items())
    except OSError:
        return False


def stands(record: Record, digest: Callable[[], str], folder: Path) -> bool:
    """Tells whether a record still holds: its input and its files are as they were.

    Args:
        record: of an input that was explained.
        digest: returns the SHA-256 that the input would have, if it was read.
        folder: of the files.
    """
    try:
        same = record.sha256 == digest()
    except Exception:  # noqa: BLE001 (whatever it is, reading the input will meet it too, and say so)
        return False
    return same and verified(record, folder)
