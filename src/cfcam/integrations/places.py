"""Where maps and numbers of a training go: a folder, a `SummaryWriter`, or a trainer's own logger."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.csv_text import Writer, read_text, rows_of
from cfcam.errors import InputError, shown
from cfcam.files import writing
from cfcam.imaging.drawing.png import save_image

TABLE = "scorecard.csv"
_RUN = "run"
_WAYS = "a folder, a SummaryWriter (add_scalar, add_image), or a logger with log_metrics or log_image"


@dataclass(frozen=True)
class Entry:
    """What is written of one picture at one time.

    Attributes:
        name: of the picture.
        stem: of the file in the picture's folder, such as "epoch-00003".
        row: the line of the scorecard, texts and numbers, by column.
        caption: in words, what the overlay shows.
        overlay: uint8 `(H, W, 3)`.
    """

    name: str
    stem: str
    row: Mapping[str, Any]
    caption: str
    overlay: NDArray[np.uint8]


def check_place(place: Any) -> Any:
    """Returns a place that can be written to, a text as a path.

    Raises:
        InputError: it has none of the known ways in, or a file lies where the folder is to be.
    """
    if isinstance(place, (str, Path)):
        folder = Path(place)
        if file := next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None):
            raise InputError(f"to={str(place)!r}: {file} is a file, and maps are written into a folder: name one")
        return folder
    if not isinstance(place, type) and any(_way(place, name) for name in ("add_scalar", "log_metrics", "log_image")):
        return place
    raise InputError(f"maps cannot be written to {shown(place)}: give {_WAYS}")


def check_table(place: Any, columns: Sequence[str]) -> None:
    """Raises `InputError` for a folder that holds a table of other columns than those of a training's rows."""
    if isinstance(place, Path) and (place / TABLE).exists():
        _next_run(place / TABLE, columns)


def write_entries(place: Any, entries: Sequence[Entry], step: int, runs: MutableMapping[Path, int]) -> None:
    """Writes a line of numbers and an overlay for each entry.

    Args:
        place: of `check_place`.
        entries: of one time.
        step: by which loggers count.
        runs: the number of this training in the table of each folder; one is added for a folder that has none.

    Raises:
        InputError: the folder has a table of other columns.
    """
    if isinstance(place, Path):
        if place not in runs:
            runs[place] = _next_run(place / TABLE, list(entries[0].row))
        _append(place / TABLE, [{_RUN: runs[place], **entry.row} for entry in entries])
        for entry in entries:
            _save(entry.overlay, place / entry.name / f"{entry.stem}.png")
        return
    numbers = {f"cfcam/{e.name}/{key}": value for e in entries for key, value in e.row.items() if _known(key, value)}
    if log_metrics := _way(place, "log_metrics"):
        log_metrics(numbers, step=step)
    elif add_scalar := _way(place, "add_scalar"):
        for name, value in numbers.items():
            add_scalar(name, value, step)
    for entry in entries:
        write_picture(place, entry.name, "map", entry.overlay, entry.caption, step)


def write_picture(place: Any, name: str, kind: str, picture: NDArray[np.uint8], caption: str, step: int) -> None:
    """Writes a picture to a place; a logger that takes no pictures gets none.

    Args:
        place: of `check_place`.
        name: of what it is a picture of.
        kind: "map" or "strip".
        picture: uint8 `(H, W, 3)`.
        caption: in words.
        step: by which loggers count.
    """
    key = f"cfcam/{name}/{kind}"
    if isinstance(place, Path):
        _save(picture, place / f"{name}-{kind}.png")
    elif log_image := _way(place, "log_image"):  # as of Lightning's WandbLogger: a list, with a caption for each
        log_image(key=key, images=[picture], step=step, caption=[caption])
    elif add_image := _way(place, "add_image") or _way(getattr(place, "experiment", None), "add_image"):
        add_image(key, picture, step, dataformats="HWC")


def _way(place: Any, name: str) -> Any:
    found = getattr(place, name, None)
    return found if callable(found) else None


def _known(key: str, value: Any) -> bool:
    return key not in ("epoch", "step") and isinstance(value, (int, float)) and math.isfinite(value)


def _next_run(path: Path, row: Sequence[str]) -> int:
    """Returns the number of a training whose lines are added to a table: one more than those that stand there."""
    if not path.exists():
        return 1
    columns, lines = rows_of(read_text(path), path.name)
    if columns and columns != [_RUN, *row]:
        raise InputError(f"{path.name}: the folder {path.parent.name} has one of other columns: give another folder")
    return max((int(line[_RUN]) for line in lines if line[_RUN].isdecimal()), default=0) + 1


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds lines to a table, in which those of earlier trainings stay."""
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = Writer(stream)
            if not stream.tell():
                writer.write(rows[0])
            for row in rows:
                writer.write("" if isinstance(v, float) and math.isnan(v) else v for v in row.values())


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    with writing(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_image(picture, path)
