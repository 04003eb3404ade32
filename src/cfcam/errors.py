"""Every error that cfcam raises on purpose: one line that says what was wrong, where, and what to do next."""

import errno
import operator
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any


class CfcamError(Exception):
    """Base of all cfcam errors; the message is one line, fit for a user's eyes."""


class MethodError(CfcamError, ValueError):
    """A method is unknown, its parameters are wrong, or it does not apply to this network."""


class LayerError(CfcamError, ValueError):
    """A target layer does not exist, has no spatial extent, or does not lead to the explained score."""


class TargetError(CfcamError, ValueError):
    """A target does not fit the batch or the network's classes."""


class InputError(CfcamError, ValueError):
    """An input tensor has a shape or a type that the network cannot be explained on."""


class OutputError(CfcamError, TypeError):
    """A network's output holds no tensor of class scores."""


class ImageError(CfcamError, ValueError):
    """A picture cannot be read, or is not one."""


class ModelError(CfcamError, ValueError):
    """A network or its weights cannot be loaded."""


class MissingExtraError(CfcamError, ImportError):
    """An optional library is not installed; the message names the command that installs it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        wanted = f"'cfcam[{extra}]'" if extra else library  # "": a library that no extra of ours brings
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install {wanted}")


class JobError(CfcamError, ValueError):
    """A run cannot be set up, or goes on no longer."""


class DiskError(JobError):
    """What a run writes into is full, read-only or gone: nothing more can be written, and the run ends.

    Args:
        folder: what it is called.
        cause: what the system says.
        advice: what is to be done first.

    Attributes:
        reason: that, in words.
    """

    def __init__(self, folder: object, cause: OSError | str, advice: str = "check the disk") -> None:
        self.reason = reason = cause if isinstance(cause, str) else cause.strerror or one_line(cause)
        super().__init__(
            f"{folder}: cannot be written into any more ({reason}): {advice}, then give the same command again, and it"
            " goes on where it stopped"
        )


class LinkError(DiskError):
    """A folder in an output is a link that leads out of it: nothing is written through it, and the run ends.

    Args:
        name: of the link, as the message calls it.

    Attributes:
        name: as given.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reason = f"{one_line(name)} is a link that leads out of the output folder"
        JobError.__init__(self, f"{self.reason}: nothing is written there; remove the link, or choose another output")


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or what it came from, is that a disk takes nothing more: full, or read-only by now."""
    while error is not None:
        if isinstance(error, DiskError) or (isinstance(error, OSError) and error.errno in _FULL):
            return True
        error = error.__cause__
    return False


def without_name(reason: object, *names: object) -> str:
    """Returns a reason without the input's name in front, for whoever names it himself.

    Args:
        reason: in words; what read a file begins with its path, in quotes if it cannot be printed, or with its name.
        *names: paths and names of the input.
    """
    said = str(reason)
    for name in names:
        for called in (str(name), repr(str(name)), PurePath(str(name)).name):
            if called:
                said = said.removeprefix(f"{called}: ")
    return said


def one_line(text: object, limit: int = 160) -> str:
    """Write ``text`` on one line of at most ``limit`` characters, all of which can be printed."""
    line = " ".join(str(text).split())
    if not line.isprintable():  # a file's bytes, in what a library says of them
        line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def describe(error: BaseException, limit: int = 240) -> str:
    """Write an exception as ``Type: message`` on one line."""
    message = one_line(error, limit)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def describe_first(error: BaseException, limit: int = 200) -> str:
    """Write an exception as ``Type: message`` with its message's first line alone: what follows is often a dump."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:limit]}" if first else type(error).__name__


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


def shown(value: object) -> str:
    """Write what was given as an argument in a few words: a short text or a number as it is, of all else its kind."""
    if value is None or isinstance(value, (str, bytes, int, float, complex)):
        return one_line(repr(value), 40)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    return f"a {kind}" if isinstance(value, (list, tuple, dict, set)) else f"an object of type {kind}"


def whole_number(value: Any, name: str, least: int | None = None, error: type[CfcamError] = InputError) -> int:
    """Return an argument as a whole number, also one of numpy's, of a tensor, or 2.0.

    Args:
        value: what was given.
        name: of the argument.
        least: the smallest that makes sense; None: any.
        error: what is raised.

    Raises:
        CfcamError: of the kind ``error``: it is something else, or too small.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
        if least is None or number >= least:
            return number
    except (TypeError, RuntimeError):  # torch's, of a tensor that is no whole number
        pass
    raise error(f"{name}={shown(value)}: give a whole number" + ("" if least is None else f", {least} or more"))


def seed_number(value: Any, error: type[CfcamError] = InputError) -> int:
    """Return a seed as a whole number that torch's generators take, the next one too.

    Raises:
        CfcamError: of the kind ``error``: it is something else, or too large.
    """
    number = whole_number(value, "seed", error=error)
    if not -(2**63) <= number < 2**63 - 1:
        raise error(f"seed={shown(value)}: give a whole number of at most 18 digits")
    return number


def check_text(value: Any, name: str, error: type[CfcamError] = InputError, *, meant: str = "a text") -> None:
    """Raise ``error`` for an argument that is no text.

    Args:
        value: what was given.
        name: of the argument.
        error: what is raised.
        meant: what is to be given, in words.
    """
    if not isinstance(value, str):
        raise error(f"{name} is {shown(value)}: give {meant}")


def check_whole(name: str, what: str, error: type[CfcamError]) -> None:
    """Raise ``error`` for a name with half of a surrogate pair: no file and no screen takes it.

    Args:
        name: that a user gave.
        what: it is of, in words.
        error: what is raised.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise error(f"{what} holds half of a character ({name!r}): give it as text in UTF-8")


def check_called(value: Any, name: str, meant: str, error: type[CfcamError] = InputError) -> None:
    """Raise ``error`` for an argument that cannot be called, or is a class.

    Args:
        value: what was given.
        name: of the argument.
        meant: what is to be given, in words.
        error: what is raised.
    """
    if isinstance(value, type) or not callable(value):
        raise error(f"{name} is {shown(value)}: give {meant}")
