"""What the name of a file says of the modality in it, and whether that is the channel which the file was put into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_NUMBER: Final = re.compile(r"_(\d{4})$")
# What one modality is called by scanners, data sets and people: BraTS has t1n, t1c, t2w, t2f, MSD has T1gd, FLAIR.
_SAME: Final = {
    name: names[0]
    for names in (
        ("t1", "t1w", "t1n", "t1weighted", "t1native", "t1pre"),
        ("t1ce", "t1c", "t1cw", "t1gd", "t1post", "t1contrast", "t1km"),
        ("t2", "t2w", "t2weighted"),
        ("flair", "t2f", "t2flair", "flairt2"),
        ("dwi", "hbv", "diffusion"),
        ("pet", "pt", "fdg", "suv"),
        ("ct", "cect"),
    )
    for name in names
}
_MOST_WORDS: Final = 3  # of a name that is written apart, such as t1_ce


def contradictions(files: Sequence[str], channels: Sequence[str]) -> tuple[str, ...]:
    """Returns a line for each file whose name speaks of another channel than the one that it is.

    A name speaks of a channel by one of its words (``t2``, ``t2w``, ``T1_ce``), and, where none of the files' names
    does, by a number at its end: ``scan_0001``. What all files have in common says nothing of any of them.

    Args:
        files: their names without folder and ending, a channel each.
        channels: what the channels are, in the same order.
    """
    called = [_plain(name) for name in channels]
    said = _by_words(files, called)
    if not any(said):
        said = _by_numbers(files, called)
    return tuple(
        f"the file name {file} speaks of channel {min(of)} ({channels[min(of)]}), and is read as channel {n}"
        f" ({channels[n]}): check the order of the files"
        for n, (file, of) in enumerate(zip(files, said, strict=True))
        if of and n not in of
    )


def _by_words(files: Sequence[str], called: Sequence[str]) -> list[set[int]]:
    """The channels whose name stands in each file's, and in another file's not."""
    words = [_words(file) for file in files]
    common = set.intersection(*words) if len(words) > 1 else set()
    found = []
    for own in words:
        of = {name for name in map(_plain, own - common) if name in called}
        longest = {name for name in of if not any(name != other and name in other for other in of)}
        found.append({n for n, name in enumerate(called) if name in longest})
    return found


def _by_numbers(files: Sequence[str], called: Sequence[str]) -> list[set[int]]:
    """The channels by the numbers at the files' ends, where these are those of all channels."""
    ends = [_NUMBER.search(file) for file in files]
    numbers = [int(end[1]) for end in ends if end is not None]
    return [{n} for n in numbers] if sorted(numbers) == list(range(len(called))) else [set() for _ in files]


def _words(name: str) -> set[str]:
    """The words of a name, and two or three of them that follow each other as one."""
    parts = re.findall(r"[a-z0-9]+", name.casefold())
    return {
        "".join(parts[start : start + length])
        for length in range(1, _MOST_WORDS + 1)
        for start in range(len(parts) - length + 1)
    }


def _plain(name: str) -> str:
    """A name in small letters and digits, the same for all that one modality is called."""
    letters = "".join(re.findall(r"[a-z0-9]+", name.casefold()))
    return _SAME.get(letters, letters)
