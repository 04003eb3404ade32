"""Where organs, artefacts and findings are: masks and boxes found for each image, and read onto its grid."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cfcam.clinical.checks.masks import OUTSIDE, read_mask
from cfcam.errors import InputError
from cfcam.exchange.dicom.read_segmentation import is_segmentation, read_segmentation
from cfcam.imaging import Image, Volume
from cfcam.imaging.reading.files import NIFTI_EXTENSIONS, is_nifti
from cfcam.jobs.inputs.ground_truth import Box, fill_boxes, read_boxes
from cfcam.jobs.inputs.names import stem_of

RegionKind = Literal["organ", "artefacts", "findings", "zone"]

_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".dcm", *NIFTI_EXTENSIONS)
_TABLES = (".csv", ".tsv")
_LABELS = re.compile(r"(.+)#(\d+(?:,\d+)*)")


@dataclass(frozen=True)
class MarkedRegion:
    """What is marked in one image.

    Attributes:
        mask: (*spatial) bool on the image's grid: the union of all masks and boxes.
        notices: what a user should know, a line each.
        reason: why nothing is marked; "" if something is.
        files: that it was read from.
    """

    mask: Tensor
    notices: tuple[str, ...] = ()
    reason: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RegionMasks:
    """Finds the masks of images by what a user gave.

    Attributes:
        kind: what is marked.
        given: a file (of one image, or with a place in space: of all), a folder of files of the images' names, a
            pattern with ``{stem}``, or a CSV file with boxes; ``#2`` or ``#1,3`` behind it picks labels of a NIfTI or
            segments of a DICOM Segmentation.
    """

    kind: RegionKind
    given: str
    _labelled: tuple[str, tuple[int, ...] | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        named = None if Path(self.given).exists() else _LABELS.fullmatch(self.given)
        picked = (self.given, None) if named is None else (named[1], tuple(int(n) for n in named[2].split(",")))
        object.__setattr__(self, "_labelled", picked)

    def read(self, name: Path, image: Image | Volume, *, several: bool) -> MarkedRegion:
        """Reads what is marked in an image.

        Args:
            name: the image's file or folder.
            image: as it was read.
            several: whether there are other images, so that one picture file cannot be the mask of all.

        Raises:
            CfcamError: a mask or box does not fit the image, or cannot be read.
        """
        if Path(self._labelled[0]).suffix.lower() in _TABLES:
            return self._from_boxes(name, image)
        files = mask_files(self._labelled[0], name, several=several)
        if not files:
            reason = f"no mask for --{self.kind} was found for {name.name}"
            return MarkedRegion(torch.zeros(image.size, dtype=torch.bool), (reason,), reason)
        mask = torch.zeros(image.size, dtype=torch.bool)
        notices: list[str] = []
        for file in files:
            one, told = self._read(file, image)
            mask |= one
            notices += told
        return MarkedRegion(mask, tuple(notices), "" if mask.any() else _why(notices), tuple(files))

    def _read(self, file: Path, image: Image | Volume) -> tuple[Tensor, tuple[str, ...]]:
        labels = self._labelled[1]
        if is_segmentation(file):
            return read_segmentation(file, image, segments=labels)
        return read_mask(file, image, labels=labels)

    def _from_boxes(self, name: Path, image: Image | Volume) -> MarkedRegion:
        if isinstance(image, Volume):
            raise InputError(f"--{self.kind}: boxes are of pictures; give a NIfTI or a DICOM Segmentation for a volume")
        table = Path(self._labelled[0])
        boxes = self._boxes.get(name.name, self._boxes.get(name.stem))
        if not boxes:
            reason = f"no box for --{self.kind} was found for {name.name}"
            return MarkedRegion(torch.zeros(image.size, dtype=torch.bool), (reason,), reason, (table,))
        notices: list[str] = []
        return MarkedRegion(fill_boxes(boxes, image.size, notices.append), tuple(notices), files=(table,))

    @cached_property
    def _boxes(self) -> dict[str, tuple[Box, ...]]:
        return read_boxes(Path(self._labelled[0]))


def mask_files(masks: str, image: Path, *, several: bool) -> list[Path]:
    """Returns the files in which masks of an image are; [] if there are none.

    Args:
        masks: a file, a folder, or a pattern, see `RegionMasks`.
        image: its file or folder.
        several: whether there are other images.

    Raises:
        InputError: one picture is given for several.
    """
    stem = stem_of(image)
    if "{stem}" in masks:
        return [Path(match) for match in sorted(glob.glob(masks.replace("{stem}", glob.escape(stem))))]  # noqa: PTH207 (an absolute pattern)
    place = Path(masks)
    if place.is_dir():
        known = sorted(file for file in place.iterdir() if file.name.lower().endswith(_ENDINGS))
        same = [file for file in known if stem_of(file) == stem]
        return same or [file for file in known if file.name.startswith(f"{stem}_")]
    if several and not (is_nifti(place) or is_segmentation(place)):
        raise InputError(f"one mask {masks} for several pictures: give a folder, or a pattern like masks/{{stem}}.png")
    return [place]


def _why(notices: Iterable[str]) -> str:
    """What says best that nothing is marked."""
    lines = list(notices)
    return next((line for line in lines if OUTSIDE in line), lines[-1] if lines else "the mask is empty")
