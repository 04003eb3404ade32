"""Predictions and labels of cases, in a table: what `cfcam.clinical.calibration` measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam import csv_text
from cfcam.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor

_LABEL, _PATIENT = "label", "patient"

Rows = tuple[list[list[float]], list[int] | list[list[float]], list[str] | None]


def read_predictions(path: Path) -> Rows:
    """Reads a table with a column of logits for each class; without torch, so that a wrong one is told at once.

    The column ``label`` has each case's class, by name or number; in its place ``label:CLASS`` for each class (0, 1 or
    empty) of a multi-label network. A column ``patient`` may say whose the cases are.

    Returns:
        Logits (n, classes), labels (n,) or (n, classes), and the patient of each case, None if nothing tells.

    Raises:
        InputError: the table cannot be read, or something in it is missing.
    """
    columns, rows = csv_text.rows_of(csv_text.read_text(path), one_line(path.name), strict=True)
    several = [name for name in columns if name.startswith(f"{_LABEL}:")]
    classes = [name for name in columns if name not in (_LABEL, _PATIENT, *several)]
    wanted = [f"{_LABEL}:{name}" for name in classes]
    if not rows or not classes or (_LABEL in columns) == bool(several) or (several and set(several) != set(wanted)):
        raise InputError(
            f"{one_line(path.name)}: give a column of logits for each class, named as the class, and 'label' (a class's"
            " name or number), or 'label:CLASS' (0, 1 or empty) for each class of a multi-label network"
        )
    logits = [[_number(row, name, n) for name in classes] for n, row in enumerate(rows, 2)]
    labels: list[int] | list[list[float]]
    if several:
        labels = [[_number(row, name, n, True) for name in wanted] for n, row in enumerate(rows, 2)]
    else:
        labels = [_index(row[_LABEL], classes, n) for n, row in enumerate(rows, 2)]
    return logits, labels, [row[_PATIENT] or "" for row in rows] if _PATIENT in columns else None


def to_tensors(
    logits: list[list[float]], labels: list[int] | list[list[float]], patients: list[str] | None
) -> tuple[Tensor, Tensor, list[str] | None]:
    """Returns what was read with tensors in place of lists."""
    import torch

    return torch.tensor(logits, dtype=torch.float64), torch.tensor(labels), patients


def _number(row: dict[str, Any], column: str, line: int, unknown: bool = False) -> float:
    text = (row[column] or "").strip()
    if unknown and not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f"line {line}, column {one_line(column)}: a number is missing") from None


def _index(label: str | None, classes: Sequence[str], line: int) -> int:
    text = (label or "").strip()
    if text in classes and len(classes) > 1:
        return classes.index(text)
    if text.isdecimal() and int(text) < max(2, len(classes)):
        return int(text)
    raise InputError(f"line {line}: the label is neither a class of the file nor a class's number, counted from 0")
