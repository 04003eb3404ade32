"""Whether a command that was given before finds everything as it left it, before torch is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.cli.options.network import DEMOS

if TYPE_CHECKING:
    from cfcam.jobs.runs.reads import Reads
    from cfcam.jobs.runs.unchanged import Unchanged

_NO_SAY = frozenset({"paths", "quiet", "debug", "log_json"})
"""Options that change neither the files nor which there are."""


def note_of(command: Any, sources: list[Path]) -> Unchanged | None:
    """Returns the note that a command leaves, and looks for; None where it is to do more than to explain what is left.

    Args:
        command: a `cfcam.cli.explain.Explain`, as it was typed.
        sources: what its inputs are found in.
    """
    more = (
        *(command.overwrite, command.verify, command.shard, command.as_json, command.ensemble, command.study()),
        command.by_region,  # label maps are found for each input
    )
    if any(more):
        return None
    from cfcam.jobs.runs.unchanged import Unchanged

    options = {one.name: getattr(command, one.name) for one in fields(command) if one.name not in _NO_SAY}
    named = list(_files(options))
    if any(path.is_dir() for path in named):  # a network in a folder: what it is made of is for its library to say
        return None
    return Unchanged(command.store or command.output, tuple(sources), command.recursive, options, tuple(named))


@contextmanager
def watched(note: Unchanged | None) -> Iterator[Reads | None]:
    """Looks at the inputs before they are read, and takes down what is read meanwhile to load a network."""
    if note is None:
        yield None
        return
    from cfcam.jobs.runs.reads import reads

    note.begin()
    with reads() as found:
        yield found


def left_by(command: Any, note: Unchanged | None, read: Reads | None) -> dict[str, Any]:
    """Returns what a run is to be told, so that it leaves the note at its end.

    Args:
        command: that began it.
        note: from `note_of`.
        read: what was read to load its network. Nothing is left where files may have had a say that nobody knows of:
            all must be among what was read and what is named, or cfcam's own.
    """
    if note is None or read is None:
        return {}
    named = command.spec in DEMOS or str(command.weights or "").endswith(".safetensors")
    if not (read.complete or named):
        return {}
    return {"at_end": lambda count: note.write(count, read.files())}


def _files(options: dict[str, Any]) -> Iterator[Path]:
    """The files and folders that options name, but the output."""
    for name, value in options.items():
        if name in ("output", "store"):
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, (str, Path)) and one:
                for text in {str(one), str(one).partition(":")[0], str(one).partition(":")[2]}:
                    try:
                        if text and Path(text).exists():
                            yield Path(text).absolute()
                    except (OSError, ValueError):
                        continue
