"""``run.json``: what a folder's runs were asked for, when they began and how they ended; each shard has its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam.files import write_whole
from cfcam.jobs.inputs.shard import Shard, all_of, beside, parts_of

NAME = "run.json"


def entered_runs(output: Path, shard: Shard | None = None) -> dict[str, Any]:
    """Returns the runs that an output folder, or one shard's file in it, knows: hash of the settings -> entry.

    A whole run knows of those of shards.
    """
    path = output / NAME
    runs: dict[str, Any] = {}
    for one in all_of(path) if shard is None else [beside(path, shard)]:
        runs |= entered_in(one)
    return runs


def write_runs(output: Path, lines: str, runs: Mapping[str, Any], shard: Shard | None = None) -> None:
    """Writes the runs of an output folder; a whole run's file takes the place of those of shards.

    Args:
        output: the folder.
        lines: name of the file that has a line for each input, or for each batch.
        runs: hash of the settings -> entry.
        shard: whose runs they are.
    """
    path, manifest = (beside(output / name, shard) for name in (NAME, lines))
    write_whole(path, json.dumps({"format": 1, "manifest": manifest.name, "runs": runs}, indent=1).encode())
    for part in parts_of(path) if shard is None else ():
        part.unlink(missing_ok=True)


def begin(output: Path, lines: str, settings: str, entry: Mapping[str, Any], shard: Shard | None = None) -> None:
    """Enters a run that begins, behind all others: clocks are set back, so that its moment does not tell its place.

    Args:
        output: the folder.
        lines: see `write_runs`.
        settings: hash of its settings.
        entry: what it is; the moment is added.
        shard: whose run it is.
    """
    runs = entered_runs(output, shard)
    runs.pop(settings, None)
    write_runs(output, lines, runs | {settings: {"started": now(), **entry}}, shard)


def newest(output: Path) -> str | None:
    """Returns the hash of the settings of the run that began last, by its place; None where there is none.

    A whole run takes in the files of shards when it begins: those that are there are of later ones.
    """
    shards = parts_of(output / NAME)
    for path in reversed(all_of(output / NAME)):
        if (not shards or path in shards) and (runs := entered_in(path)):
            return next(reversed(runs))
    return None


def entered_in(path: Path) -> dict[str, Any]:
    """Returns the runs in one such file, in the order in which they began; none where it is no such file."""
    try:
        runs = dict(json_text.read(path, finite=False)["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(key): entry for key, entry in runs.items() if isinstance(entry, dict)}


def finish(output: Path, lines: str, settings: str, values: Mapping[str, Any], shard: Shard | None = None) -> None:
    """Adds to a run's entry how it ended; where the folder went away meanwhile, others say so."""
    runs = entered_runs(output, shard)
    if settings in runs:
        runs[settings] |= {"finished": now(), **values}
        with suppress(OSError):
            write_runs(output, lines, runs, shard)


def now() -> str:
    """Returns the moment as it stands in the file."""
    return datetime.now(UTC).isoformat(timespec="seconds")
