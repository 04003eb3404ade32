"""A record's bytes, its hash, and the chain of hashes: no database here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from cfcam import json_text
from cfcam.clinical.audit.fields import EVENTS, Action, Code, DamagedError, Event

GENESIS = "0" * 64
"""The hash that the first record is chained to, and the head of an empty audit."""

_FORMAT = 1


class ChainRow(NamedTuple):
    """A record as it is stored.

    Attributes:
        sequence: 1, 2, 3, ... without gaps.
        body: canonical JSON; it holds the sequence and the hash of the record before.
        hash: SHA-256 of the body, 64 hexadecimal digits.
    """

    sequence: int
    body: str
    hash: str


@dataclass(frozen=True)
class Record:
    """One entry of the audit.

    Attributes:
        sequence: 1, 2, 3, ... without gaps.
        time: when it was written, in UTC.
        action: what was done.
        event: the DICOM audit event of the action (PS3.15 A.5).
        details: the fields, all of them of the allow-list.
        previous: hash of the record before.
        hash: SHA-256 of the record's canonical JSON.
    """

    sequence: int
    time: datetime
    action: Action
    event: Event
    details: Mapping[str, Any]
    previous: str
    hash: str

    @property
    def id(self) -> str:
        """Number and beginning of the hash: what a report prints to be found again."""
        return f"{self.sequence}-{self.hash[:12]}"


@dataclass(frozen=True)
class Verification:
    """What reading the whole chain has shown.

    Attributes:
        ok: every record is the one that was written, and the exported head, if one was given, is among them.
        count: number of records in order, counted from the first.
        head: hash of the last of them.
        first_bad: number of the first record that was changed or is missing.
        reason: what is wrong with it, in one line; empty if all is well.
    """

    ok: bool
    count: int
    head: str
    first_bad: int | None = None
    reason: str = ""


def digest(text: str) -> str:
    """Returns the SHA-256 of a text as UTF-8, bytes that were none kept as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def canonical(value: Any) -> str:
    """Returns JSON with sorted keys, no spaces and ASCII only: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def timestamp(time: datetime) -> str:
    """Returns a time in UTC with microseconds: text of one length, which sorts as time does."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_row(sequence: int, time: datetime, action: Action, details: Mapping[str, Any], previous: str) -> ChainRow:
    """Returns the row of a new record, chained to the one before."""
    event = EVENTS[action]
    body = canonical(
        {
            "format": _FORMAT,
            "sequence": sequence,
            "time": timestamp(time),
            "action": action.value,
            "event": {"id": event.id, "action_code": event.action_code, "type": event.type},
            "details": details,
            "previous": previous,
        }
    )
    return ChainRow(sequence, body, digest(body))


def read_row(row: ChainRow) -> Record:
    """Returns the record of a row.

    Raises:
        ValueError: the row was not written by ``make_row``.
    """
    try:
        read = json_text.parse(row.body, f"record {row.sequence}", then="restore it")
        event, time = read["event"], datetime.fromisoformat(read["time"])
        if time.tzinfo is None or not isinstance(read["details"], dict):
            raise ValueError("no time in UTC, or no details")
        return Record(
            sequence=row.sequence,
            time=time,
            action=Action(read["action"]),
            event=Event(Code(*event["id"]), event["action_code"], Code(*event["type"]) if event["type"] else None),
            details=read["details"],
            previous=read["previous"],
            hash=row.hash,
        )
    except (LookupError, TypeError, AttributeError, OverflowError) as problem:
        raise ValueError(f"no {problem}") from problem


def check(row: ChainRow, sequence: int, previous: str) -> tuple[int, str] | None:
    """Says what is wrong with a row.

    Args:
        row: the row that follows.
        sequence: the number that follows.
        previous: hash of the row before.

    Returns:
        The number of the bad record and the reason, or None.
    """
    if row.sequence != sequence:
        return sequence, f"record {sequence} is missing: {row.sequence} follows"
    if digest(row.body) != row.hash:
        return sequence, f"record {sequence} was changed: its text does not have its hash"
    try:
        record = read_row(row)
        inner = json_text.parse(row.body, f"record {row.sequence}")["sequence"]
    except (ValueError, LookupError, TypeError):
        return sequence, f"record {sequence} is not an audit record"
    if inner != sequence:
        return sequence, f"record {sequence} was moved: it was written as another one"
    if record.previous != previous:
        bad = max(sequence - 1, 1)
        return bad, f"record {bad} was rewritten or is not the first: record {sequence} was chained to another one"
    return None


def verify_rows(rows: Iterable[ChainRow], head: str | None = None) -> Verification:
    """Reads a chain from its beginning.

    Args:
        rows: all rows, in order.
        head: a hash that was exported earlier; the chain must still hold the record that has it.
    """
    count, before, last = 0, GENESIS, GENESIS
    seen = head in (None, GENESIS)
    try:
        for row in rows:
            bad = check(row, count + 1, last)
            if bad is not None:
                number, reason = bad
                return Verification(False, number - 1, last if number > count else before, number, reason)
            before, last, count = last, row.hash, count + 1
            seen = seen or row.hash == head
    except DamagedError as problem:
        return Verification(False, count, last, count + 1, f"record {count + 1} cannot be fetched: {problem}")
    if not seen:
        reason = (
            f"the exported head {head} is not in the chain of {count} records:"
            " the last ones were deleted, or the chain was written anew"
        )
        return Verification(False, count, last, count + 1, reason)
    return Verification(True, count, last)
