"""A share of a job: which inputs one of several machines takes, and what its files beside the others' are called.

Who takes an input follows from its own place alone, so that machines agree without a word, in whatever order they find
the inputs, and wherever each of them has the folder. What is done is asked of all files in the output folder, whoever
wrote them: a job that was begun as eight shards may go on as four, or as one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.inputs.find import Input

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)
_NAMED = re.compile(r"[1-9][0-9]{0,5}-of-[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One of several shares of a job.

    Attributes:
        number: which, from 1.
        count: of how many.

    Raises:
        InputError: there is no such share.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            of = self.count
            raise InputError(f"there is no shard {self.number} of {of}: the shards of {of} are 1/{of} to {of}/{of}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Returns the shard that is written as ``2/8``.

        Raises:
            InputError: it is none.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no shard: give which, and of how many, such as 1/4")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """What its files are told apart by: ``2-of-8``."""
        return f"{self.number}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, identity: str) -> bool:
        """Tells whether it has what is so called; of all shards of one count exactly one has."""
        digest = hashlib.sha256(identity.encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def content_path(source: Input) -> str:
    """Returns an input's place below the folder that was named: the same on all machines, wherever that folder is."""
    return str(source.folder / source.path.name)


def part_of(shard: Shard | None) -> str:
    """Returns what of an output folder a shard holds for itself, see `cfcam.locks.alone_in`; "" for the whole."""
    return "" if shard is None else shard.name


def beside(file: Path, shard: Shard | None) -> Path:
    """Returns what a shard writes in place of a file of the whole job: ``manifest.2-of-8.jsonl``."""
    return file if shard is None else file.with_name(f"{file.stem}.{shard.name}{file.suffix}")


def parts_of(file: Path) -> list[Path]:
    """Returns what shards have written in place of a file of the whole job, in the order of their names."""
    if not file.parent.is_dir():
        return []
    found = file.parent.glob(f"{file.stem}.*{file.suffix}")
    return sorted(part for part in found if _NAMED.fullmatch(part.name[len(file.stem) + 1 : -len(file.suffix)]))


def all_of(file: Path) -> list[Path]:
    """Returns a file of the whole job, if it is there, and those of its shards: what was written to last comes last."""
    found = [*([file] if file.exists() else []), *parts_of(file)]
    return sorted(found, key=lambda one: one.stat().st_mtime_ns)
