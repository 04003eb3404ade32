"""Cases listed in a CSV file: one line each, with its label, its ground truth and its patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from cfcam import csv_text, json_text
from cfcam.errors import CfcamError, JobError
from cfcam.jobs.cases.case import Case
from cfcam.jobs.inputs.ground_truth import CaseError, Notice, parse_boxes
from cfcam.jobs.inputs.places import below
from cfcam.urls import shown_url

COLUMNS = ("image", "label", "mask", "boxes", "patient", "group", "parts")
_SEPARATORS = (",", ";", "\t")


def read_table(path: Path, notice: Notice, *, also: Collection[str] = ()) -> list[Case]:
    """Returns the cases of a CSV file.

    A line that is wrong becomes a case with a `problem`, so that it is reported and the others are evaluated. Commas,
    semicolons or tabs may separate the columns; paths are relative to the file, and may lead into tars or be URLs.

    Args:
        path: the CSV file: UTF-8, its first line names the columns, of `COLUMNS`; only ``image`` has to be there.
        notice: told of columns that are not used, and of pictures that stand in several lines.
        also: what the column image may be called too, where there is none of this name.

    Raises:
        JobError: the file cannot be read, lacks the column ``image``, or has no lines.
    """
    lines = _lines(path, also)
    number, header = next(lines, (0, []))
    columns = _columns(path, _names(header, also), notice, also)
    cases = [_case(path, line, fields, columns) for line, fields in lines]
    if not cases:
        raise JobError(f"{path}: there is nothing under the header in line {number}: add a line for each picture")
    return _told_apart(cases, notice)


def columns_of(path: Path, *, also: Collection[str] = ()) -> list[str]:
    """Returns what the columns of a CSV file are called; see `read_table`."""
    return _names(next(_lines(path, also), (0, []))[1], also)


def _lines(path: Path, also: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    text = csv_text.read_text(path, JobError, shown=str(path))
    first = text.lstrip().partition("\n")[0]
    separator = next((s for s in _SEPARATORS if "image" in _names(first.split(s), also)), ",")
    for line in csv_text.lines_of(text, str(path), JobError, separator=separator):
        yield line.number, line.fields


def _names(fields: list[str], also: Collection[str]) -> list[str]:
    names = [field.strip().strip('"').casefold() for field in fields]
    others = [name for name in names if name in also]
    if COLUMNS[0] in names or len(others) != 1:
        return names
    return [COLUMNS[0] if name in also else name for name in names]


def _columns(path: Path, names: list[str], notice: Notice, also: Collection[str]) -> list[str]:
    first = " or ".join([COLUMNS[0], *also])
    expected = f"{first} (needed), {', '.join(COLUMNS[1:])}"
    found = ", ".join(_printable(name) or "(no name)" for name in names[:12]) or "none"
    if "image" not in names:
        raise JobError(f"{path}: no column is called {first}; columns found: {found}; expected: {expected}")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name in COLUMNS]:
        raise JobError(f"{path}: two columns are called {twice[0]}; columns found: {found}; expected: {expected}")
    if unused := [name for name in names if name and name not in COLUMNS]:
        notice(f"{path.name}: columns not used: {', '.join(map(_printable, unused))} (known are {', '.join(COLUMNS)})")
    if {"mask", "boxes"} <= set(names):
        notice(f"{path.name}: where a line has both, the mask is used and the boxes are not")
    return names


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _case(table: Path, line: int, fields: list[str], columns: list[str]) -> Case:
    folder = table.parent
    values = {name: field.strip() for name, field in zip(columns, fields, strict=False)}
    image, label, mask, boxes = (values.get(name, "") for name in COLUMNS[:4])
    try:
        place, masks = below(folder, image), (below(folder, mask),) if mask else ()
    except CfcamError as error:  # an address that nobody may read from, or with what may be a password
        return Case(shown_url(image), folder, problem=f"line {line}: {error}")
    case = Case(
        name=image or f"line {line}",
        image=place,
        label=label or None,
        masks=masks,
        patient=values.get("patient") or None,
        group=values.get("group") or None,
        where=f"line {line} of {table.name}",
    )
    if not image:
        return replace(case, problem=f"line {line} names no image")
    if len(fields) > len(columns):
        told = f"line {line} has {len(fields)} fields for {len(columns)} columns"
        return replace(case, problem=f'{told}: put fields that hold a comma, such as boxes, in double quotes (")')
    try:
        parts = _parts(folder, values.get("parts", ""))
        return replace(case, boxes=parse_boxes(boxes) if boxes else None, parts=parts)
    except CfcamError as error:
        return replace(case, problem=str(error))


def _parts(folder: Path, text: str) -> tuple[tuple[str, Path, Path], ...]:
    """Returns name, mask and picture without it of each part in ``{"name": ["mask.png", "without.png"], ...}``."""
    if not text:
        return ()
    wrong = f'parts {text[:80]!r}: give a JSON object such as {{"tube": ["masks/tube.png", "without/tube.png"]}}'
    try:
        values = json_text.parse(text, "parts")
    except ValueError as error:
        raise CaseError(wrong) from error
    pairs = list(values.items()) if isinstance(values, dict) else []
    if not pairs or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) and p for p in pair) for _, pair in pairs
    ):
        raise CaseError(wrong)
    return tuple((name, below(folder, mask), below(folder, without)) for name, (mask, without) in pairs)


def _told_apart(cases: list[Case], notice: Notice) -> list[Case]:
    """Numbers the cases of one picture, and lets them be resampled together."""
    total = Counter(case.name for case in cases)
    several = [name for name, count in total.items() if count > 1]
    if not several:
        return cases
    others = f" and {len(several) - 1} more" if len(several) > 1 else ""
    notice(
        f"{several[0]}{others}: in several lines, each a case of its own; several boxes of a finding belong in one line"
    )
    seen: Counter[str] = Counter()
    apart = []
    for case in cases:
        seen[case.name] += 1
        if total[case.name] > 1:
            case = replace(case, name=f"{case.name} #{seen[case.name]}", patient=case.patient or case.name)
        apart.append(case)
    return apart
