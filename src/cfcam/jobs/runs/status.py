"""How far a run is, from its output folder alone: of one that runs, was stopped, or is shared out among shards."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cfcam.errors import InputError
from cfcam.files import lines_of
from cfcam.jobs.evaluate.rows import FILE_NAME as ROWS
from cfcam.jobs.evaluate.rows import Part
from cfcam.jobs.inputs.run_file import NAME, entered_in, newest
from cfcam.jobs.inputs.shard import all_of
from cfcam.jobs.runs.manifest import FILE_NAME as MANIFEST
from cfcam.locks import at_work

_KINDS_SHOWN = 20
_DIGITS = 18  # of a count
_PLACE = re.compile(
    r"[/\\]|\.\w{1,8}$|^(line|entry) \d+$"
)  # such as a mask's path: what is wrong there stands behind it


class RunState(StrEnum):
    """Whether somebody is at work."""

    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"


@dataclass(frozen=True)
class Share:
    """One shard of a job, or all of it.

    Attributes:
        shard: which, as ``2/8``; "" the whole.
        state: of its run.
        inputs: that it has.
        settled: of them, with maps or failed, as its own file says; of a run that skipped what was done, less.
        rate: inputs a second since it began; 0 unknown.
        started: when, ISO 8601, UTC.
    """

    shard: str
    state: RunState
    inputs: int
    settled: int
    rate: float
    started: str


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        job: "explain" or "evaluate".
        state: running if any share is; finished if all inputs are settled.
        inputs: of the job, and those of earlier ones with the same settings, whose results lie beside its own.
        done: with maps, or numbers.
        failed: recorded as failed.
        rate: inputs a second, of what runs, else of what ran; 0 unknown.
        seconds_left: at that rate; None unless it runs and the rate is known.
        failures: kind of failure -> how many, the most first.
        shares: of shards, in their order; of a single run one.
        slowest: the stage that took most of the time, once a run has ended; "" unknown.
        stages: seconds of all threads by stage, likewise.
    """

    job: str
    state: RunState
    inputs: int
    done: int
    failed: int
    rate: float
    seconds_left: float | None
    failures: dict[str, int]
    shares: tuple[Share, ...]
    slowest: str
    stages: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """Returns the status as plain values."""
        return asdict(self)


def status(output: Path) -> Status:
    """Reads how far the newest run in a folder or a store is; nothing is written, and no run is disturbed.

    Raises:
        InputError: nothing of a run is there.
    """
    lines = ROWS if all_of(output / ROWS) else MANIFEST
    key = newest(output)
    if key is None and (torn := all_of(output / NAME)):
        raise InputError(f"{torn[0]}: holds no runs, or is broken: give the run's command again, which writes it anew")
    if key is None:
        raise InputError(f"{output}: no run has begun here: give the output folder of cfcam explain or evaluate")
    files = {path: entered_in(path) for path in all_of(output / NAME)}
    runs = [(path, entries[key]) for path, entries in files.items() if key in entries]
    held = {holder.part for holder in at_work(output)}
    settled: dict[str, str | None] = {}  # input -> why it failed; None: it did not
    gone = {str(one) for _, entry in runs for one in _list(entry.get("gone"))}  # failed before, asked for no more
    counts = {path.name: _count(path, lines, key, settled, gone) for path in all_of(output / lines)}
    shares: list[Share] = []
    for path, entry in runs:
        shard = str(entry.get("shard", ""))
        file = output / lines if not shard else output / path.name.replace("run.", f"{Path(lines).stem}.", 1)
        file = file.with_suffix(".jsonl")
        held_now = shard.replace("/", "-of-") in held
        shares.append(_share(entry, shard, held_now, counts.get(file.name, (0, 0)), file))
    failed = {source: reason for source, reason in settled.items() if reason is not None}
    inputs = max([_int(entry.get("of_inputs", entry.get("inputs"))) + _int(entry.get("others")) for _, entry in runs])
    running = [share for share in shares if share.state is RunState.RUNNING]
    state = RunState.RUNNING if running else RunState.FINISHED if len(settled) >= inputs else RunState.STOPPED
    rate = sum(share.rate for share in running or shares)
    last = max((entry for _, entry in runs), key=lambda entry: str(entry.get("finished", "")))
    kinds = Counter(map(_kind, failed.values()))
    stages = _seconds(last.get("stages"))
    slowest = str(last.get("slowest", ""))
    return Status(
        "evaluate" if lines == ROWS else "explain",
        state,
        inputs,
        len(settled) - len(failed),
        len(failed),
        round(rate, 3),
        round((inputs - len(settled)) / rate, 1) if running and rate > 0 else None,
        dict(kinds.most_common(_KINDS_SHOWN)),
        tuple(sorted(shares, key=lambda share: _int(share.shard.partition("/")[0] or 0))),
        slowest if stages.get(slowest) else "",
        stages,
    )


def _count(path: Path, lines: str, key: str, settled: dict[str, str | None], gone: Container[str]) -> tuple[int, int]:
    """Enters the inputs that a file has lines of; returns how many, and how many lines."""
    inputs = count = 0
    for line in lines_of(path):
        values = line.values or {}
        if lines == MANIFEST and values.get("settings") == key:
            count += 1
            if (source := str(values.get("input"))) in gone:
                continue
            reason = values.get("error") if values.get("status") == "failed" else None
            settled[source] = reason if reason is None else str(reason)
            inputs += 1
        elif lines == ROWS and (part := Part.parse(values)) is not None:
            names = {row.image for row in part.rows}
            settled.update(dict.fromkeys(names) | part.failed)
            inputs, count = inputs + len(names | part.failed.keys()), count + 1
    return inputs, count


def _share(entry: Mapping[str, Any], shard: str, running: bool, counted: tuple[int, int], file: Path) -> Share:
    inputs, settled, lines = _int(entry.get("inputs")), *counted
    if not shard:
        inputs += _int(entry.get("others"))
    if running:
        state, until = RunState.RUNNING, datetime.now(UTC).timestamp()
    else:
        state = RunState.FINISHED if entry.get("complete") else RunState.STOPPED
        until = _moment(entry.get("finished")) or (file.stat().st_mtime if file.exists() else 0.0)  # of a killed one
    started = str(entry.get("started", ""))
    elapsed = until - (_moment(started) or until)
    new = settled * (1 - min(1.0, _int(entry.get("earlier")) / lines)) if lines else 0.0
    return Share(shard, state, inputs, settled, round(new / elapsed, 3) if elapsed > 0 else 0.0, started)


def _int(value: Any) -> int:
    text = str(value) if isinstance(value, (int, str)) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def _moment(value: Any) -> float | None:
    """Seconds since 1970; None where an entry does not say it."""
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError):
        return None


def _seconds(stages: Any) -> dict[str, float]:
    """What an entry says of its stages."""
    told = stages.items() if isinstance(stages, dict) else ()
    return {name: float(spent) for name, spent in told if isinstance(spent, (int, float)) and 0 <= spent < math.inf}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _kind(reason: str) -> str:
    """A failure without what is this input's own: a place in front, brackets, quotes, what follows a colon, numbers."""
    plain = re.sub(r"\s*\((?:[^()]|\([^()]*\))*\)|'[^']*'|\"[^\"]*\"", "", reason)
    first, colon, rest = plain.partition(": ")
    if colon and _PLACE.search(first):
        first = rest.partition(": ")[0]
    return " ".join(re.sub(r"\d+", "N", first).split()) or "no reason was entered"
