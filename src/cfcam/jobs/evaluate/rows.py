"""The file that an evaluation grows line by line, and from which one that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cfcam.errors import JobError
from cfcam.files import Line, append_line, as_line, check_inside, lines_of, settings_hash, whole
from cfcam.jobs.inputs.shard import Shard, all_of, beside, parts_of
from cfcam.json_text import parse_line
from cfcam.metrics.scorecard.samples import Row

FILE_NAME = "rows.jsonl"
_FORMAT = 1


@dataclass(frozen=True)
class Part:
    """What became of one batch of cases: one line of the file.

    Attributes:
        key: what the numbers of the batch depend on, hashed.
        rows: one per image and method.
        failed: name of a case -> why it has no rows.
        notes: name of a case -> what the user should know about it.
    """

    key: str
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None) -> Part | None:
        """Returns the part in the values of a line; None of a line that is torn, or none of ours."""
        try:
            assert values is not None  # noqa: S101 (a torn line)
            key, failed, notes = values["key"], dict(values["failed"]), dict(values["notes"])
            part = cls(key, [Row(**row) for row in values["rows"]], failed, notes)
        except (AssertionError, KeyError, TypeError, ValueError):
            return None
        told = [key, *failed, *failed.values(), *notes, *(line for lines in notes.values() for line in _list(lines))]
        return part if all(isinstance(one, str) for one in told) and all(map(_is_ours, part.rows)) else None

    def tells_of(self, names: Iterable[str]) -> bool:
        """Tells whether it says what became of each of these cases, and of no other."""
        return {row.image for row in self.rows} | self.failed.keys() == set(names) >= self.notes.keys()

    def as_values(self) -> dict[str, Any]:
        """Returns what `parse` takes."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if not row["notes"]:  # most have none, and an earlier cfcam reads them without
                del row["notes"]
        return {"key": self.key, "rows": rows, "failed": self.failed, "notes": self.notes}


_NUMBER, _PERHAPS = (int, float), (str, type(None))


def _is_ours(row: Row) -> bool:
    """Tells whether a row that was read holds what rows hold; spelt out, as there may be half a million of them."""
    texts = type(row.image) is type(row.method) is type(row.target_name) is type(row.status) is str
    more = isinstance(row.patient, _PERHAPS) and isinstance(row.group, _PERHAPS) and row.correct in (None, True, False)
    numbers = type(row.target) is int and isinstance(row.probability, _NUMBER)
    held = type(row.values) is type(row.extra) is dict and type(row.notes) is list
    return texts and more and numbers and held and all(isinstance(value, _NUMBER) for value in row.values.values())


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [None]


