"""The true class of each picture of a run: from a CSV file, or from the names of the folders that they lie in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from cfcam.errors import CfcamError, InputError, few, nearest
from cfcam.jobs.cases.case import Case, resolve_label
from cfcam.jobs.cases.table import columns_of, read_table
from cfcam.jobs.inputs.find import Input, absolute
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.shown import counted

FOLDERS = "folders"
"""What is given in place of a file where the folders of the pictures are called like classes."""

_ALSO = ("picture", "file", "filename")


@dataclass(frozen=True)
class Labels:
    """The true classes of the inputs of a run.

    Attributes:
        of: absolute path of an input -> index of its class.
        missing: how many inputs have none.
        unused: how many lines of the file belong to no input.
        empty: absolute path -> the line that lists it, and leaves its label empty.
    """

    of: Mapping[str, int]
    missing: int = 0
    unused: int = 0
    empty: Mapping[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Returns what a user should know of them; no picture is named, for its name may be a patient's."""
        unused = f"labels that belong to no picture of this run: {self.unused}"
        return [*self.gaps(), *([unused] if self.unused else [])]

    def gaps(self) -> list[str]:
        """Returns what a reader of the page should know of them."""
        total = self.missing + len(self.of)
        return [f"pictures without a label: {self.missing} of {total}"] if self.missing else []


def read_labels(given: str, inputs: Sequence[Input], classes: Sequence[str] | None, option: str = "--labels") -> Labels:
    """Reads the true classes of the inputs of a run.

    Args:
        given: a CSV file as of `cfcam.jobs.cases.table.read_table`, of which the columns image (or picture, file,
            filename) and label matter, with paths relative to the file; or `FOLDERS`: the folder of each picture is
            called like its class.
        inputs: of the run.
        classes: names of the network's classes, if known.
        option: what messages call it.

    Raises:
        CfcamError: the file cannot be read, a label is no class of the network, or no input has one.
    """
    if given == FOLDERS:
        return _of_folders(inputs, classes)
    return _of_table(Path(given), inputs, classes, option)


def _of_table(path: Path, inputs: Sequence[Input], classes: Sequence[str] | None, option: str) -> Labels:
    @cache
    def index(label: str) -> int:
        found = resolve_label(label, classes)
        assert found is not None  # noqa: S101 (a text is a label)
        return found

    known = {str(source.absolute): source.shown.name for source in inputs}
    by_path: dict[str, int] = {}
    first: dict[str, Case] = {}
    empty: dict[str, str] = {}
    if "image" not in (columns := columns_of(path, also=_ALSO)):
        raise InputError(f"{option} {path.name}: {_lacking('file', columns)}")
    cases = read_table(path, lambda told: None, also=_ALSO)
    for case in cases:
        place = str(absolute(case.image))
        named = f" ({known[place]})" if place in known else ""  # other names are as they may be, a patient's too
        if case.problem is not None:  # of such a line nobody knows which label is whose
            what = case.problem if case.problem.startswith("line ") else f"{case.where}: {case.problem}"
            raise InputError(f"{option} {path.name}: {what}")
        if case.label is None:
            empty[place] = f"{case.where.partition(' of ')[0]}{named}"
            continue
        try:
            label = index(str(case.label))
        except CfcamError as error:
            raise InputError(f"{option} {path.name}: {case.where.partition(' of ')[0]}{named}: {error}") from error
        before = first.setdefault(place, case)
        if by_path.setdefault(place, label) != label:
            raise InputError(
                f"{option} {path.name}: the picture{named} of {case.where.partition(' of ')[0]} is called"
                f" {case.label!r} there and {before.label!r} in {before.where.partition(' of ')[0]}: give each picture"
                " one label"
            )
    if not by_path:
        raise InputError(f"{option} {path.name}: {_without_labels(path, len(cases))}")
    found = {
        str(source.absolute): by_path[str(source.absolute)] for source in inputs if str(source.absolute) in by_path
    }
    left = {place: label for place, label in by_path.items() if place not in found}
    found |= _by_name([source for source in inputs if str(source.absolute) not in found], left)
    if not found:
        raise InputError(
            f"{option} {path.name}: none of its pictures is among those to explain: paths are relative to the file"
        )
    return replace(_labels(found, inputs, unused=len(by_path) - len(found)), empty=empty)


def _without_labels(path: Path, lines: int) -> str:
    """Returns in words why no line of a table has a label."""
    columns = columns_of(path, also=_ALSO)
    if "label" not in columns:
        return _lacking("label", columns)
    return f"the column label is empty in all of its {counted(lines, 'line')}: write a class's name or index there"


def _lacking(name: str, columns: Sequence[str]) -> str:
    found = few((one or "(no name)" for one in columns), 8) if any(columns) else "none"
    return f"no column is called {name}; columns found: {found}; it takes file (or image) and label"


def read_targets(path: Path, inputs: Sequence[Input], classes: Sequence[str] | None) -> Mapping[str, int]:
    """Reads the class that is to be explained of each input: absolute path -> index; see `read_labels`.

    Raises:
        CfcamError: see there; or an input has no line.
    """
    labels = read_labels(str(path), inputs, classes, "--target")
    if labels.missing:
        first = next(source for source in inputs if str(source.absolute) not in labels.of)
        empty = labels.empty.get(str(first.absolute))
        which = first.shown.name if empty is None else f"{empty}, whose label is empty"
        raise InputError(
            f"--target {path.name}: {labels.missing} of {len(inputs)} inputs have no line with a label, the first of"
            f" them is {which}: add them, or leave the inputs out"
        )
    return labels.of


def _by_name(inputs: Sequence[Input], left: Mapping[str, int]) -> dict[str, int]:
    """Labels of pictures that lie elsewhere than the file says, where their names alone leave no doubt."""
    of_inputs, of_labels = Counter(s.path.name for s in inputs), Counter(Path(place).name for place in left)
    labels = {Path(place).name: label for place, label in left.items()}
    return {
        str(source.absolute): labels[source.path.name]
        for source in inputs
        if of_inputs[source.path.name] == of_labels[source.path.name] == 1
    }


def _of_folders(inputs: Sequence[Input], classes: Sequence[str] | None) -> Labels:
    @cache
    def index(folder: str) -> int | None:
        try:
            return resolve_label(folder, classes)
        except CfcamError:
            return None

    found, unknown = {}, dict[str, Input]()
    for source in inputs:
        folder = source.absolute.parent.name
        label = index(folder)
        if label is not None:
            found[str(source.absolute)] = label
        elif source.folder.parts:  # a folder of a folder is meant to be a class; the outermost need not
            unknown.setdefault(folder, source)
    if classes is None and not found:
        raise InputError(
            "--labels folders: the names of the network's classes are not known: give --classes, or call the folders"
            " by their indices"
        )
    names = list(classes or ())
    for folder, source in unknown.items():
        near = few(map(repr, nearest(folder, names) or names[:3]))
        told = "like a folder of DICOM files" if comes_from_dicom(source) else f"{folder!r}, as a folder is"
        raise InputError(f"--labels folders: no class is called {told}; nearest of {len(names)}: {near}")
    if not found:
        raise InputError(f"--labels folders: no folder is called like a class: {few(map(repr, names))}")
    return _labels(found, inputs)


def _labels(found: Mapping[str, int], inputs: Sequence[Input], unused: int = 0) -> Labels:
    return Labels(found, sum(str(source.absolute) not in found for source in inputs), unused)
