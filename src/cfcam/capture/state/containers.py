"""Containers of any kind: what is in a place, what is put there, and all of it put back."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from operator import is_
from typing import Any

Key = Any


class Cell:
    """What a function has closed over, as a container of one tensor."""

    def __init__(self, cell: types.CellType) -> None:
        self.cell = cell

    def __iter__(self) -> Iterator[Any]:
        yield self.cell.cell_contents

    def __setitem__(self, key: Key, value: Any) -> None:
        self.cell.cell_contents = value


class Slots:
    """The attributes that an object keeps in ``__slots__``."""

    def __init__(self, owner: Any, names: Iterable[str]) -> None:
        self.owner, self.names = owner, tuple(names)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self.owner, name, None) for name in self.names)

    def __setitem__(self, key: Key, value: Any) -> None:
        object.__setattr__(self.owner, key, value)


def get_at(container: Any, key: Key) -> Any:
    """Returns what is in a place."""
    if isinstance(container, Cell):
        return container.cell.cell_contents
    return getattr(container.owner, key) if isinstance(container, Slots) else container[key]


def set_at(container: Any, key: Key, value: Any) -> None:
    """Puts something in a place."""
    if isinstance(container, dict):  # past what a subclass forbids or adds
        (OrderedDict if isinstance(container, OrderedDict) else dict).__setitem__(container, key, value)
    else:
        container[key] = value


def exchanged(value: Any, new: dict[int, Any]) -> Any:
    """Returns what ``new`` has for the `id` of a value, or a tuple in which that is done; else the value."""
    if id(value) in new:
        return new[id(value)]
    if isinstance(value, tuple) and (type(value) is tuple or hasattr(value, "_fields")):
        items = [exchanged(v, new) for v in value]
        return tuple(items) if type(value) is tuple else type(value)(*items)
    return value


def restore(container: Any, saved: Any, name: str) -> list[str]:
    """Puts a container back as it was, and returns the names of what had changed in it.

    Args:
        container: a dictionary, list, deque or set, `Slots` or `Cell`.
        saved: what it held: a dictionary of a dictionary, a tuple of all others.
        name: of the container.
    """
    if isinstance(container, dict):
        return _restore_dict(container, saved, name)
    if _same(container, saved):
        return []
    _restore_other(container, saved)
    return [name]


def _same(container: Any, saved: tuple[Any, ...]) -> bool:
    try:
        now = tuple(container)
    except ValueError:
        return False
    return len(now) == len(saved) and all(map(is_, now, saved))


def _restore_dict(container: dict[Any, Any], saved: dict[Any, Any], name: str) -> list[str]:
    keys = list(container)
    if keys == list(saved):
        different = [k for k, now, old in zip(keys, container.values(), saved.values(), strict=True) if now is not old]
        for key in different:
            set_at(container, key, saved[key])
    else:
        different = [k for k in container if k not in saved or container[k] is not saved[k]]
        different += [k for k in saved if k not in container]
        base = OrderedDict if isinstance(container, OrderedDict) else dict
        base.clear(container)
        for key, value in saved.items():
            base.__setitem__(container, key, value)
    return [f"{name}.{key}" if name else str(key) for key in different]


def _restore_other(container: Any, saved: tuple[Any, ...]) -> None:
    if isinstance(container, Slots):
        for key, value in zip(container.names, saved, strict=True):
            object.__setattr__(container.owner, key, value)
    elif isinstance(container, Cell):
        container[0] = saved[0]
    elif isinstance(container, list):
        container[:] = saved
    else:
        container.clear()
        container.update(saved) if isinstance(container, set) else container.extend(saved)
