"""Which studies are compared with which: pairs from the command line or from a CSV file, each with a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from cfcam import csv_text
from cfcam.clinical.comparison.result import Comparison
from cfcam.errors import InputError, few
from cfcam.jobs.inputs.names import folded, safe
from cfcam.jobs.inputs.privacy import labelled, neutral

_COLUMNS = ("prior", "current", "name")


@dataclass(frozen=True)
class Pair:
    """A prior and a current study.

    Attributes:
        prior: a picture, a NIfTI file, a DICOM file or folder.
        current: likewise.
        name: what the files of the comparison are called; holds nothing of a patient.
        shown: what the two studies are called wherever somebody may read it: a DICOM file or folder is often called
            after the patient, and goes by the name that `cfcam.jobs.inputs.privacy` gives it; others by their own.
    """

    prior: Path
    current: Path
    name: str
    shown: tuple[str, str] = ("prior", "current")


def make_pair(prior: Path, current: Path, name: str | None = None) -> Pair:
    """Returns a pair with a name that can be a file's: the one given, else PRIOR_CURRENT."""
    shown = (labelled(prior).shown.name, labelled(current).shown.name)
    return Pair(prior, current, safe(name or "", 120) or "_".join(map(_stem, shown)), shown)


def without_names(text: str, pair: Pair) -> str:
    """Returns a message about a pair without the names of its DICOM files and folders."""
    for path in (pair.prior, pair.current):
        text = neutral(text, labelled(path))
    return text


def read_pairs(path: Path) -> list[Pair]:
    """Reads a CSV file with the columns prior, current and, if wanted, name; paths are relative to the file.

    Raises:
        InputError: the file cannot be read, lacks a column or a value, or names two pairs alike.
    """
    columns, rows = csv_text.rows_of(csv_text.read_text(path), path.name)
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown or not {"prior", "current"} <= set(columns):
        raise InputError(f"{path.name}: has the columns {few(columns, 8)}: give prior,current or prior,current,name")
    if not rows:
        raise InputError(f"{path.name}: names no pair")
    pairs = []
    for number, row in enumerate(rows, start=2):
        if not row["prior"] or not row["current"]:
            raise InputError(f"{path.name}, line {number}: a pair needs a prior and a current study")
        try:
            pairs.append(make_pair(path.parent / row["prior"], path.parent / row["current"], row.get("name")))
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            reason = error.strerror or type(error).__name__
            raise InputError(f"{path.name}, line {number}: a study cannot be looked for ({reason})") from error
    given = [pair for pair, row in zip(pairs, rows, strict=True) if row.get("name")]
    if len({folded(pair.name) for pair in given}) < len(given):
        raise InputError(f"{path.name}: two pairs have one name: give each its own, or none")
    return list(_told_apart(pairs, {folded(pair.name) for pair in given}, rows))


def _told_apart(pairs: Sequence[Pair], taken: set[str], rows: Sequence[Mapping[str, str]]) -> Iterator[Pair]:
    numbers = Counter[str]()  # 20 000 pairs of one name are not counted from 1 each time
    for pair, row in zip(pairs, rows, strict=True):
        name = pair.name
        while not row.get("name") and folded(name) in taken:
            numbers[folded(pair.name)] += 1
            name = f"{pair.name}-{numbers[folded(pair.name)] + 1}"
        taken.add(folded(name))
        yield replace(pair, name=name)


def _stem(name: str) -> str:
    stem = name.removesuffix(".nii.gz") if name.endswith(".nii.gz") else Path(name).stem
    return safe(stem, 56) or "study"


class PairState(StrEnum):
    """What became of a pair."""

    COMPARED = "compared"
    RESUMED = "resumed"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, eq=False)
class PairResult:
    """What became of a pair.

    Attributes:
        pair: which.
        state: compared, resumed (the files of an earlier run are good) or not compared.
        document: what its JSON file holds; of a pair that was not compared the reason, and the registration, if any.
        comparison: None if the pair was not compared now.
        reason: why it was not compared, in one line.
    """

    pair: Pair
    state: PairState
    document: dict[str, Any]
    comparison: Comparison | None = None
    reason: str | None = None
