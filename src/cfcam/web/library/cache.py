"""What was read and is kept, up to so many bytes; what was used last stays longest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    size: int = 0
    there: bool = False


class Cache:
    """Keeps values by a key; may be used from several threads, of which one makes a value and the others wait for it.

    A value that is larger than the whole cache is kept as long as it was the last to be asked for, so that what is on
    the screen is not read anew with every request.

    Args:
        limit: bytes of all values, at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """Returns a value, made if it is not there.

        Args:
            key: of the value.
            make: makes it; an error is passed on, and the next who asks tries again.
            size: returns how many bytes it takes.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if not entry.there:
                try:
                    made = make()
                except BaseException:
                    with self._lock:
                        if self._entries.get(key) is entry:
                            del self._entries[key]
                    raise
                entry.value, entry.size, entry.there = made, size(made), True
                self._shrink(key)
            value: T = entry.value
            return value

    def drop(self, key: Hashable) -> None:
        """Forgets a value."""
        with self._lock:
            self._entries.pop(key, None)

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        with self._lock:
            return sum(entry.size for entry in self._entries.values())

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.there

    def _shrink(self, newest: Hashable) -> None:
        with self._lock:
            total = sum(entry.size for entry in self._entries.values())
            for key, entry in list(self._entries.items()):
                if total <= self._limit:
                    return
                if key != newest and entry.there:
                    del self._entries[key]
                    total -= entry.size
