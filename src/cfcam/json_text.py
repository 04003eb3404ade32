"""JSON that comes from outside, read at one place: bounded in size and depth, finite, each key once, all of it text.

The parser of the standard library takes what it is given: a few bytes that ask for as many calls as there are brackets,
numbers with more digits than may be converted, the second of two equal keys without a word, halves of characters that
can never be written. Here they are refused, with the file and the place in it.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NoReturn

from cfcam.bounded import read_bounded
from cfcam.errors import CfcamError, InputError, one_line

LARGEST: Final = 64 * 2**20
"""Bytes of a document, where its reader states no other limit."""
DEEPEST: Final = 64
"""Arrays and objects inside of each other; what cfcam writes has 12 at most."""
MOST_VALUES: Final = 4_000_000
"""Values of a document: each costs a hundred bytes of memory and more, and as few as two in the file."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # possessive: never tried again
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NUMBERS_TO_CHECK: Final = re.compile(rb"\d{40}|[eE]\+?\d{3}|Infinity")
_LONGEST_NUMBER: Final = 400
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def read(
    path: Path,
    error: type[CfcamError] = InputError,
    *,
    shown: str = "",
    then: str = "correct it",
    largest: int = LARGEST,
    finite: bool = True,
) -> Any:
    """Returns the values in a JSON file.

    Args:
        path: the file, in UTF-8.
        error: what is raised.
        shown: what messages call the file; "" its name, for its folders may name a patient.
        then: what messages say is to be done; "" nothing, for a caller that says it.
        largest: the bytes that it may have.
        finite: whether Infinity is refused. NaN is taken in any case.

    Raises:
        CfcamError: of the kind ``error``, with the place in the file: it is missing, cannot be read, is too large or
            no JSON, or is JSON that `parse` refuses.
    """
    shown = shown or path.name
    text = read_bounded(path, largest, error, shown=shown)
    return parse(text, shown, error, then=then, largest=largest, finite=finite)


def parse(
    text: bytes | str,
    shown: str,
    error: type[CfcamError] = InputError,
    *,
    then: str = "correct it",
    largest: int = LARGEST,
    finite: bool = True,
) -> Any:
    """Returns the values in JSON; see `read` for the arguments.

    Raises:
        CfcamError: of the kind ``error``: it is no JSON, too large, nested deeper than `DEEPEST`, has more values than
            `MOST_VALUES`, a key twice in one object, a number that no float64 holds, or half of a surrogate pair.
    """

    def refuse(what: str) -> NoReturn:
        raise error(f"{shown}: {what}; {then}" if then else f"{shown}: {what}")

    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > largest:
        refuse(f"is larger than such a file can be ({largest / 2**20:.3g} MiB)")
    _bounded(data, refuse)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse(f"holds the key {one_line(twice, 60)!r} twice in one object")
        return found

    hooks: dict[str, Any] = {}
    if _NUMBERS_TO_CHECK.search(data):
        hooks = {"parse_int": _whole(refuse), "parse_float": _float(refuse, finite=finite)}
        hooks |= {"parse_constant": _constant(refuse)} if finite else {}
    try:
        values = json.loads(data.decode("utf-8-sig"), object_pairs_hook=once, **hooks)
    except UnicodeDecodeError as cause:
        refuse(f"is no UTF-8 text (byte {cause.start + 1})")
    except json.JSONDecodeError as cause:
        refuse(f"is no JSON (line {cause.lineno}, column {cause.colno}: {cause.msg})")
    except RecursionError:  # little is left of the stack where this was called
        refuse("is nested too deeply")
    if _HALF.search(data) and not _is_text(values):
        refuse("holds half of a surrogate pair, which is no character")
    return values


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Returns the object in a line that a run wrote; None where it is torn or none.

    Half of a surrogate pair is taken here: so Python writes names of files that are not in the system's encoding.
    """
    if len(line) > LARGEST or (line.count(b"[") + line.count(b"{") > DEEPEST and _deepest(line) > DEEPEST):
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _bounded(data: bytes, refuse: Any) -> None:
    opened = data.count(b"[") + data.count(b"{")
    if opened + data.count(b",") > MOST_VALUES:
        refuse(f"holds more values than such a file can ({MOST_VALUES / 1e6:.0f} million)")
    if opened > DEEPEST and (deepest := _deepest(data)) > DEEPEST:
        refuse(f"is nested {deepest} deep, {DEEPEST} are allowed")


def _deepest(data: bytes) -> int:
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _whole(refuse: Any) -> Any:
    def read_whole(digits: str) -> int:
        if len(digits) > _LONGEST_NUMBER or not math.isfinite(float(digits)):
            refuse(f"holds a number of {len(digits)} digits, more than can be calculated with")
        return int(digits)

    return read_whole


def _float(refuse: Any, *, finite: bool) -> Any:
    def read_float(digits: str) -> float:
        number = float(digits)
        if finite and not math.isfinite(number):
            refuse(f"holds the number {one_line(digits, 20)}, which is larger than can be calculated with")
        return number

    return read_float


def _constant(refuse: Any) -> Any:
    def read_constant(name: str) -> float:
        if name != "NaN":
            refuse(f"holds {name}, which is no number to calculate with")
        return math.nan

    return read_constant


def _is_text(values: Any) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
