"""Where the numbers of a preparation came from, in words; what nobody stated is said to be assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

GIVEN: Final = "given"
ASSUMED: Final = "assumed"
"""How the source of a value begins that neither the user nor the network stated."""
NOT_STATED: Final = "not stated by the network"

IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def is_assumed(source: str | None) -> bool:
    """Tells whether a source says that nobody stated the value."""
    return source is not None and source.startswith(ASSUMED)


def why(source: str) -> str:
    """Returns what a source says of a value, without the word for it: "not stated by the network"."""
    return source.removeprefix(ASSUMED).removeprefix(": ") or NOT_STATED


def numbers(values: Sequence[float]) -> str:
    """Returns one number for equal ones, else all: "0.502", "0.485, 0.456, 0.406"."""
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)


def normalisation(mean: Sequence[float], std: Sequence[float]) -> str:
    """Returns a normalisation in words: "normalised with ImageNet's mean and SD"."""
    if (tuple(mean), tuple(std)) == IMAGENET:
        return "normalised with ImageNet's mean and SD"
    return f"normalised with mean {numbers(mean)} and SD {numbers(std)}"


def grouped(said: Sequence[tuple[str, Sequence[str]]], sources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs each phrase with the source of the values that it tells of; of several an assumed one.

    Args:
        said: phrase, and the fields that it tells of.
        sources: field -> source; a field that is not there was given.
    """
    found = []
    for phrase, fields in said:
        of = [sources.get(name, GIVEN) for name in fields]
        found.append((phrase, next((source for source in of if is_assumed(source)), of[0])))
    return found


def told(pairs: Sequence[tuple[str, str]]) -> str:
    """Returns what is done and who says so, in one line; phrases of one source stand together."""
    by_source: dict[str, list[str]] = {}
    for phrase, source in pairs:
        by_source.setdefault(source, []).append(phrase)
    return "; ".join(
        f"{', '.join(phrases)}: {why(source) if is_assumed(source) else source}"
        for source, phrases in by_source.items()
    )


def assumptions(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Returns a line for each thing that was done and that nobody stated."""
    return tuple(f"{phrase}: {why(source)}" for phrase, source in pairs if is_assumed(source))
