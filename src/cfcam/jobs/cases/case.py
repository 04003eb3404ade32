"""One case: a picture with its label, its patient and its ground truth, read when it is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cfcam.capture.targets.scores import class_index
from cfcam.errors import ImageError, without_name
from cfcam.imaging import Image, Preprocess, read_image
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.jobs.inputs.ground_truth import Box, CaseError, Notice, fill_boxes, reaching, read_masks
from cfcam.metrics.scorecard.samples import Part, Sample
from cfcam.shown import counted


def ignore_notice(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Case:
    """One picture of an evaluation, not yet read.

    Attributes:
        name: what to call it in the tables; no two cases of a run have the same.
        image: the picture's file.
        label: true class, by index or by name; None if unknown.
        masks: pictures of the picture's size whose union is the ground truth; empty if there is none.
        boxes: the ground truth as boxes, if there is no mask; None if there is none.
        patient: cases of one patient are resampled together.
        group: any grouping of your own, such as the hospital.
        parts: name, mask and picture without it of each part that can be taken away, both of the picture's size.
        problem: why the case cannot be evaluated, if that is known already.
        where: it is listed: ``line 3 of cases.csv``; "" nowhere.
    """

    name: str
    image: Path
    label: int | str | None = None
    masks: tuple[Path, ...] = ()
    boxes: tuple[Box, ...] | None = None
    patient: str | None = None
    group: str | None = None
    problem: str | None = None
    parts: tuple[tuple[str, Path, Path], ...] = ()
    where: str = ""

    def identity(self) -> dict[str, Any]:
        """Returns what the numbers of the case depend on, as plain values: all fields, sizes and times of its files."""
        of_parts = [path for _, *paths in self.parts for path in paths]
        return {
            "name": self.name,
            "label": self.label,
            "boxes": self.boxes,
            "patient": self.patient,
            "group": self.group,
            "problem": self.problem,
            "files": [(str(path), *file_state(path)) for path in (self.image, *self.masks, *of_parts)],
            **({"parts": [name for name, _, _ in self.parts]} if self.parts else {}),
        }

    def load(self, preprocess: Preprocess, classes: Sequence[str] | int | None, notice: Notice) -> Sample:
        """Reads the case; see `load_case`."""
        try:
            return load_case(self, preprocess, classes, notice)
        except ImageError as error:
            raise self.told(error) from error

    def told(self, error: ImageError) -> ImageError:
        """Returns why a file of the case cannot be read, as it stands beside its name: with its line, not its path."""
        reason = without_name(error, self.image)
        return ImageError(f"{reason} ({self.where})" if self.where else reason)


def file_state(path: Path) -> tuple[int, int]:
    """Returns size and time of a file, by which a change shows; -1 and -1 for one that is not there.

    Of a picture in a tar they are the tar's; of an object its etag is in the second.
    """
    try:
        if isinstance(path, Elsewhere):
            size, time, entry, number = path.stamp() or (-1, -1, 0, 0)
            return size, time if entry else time ^ number
        status = path.stat()
    except (OSError, ValueError, ImageError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def load_case(
    case: Case, preprocess: Preprocess, classes: Sequence[str] | int | None = None, notice: Notice = ignore_notice
) -> Sample:
    """Reads a case and brings it to the network's input, its ground truth by the same geometry as its picture.

    Args:
        case: what to read.
        preprocess: what is done to the picture.
        classes: names of the network's classes, or how many there are; None: not known.
        notice: told of boxes that were cut, and of ground truth that does not reach the network.

    Returns:
        The sample; without ground truth if there is none, it is empty, or nothing of it reaches the network.

    Raises:
        CaseError: label or ground truth do not fit.
        ImageError: a file cannot be read.
        InputError: the picture is too elongated for this preprocessing.
    """
    if case.problem is not None:
        raise CaseError(case.problem)
    label = resolve_label(case.label, classes)
    picture = read_image(case.image)
    for line in picture.notices:
        notice(line)
    return Sample(
        preprocess(picture),
        label,
        _ground_truth(case, picture, preprocess, notice),
        name=case.name,
        patient=case.patient,
        group=case.group,
        parts=tuple(_part(part, picture, preprocess) for part in case.parts),
    )


def _part(part: tuple[str, Path, Path], picture: Image, preprocess: Preprocess) -> Part:
    name, mask, without = part
    other = read_image(without)
    if other.size != picture.size:
        raise CaseError(
            f"the picture without {name} is {other.size[0]} x {other.size[1]}, the picture {picture.size[0]} x"
            f" {picture.size[1]}: give one of the same size, alike in all else"
        )
    return Part(name, preprocess.mask(read_masks([mask], picture.size)), preprocess(other))


def _ground_truth(case: Case, picture: Image, preprocess: Preprocess, notice: Notice) -> Tensor | None:
    if case.masks:
        truth = read_masks(case.masks, picture.size)
    elif case.boxes:
        truth = fill_boxes(case.boxes, picture.size, notice)
    else:
        return None
    return reaching(truth, preprocess.mask, notice)


def resolve_label(label: int | str | None, classes: Sequence[str] | int | None) -> int | None:
    """Returns the class index of a label.

    Args:
        label: index, name, or an index as text ("3", or "3.0" as some programs write it).
        classes: see `load_case`.

    Raises:
        CaseError: the index is out of range, or no names are known.
        TargetError: no class has this name; the nearest are offered.
    """
    if label is None:
        return None
    names = None if isinstance(classes, int) else classes
    if isinstance(label, str) and not (names and label in names):
        whole = re.fullmatch(r"(-?\d+)(?:\.0*)?", label)
        label = int(whole[1]) if whole else label
    if isinstance(label, str):
        if names is None:
            raise CaseError(
                f"the label {label!r} is a name, and the network's are not known: give --classes, or an index"
            )
        return class_index(label, names)
    count = classes if isinstance(classes, int) else None if names is None else len(names)
    if label < 0 or (count is not None and label >= count):
        known = (
            "classes count from 0"
            if count is None
            else f"the network has {counted(count, 'class', 'classes')}, 0 to {count - 1}"
        )
        raise CaseError(f"the label {label} is out of range: {known}")
    return label
