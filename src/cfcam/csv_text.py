"""CSV in and out at one place: what comes in is bounded and told by file and line, what goes out is no formula.

A spreadsheet takes a cell that begins with ``=`` for a formula, and may run it when the file is opened; names of files,
of classes and of patients come from outside. Such a cell is written with an apostrophe before it (OWASP on CSV
injection), which `plain` takes away again; a program that needs the text as it is reads the JSON beside the table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cfcam.bounded import read_bounded
from cfcam.errors import CfcamError, InputError, one_line
from cfcam.shown import writable

LARGEST: Final = 64 * 2**20
"""Bytes of a table."""

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_ONE: Final = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)"
_NUMBER: Final = re.compile(rf"{_ONE}(?: {_ONE})*", re.IGNORECASE)  # or several, as those of a place
_NO_TEXT: Final = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        number: of the line in the file on which it ends, from 1.
        fields: as many as it has.
    """

    number: int
    fields: list[str]


def read_text(path: Path, error: type[CfcamError] = InputError, *, shown: str = "") -> str:
    """Returns the text of a table.

    Args:
        path: the file, in UTF-8.
        error: what is raised.
        shown: what messages call the file; "" its name.

    Raises:
        CfcamError: of the kind ``error``: it cannot be read, is too large, or is no text.
    """
    shown = shown or path.name
    data = read_bounded(path, LARGEST, error, shown=shown)
    return text_of(data, shown, error)


def text_of(data: bytes, shown: str, error: type[CfcamError] = InputError) -> str:
    """Returns the text of a table that was read already; see `read_text`."""
    if len(data) > LARGEST:
        raise error(f"{shown}: is larger than a table can be ({LARGEST >> 20} MiB); give fewer lines")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{shown}: is not UTF-8 text (byte {cause.start}): save it as CSV in UTF-8") from cause
    if (found := _NO_TEXT.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise error(f"{shown}: line {line} holds the character {found[0]!r}, which is none of a text: save it as CSV")
    return text


def lines_of(
    text: str, shown: str, error: type[CfcamError] = InputError, *, separator: str = ",", strict: bool = False
) -> Iterator[Line]:
    """Yields the lines of a table that are not empty.

    Args:
        text: the table.
        shown: what messages call the file.
        error: what is raised.
        separator: between two fields.
        strict: whether quotes in the wrong place are refused.

    Raises:
        CfcamError: of the kind ``error``: a line is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield Line(reader.line_num, fields)
    except csv.Error as cause:
        raise error(f"{shown}: line {reader.line_num} is no CSV ({one_line(cause, 80)}): check the quotes") from cause


def rows_of(
    text: str, shown: str, error: type[CfcamError] = InputError, *, separator: str = ",", strict: bool = False
) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns of a table and its lines by column; what a line lacks is "", what is too much is left out.

    See `lines_of` for the arguments.
    """
    lines = lines_of(text, shown, error, separator=separator, strict=strict)
    columns = next((line.fields for line in lines), [])
    empty = dict.fromkeys(columns, "")
    return columns, [empty | dict(zip(columns, line.fields, strict=False)) for line in lines]


class Writer:
    """Writes lines of a table whose cells no program takes for formulas.

    Args:
        stream: opened with ``newline=""``.
    """

    def __init__(self, stream: Any) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, fields: Iterable[Any]) -> None:
        """Writes a line."""
        cells = [cell(field) for field in fields]
        broken = any(isinstance(one, str) and "\r" in one for one in cells)  # Python 3.11 quotes line feeds alone
        (self._quoted if broken else self._writer).writerow(cells)


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns a table of lines by column; what a line lacks, or has None for, is empty."""
    stream = io.StringIO(newline="")
    writer = Writer(stream)
    writer.write(columns)
    for row in rows:
        writer.write(row.get(column) for column in columns)
    return stream.getvalue()


def cell(value: Any) -> Any:
    """Returns a value as it is written: a text that a program would take for a formula with an apostrophe before it."""
    value = writable(value) if isinstance(value, str) else value
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def plain(text: str) -> str:
    """Returns the text that a cell was written for; the inverse of `cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
