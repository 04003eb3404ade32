"""Arrays, iterators and the like: a copy stands in for each while a pass runs."""

from __future__ import annotations

import array
import copy
import itertools
import re
import sys
from collections.abc import Iterator
from typing import Any

from cfcam.errors import CfcamError


def is_array(value: Any) -> bool:
    """Tells whether something is changed in place and must be copied for that: arrays, bytes, iterators."""
    if type(value) in (bytearray, array.array):
        return True
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


_COPIED = frozenset(
    {"list_iterator", "list_reverseiterator", "tuple_iterator", "range_iterator", "longrange_iterator", "arrayiterator"}
    | {"str_iterator", "str_ascii_iterator", "bytes_iterator", "bytearray_iterator"}
)


class OnlyOnce:
    """Stands for a generator, or another iterator that cannot be copied, while a pass runs.

    Args:
        kind: what it is.
        name: where it is.
    """

    def __init__(self, kind: str, name: str) -> None:
        self._what = f"the {kind} {name!r}"

    def __iter__(self) -> OnlyOnce:
        return self

    def __next__(self) -> Any:
        raise CfcamError(
            f"forward takes the next of {self._what}, which can be neither copied nor put back, so that no two passes"
            " would see the same network: give it a list and a place in it"
        )

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return lambda *args: next(self)  # send, throw, close


def twin(value: Any, name: str = "") -> Any:
    """Returns a copy of an array or the like; of an iterator that has none what refuses to be used, see `OnlyOnce`."""
    if type(value) is itertools.count:  # copying one is deprecated; what it says of itself is all that it is
        numbers = re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", repr(value))
        return itertools.count(*(float(n) if set(n) & set(".e") else int(n) for n in numbers))
    if isinstance(value, Iterator) and type(value).__name__ not in _COPIED:
        return OnlyOnce(type(value).__name__, name)
    return copy.copy(value)