class RowsFile:
    """``rows.jsonl`` of an output folder: a header with the set-up, then a line for each batch.

    A shard has a file of its own beside those of the others, which it reads and leaves as they are; `join` makes one
    of all.

    Args:
        folder: the output folder.
        setup: plain values: everything that the numbers depend on, apart from the cases.
        overwrite: begin anew, whatever is there.
        shard: whose lines are written; None: those of a whole run.

    Attributes:
        path: the file.
        fingerprint: SHA-256 of the set-up.
        costs: method -> what it costs, once that was measured.

    Raises:
        JobError: the folder holds an evaluation of another set-up, or the file is none of ours.
    """

    def __init__(
        self, folder: Path, setup: Mapping[str, Any], *, overwrite: bool = False, shard: Shard | None = None
    ) -> None:
        self.path = beside(folder / FILE_NAME, shard)
        self._all = folder / FILE_NAME
        self._setup = json.loads(json.dumps(setup, default=str))
        self.fingerprint = settings_hash(self._setup)
        self.costs: dict[str, dict[str, float]] | None = None
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._seen: dict[Path, tuple[int, int]] = {}  # time and size of the files when they were read
        if overwrite:
            self._begin()
        else:
            self.refresh()

    def refresh(self) -> None:
        """Reads what is there by now, for another run may have been at work since.

        Raises:
            JobError: it is of another set-up.
        """
        there = {path: (state.st_mtime_ns, state.st_size) for path in all_of(self._all) if (state := path.stat())}
        if there and there == self._seen:  # a hundred thousand pictures have a hundred megabytes of rows
            return
        self._places, self.costs, self._seen = {}, None, there
        for path in there:
            self._resume(path)
        if not self.path.exists() or not self.path.stat().st_size:
            self._begin_file()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def own(self) -> int:
        """How many batches stand in this file, not in those of shards beside it."""
        return sum(path == self.path for path, _, _ in self._places.values())

    def append(self, part: Part) -> None:
        """Adds a part, and hands it to the operating system at once."""
        added = append_line(self.path, part.as_values())
        self._places[part.key] = (self.path, added.start, added.length)

    def set_costs(self, costs: dict[str, dict[str, float]]) -> None:
        """Keeps what the methods cost, which is measured once for a run."""
        self.costs = costs
        append_line(self.path, {"costs": costs})

    def read(self, key: str) -> Part:
        """Returns a part that is in the file.

        Raises:
            JobError: somebody else has changed the file since.
        """
        if (part := Part.parse(parse_line(self._line(key)))) is None:
            raise JobError(f"{self.path}: was changed meanwhile: give the same command again")
        return part

    def known(self, key: str, names: Iterable[str]) -> Part | None:
        """Returns what became of these cases; None where that is not known: a stranger's line under their key is none.

        Args:
            key: of their batch.
            names: of all of them.
        """
        part = Part.parse(parse_line(self._line(key))) if key in self else None
        return part if part is not None and part.tells_of(names) else None

    def join(self, keys: Iterable[str]) -> None:
        """Takes in what shards have written: the file is then the one that a single run would have written.

        Args:
            keys: of the batches, in the order of such a run.
        """
        parts = parts_of(self._all)
        if not parts:
            return
        with whole(self._all) as temporary, temporary.open("xb") as file:
            file.write(self._header())
            for number, key in enumerate(key for key in keys if key in self):
                file.write(self._line(key))
                if number == 0 and self.costs is not None:
                    file.write(as_line({"costs": self.costs}))
        for part in parts:
            part.unlink(missing_ok=True)
        self.refresh()

    def _line(self, key: str) -> bytes:
        path, start, length = self._places[key]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def _begin(self) -> None:
        self._places, self.costs = {}, None
        for path in [self.path, *(parts_of(self._all) if self.path == self._all else [])]:
            path.unlink(missing_ok=True)
        self._begin_file()

    def _begin_file(self) -> None:
        check_inside(self.path)
        with self.path.open("wb") as file:
            file.write(self._header())

    def _header(self) -> bytes:
        return as_line({"format": _FORMAT, "fingerprint": self.fingerprint, "setup": self._setup})

    def _resume(self, path: Path) -> None:
        """Reads what is there; of this one's own file it cuts off what follows the last whole line."""
        lines = lines_of(path)
        first = next(lines, None)
        end = 0
        if first is not None:
            header = first.values
            if header is None or "fingerprint" not in header:
                raise JobError(f"{path}: is not written by cfcam evaluate: choose another --output folder")
            if header["fingerprint"] != self.fingerprint:
                there = header.get("setup")
                raise JobError(self._other_setup(there if isinstance(there, dict) else {}))
            end = first.length
        for line in lines:
            end = line.start + line.length
            self._note(path, line)
        if path == self.path and end < path.stat().st_size:
            with path.open("r+b") as file:
                file.truncate(end)

    def _note(self, path: Path, line: Line) -> None:
        values = line.values or {}
        if (costs := values.get("costs")) is not None:
            self.costs = costs if _are_costs(costs) else self.costs
        elif isinstance(key := values.get("key"), str):  # what else it holds is looked at where it is used
            self._places[key] = (path, line.start, line.length)

    def _other_setup(self, there: Mapping[str, Any]) -> str:
        keys = [key for key in self._setup | dict(there) if self._setup.get(key) != there.get(key)]
        shown = ", ".join(keys) or "the version"
        return (
            f"{self.path.parent}: holds an evaluation with another set-up (other: {shown}): choose another --output"
            " folder, or give --overwrite to begin anew"
        )


def _are_costs(values: Any) -> bool:
    known = values.values() if isinstance(values, dict) else [None]
    return all(isinstance(one, dict) and all(isinstance(cost, _NUMBER) for cost in one.values()) for one in known)
