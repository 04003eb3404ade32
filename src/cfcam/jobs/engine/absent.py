"""Targets that an image does not have, beside others that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cfcam.capture import NotPredictedError
from cfcam.errors import few
from cfcam.jobs.engine.batch import Batch, One


def of_those_there(
    explain: Callable[[list[Any]], list[One | str]], targets: Sequence[Any], error: Exception
) -> list[One | str]:
    """Explains an image for those of its targets that it has, and says of the others that it has them not.

    Args:
        explain: explains the image for some targets.
        targets: all that were asked for.
        error: that came of them.

    Returns:
        The image's explanation; [] where it has none of the targets, or the error is another.
    """
    rest, lines = list(targets), list[str]()
    while rest and isinstance(error, NotPredictedError):
        rest[error.rule : error.rule + 1] = error.there
        if not rest:
            break
        lines.append(line_of(error))
        try:
            found = explain(rest)
        except NotPredictedError as another:
            error = another
        else:
            return [one if isinstance(one, str) else _saying(one, lines) for one in found]
    return []


def line_of(error: NotPredictedError) -> str:
    """Returns what is said of targets that have no map, beside others that have one."""
    if not error.absent:
        return str(error)
    is_are, them = ("is", "it") if len(error.absent) == 1 else ("are", "them")
    return f"{few(error.absent)} {is_are} predicted nowhere in this image: there is no map of {them}"


def _saying(one: One, lines: Sequence[str]) -> One:
    whole = one.alone()
    own = whole.said[0] if whole.said else ()
    return One(Batch(replace(whole, said=((*lines, *own),))), 0)
