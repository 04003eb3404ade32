"""A list of inputs in place of a folder: a CSV or Parquet file with a column ``path``, here or in an object store."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from cfcam.csv_text import LARGEST, lines_of, read_text, text_of
from cfcam.errors import InputError, MissingExtraError, describe_first
from cfcam.jobs.inputs.objects import Address, read_list
from cfcam.jobs.inputs.places import below

SUFFIXES = (".csv", ".parquet")
_COLUMN, _NOT_READ = "path", ("target", "targets", "class")
_MOST = 10_000_000
_LARGEST_PARQUET = 512 * 2**20  # bytes of one that is not here


def is_list(path: Path) -> bool:
    """Tells whether a path is a list, and no picture."""
    return path.suffix.lower() in SUFFIXES and (isinstance(path, Address) or path.is_file())


class Entry(NamedTuple):
    """What a list names.

    Attributes:
        where: it stands there: ``line 3``, or ``entry 2`` of a file without lines.
        path: that is named.
    """

    where: str
    path: Path


def entries_in(path: Path) -> list[Entry]:
    """Returns what is named in a list; those that are not absolute, and no URLs, begin at its own folder.

    They may be of files, of pictures in tars (``train-000.tar/0001.jpg``) and of objects (``s3://bucket/0001.jpg``).

    Args:
        path: a CSV file (up to 64 MiB) or a Parquet file with a column ``path``; other columns are left alone.

    Raises:
        InputError: it is no list, has no such column or no lines, or a line has no path.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    columns, told = _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_csv(path)
    if wrong := [name for name in columns if name.strip().lower() in _NOT_READ]:
        raise InputError(
            f"{path}: has a column {wrong[0]!r}, and all inputs of a run have the same targets: leave it out, and give"
            " --target, or a list for each target"
        )
    if not told:
        raise InputError(f"{path}: lists no input")
    for where, text in told:
        if not text.strip() or "\0" in text:
            raise InputError(f"{path}: {where} has no path")
    return [Entry(where, _path(path, where, text.strip())) for where, text in told]


def _path(of: Path, where: str, text: str) -> Path:
    try:
        return below(of.parent, text)
    except InputError as error:
        raise InputError(f"{of}: {where}: {error}") from error


def _of_csv(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    text = text_of(read_list(path, LARGEST), str(path)) if isinstance(path, Address) else read_text(path)
    lines = lines_of(text, str(path))
    columns = [name.strip() for name in first.fields] if (first := next(lines, None)) is not None else []
    _check(path, columns)
    place = columns.index(_COLUMN)
    return columns, [(f"line {line.number}", line.fields[place] if len(line.fields) > place else "") for line in lines]


def _of_parquet(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "store", f"{path}: a Parquet list") from error
    try:
        stored = BytesIO(read_list(path, _LARGEST_PARQUET)) if isinstance(path, Address) else path
        with parquet.ParquetFile(stored) as file:
            columns = list(file.schema_arrow.names)
            _check(path, columns)
            if file.metadata.num_rows > _MOST:
                raise InputError(f"{path}: lists {file.metadata.num_rows} inputs; {_MOST} are allowed")
            values = file.read([_COLUMN]).column(_COLUMN).to_pylist()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: cannot be read as Parquet ({describe_first(error)})") from error
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{path}: the column {_COLUMN!r} holds what is no text")
    return columns, [(f"entry {number}", value) for number, value in enumerate(values, start=1)]


def _check(path: Path, columns: list[str]) -> None:
    if _COLUMN not in columns:
        raise InputError(f"{path}: has no column {_COLUMN!r} (there is: {', '.join(columns[:8])}); name it so")
