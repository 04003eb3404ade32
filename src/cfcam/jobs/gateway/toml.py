"""A TOML file as dataclasses: what it may hold are their fields, what these mean stands in their docstrings."""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from cfcam.bounded import read_bounded
from cfcam.errors import InputError, JobError, nearest
from cfcam.shown import counted

T = TypeVar("T")

_LARGEST = 1 << 20  # bytes of a file of settings
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def read_table(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        JobError: it cannot be read, or is no TOML.
    """
    data = read_bounded(path, _LARGEST, JobError)
    if len(data) > _LARGEST:
        raise JobError(f"{path.name}: has more than {_LARGEST >> 20} MiB: this is no file of settings")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise JobError(f"{path.name}: is no UTF-8 text: save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{path.name}: {error}") from error


def made(kind: type[T], table: Any, where: str, folder: Path) -> T:
    """Makes a dataclass of a table.

    Args:
        kind: a dataclass whose fields are texts, numbers, flags, paths, tuples of these, or other such dataclasses.
        table: what the file holds.
        where: what messages call the table, such as "[receive]"; "" for the whole file.
        folder: that relative paths start from.

    Raises:
        JobError: a key is unknown or missing, or a value is of another type or not allowed.
    """
    told = f"{where}: " if where else ""
    if not isinstance(table, Mapping):
        raise JobError(f"{where}: is to be a table, such as {where}")
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            near = nearest(name, known) or sorted(known)
            raise JobError(f"{told}there is no {name!r}; nearest: {', '.join(near[:4])}")
    hints = typing.get_type_hints(kind)
    missing = [name for name, one in known.items() if name not in table and _due(one)]
    if missing:
        what = described(kind)[missing[0]].rstrip(".")
        if not where:
            table_due = _table(missing[0], hints[missing[0]])
            raise JobError(f"{table_due} is missing ({what}): add it, as cfcam gateway --example shows")
        raise JobError(f"{told}{missing[0]} is missing: {what}")
    values = {name: _value(table[name], hints[name], _named(where, name), folder) for name in table}
    try:
        return kind(**values)
    except InputError as error:
        raise JobError(f"{told}{error}") from error


def described(kind: type[Any]) -> dict[str, str]:
    """Returns what the docstring of a class says of each of its attributes, on one line each."""
    _, _, part = (kind.__doc__ or "").partition("Attributes:\n")
    part = re.split(r"\n\s*\n", part)[0]
    found: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        if start := re.fullmatch(r" {8}(\w+): (.*)", line):
            name, text = start.groups()
            found[name] = text
        elif name:
            found[name] += f" {line.strip()}"
    return {field.name: found.get(field.name, "") for field in fields(kind)}


def _due(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _named(where: str, name: str) -> str:
    return f"{where} {name}" if where else f"[{name}]"


def _table(name: str, hint: Any) -> str:
    """How a table is written that a field of the whole file takes."""
    kind = typing.get_origin(hint)
    return f"[[{name}]]" if kind is tuple else f"[{name}.NAME]" if kind is dict else f"[{name}]"


def _value(value: Any, hint: Any, where: str, folder: Path) -> Any:
    """A value as its field takes it: a path from the folder of the file, a list as a tuple."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        return _one_of(value, kinds, where, folder)
    if origin is typing.Literal:
        if value not in inner:
            raise JobError(f"{where}: is {_short(value)}: give {', '.join(inner)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise JobError(f"{where}: is to be a list, such as {_listed(inner[0])}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise JobError(f"{where}: has {counted(len(value), 'value')}: give {len(inner)}")
        return tuple(_value(one, inner[0], f"{where}, value {n}", folder) for n, one in enumerate(value, 1))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise JobError(f"{where}: is to be tables, such as [{where.strip('[]')}.NAME]")
        named = where.strip("[]")
        return {name: _value(one, inner[1], f"[{named}.{name}]", folder) for name, one in value.items()}
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return made(hint, value, where, folder)
    return _plain(value, hint, where, folder)


def _one_of(value: Any, kinds: list[Any], where: str, folder: Path) -> Any:
    problem: JobError | None = None
    for kind in kinds:
        try:
            return _value(value, kind, where, folder)
        except JobError as error:
            problem = problem or error
    assert problem is not None  # noqa: S101 (a union has members)
    raise problem


def _plain(value: Any, hint: type, where: str, folder: Path) -> Any:
    if hint is Path and isinstance(value, str) and value:
        path = Path(value).expanduser()
        return path if path.is_absolute() else folder / path
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not Path and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise JobError(f"{where}: is {_short(value)}: give {_WORDS[hint]}")


def _short(value: Any) -> str:
    """What stands there, unless it is long or a table: it may be a password that stands in the wrong place."""
    return repr(value) if isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"


def _listed(kind: Any) -> str:
    return '["A", "B"]' if kind in (str, Path) else "[1, 2]"
