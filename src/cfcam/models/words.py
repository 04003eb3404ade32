"""Short words for one-line messages: a name from a file may be long, or hold line breaks."""

from collections.abc import Iterable
from difflib import get_close_matches


def one_line(text: object, limit: int = 160) -> str:
    """Write ``text`` on one line of at most ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def describe(error: BaseException, limit: int = 240) -> str:
    """Write an exception as ``Type: message`` on one line."""
    message = one_line(error, limit)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def few(names: Iterable[str], count: int = 3) -> str:
    """List the first ``count`` names and say how many more there are."""
    everything = list(names)
    listed = ", ".join(one_line(name, 80) for name in everything[:count])
    return listed if len(everything) <= count else f"{listed} and {len(everything) - count} more"


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Find the names that look like ``name``, whatever their case."""
    by_lower: dict[str, str] = {}
    for known in names:
        by_lower.setdefault(known.lower(), known)
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]
