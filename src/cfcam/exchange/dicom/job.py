"""One map on its way into DICOM objects: what they all have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcam._version import __version__
from cfcam.errors import InputError
from cfcam.exchange.dicom.anatomy import say_body_part
from cfcam.exchange.dicom.moments import all_elements, now, say_when_made
from cfcam.exchange.dicom.result import ResultInfo
from cfcam.exchange.dicom.shown import say_aspect
from cfcam.exchange.dicom.sources import frames_of
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.imaging.drawing.look import Look

if TYPE_CHECKING:
    from pydicom import Dataset

SCHEME = "99CFCAM"
"""Designator of cfcam's own codes (PS3.16 section 8: private schemes begin with 99)."""

MANUFACTURER = "cfcam"
RESEARCH = "Research use only; an explanation of the model, not a finding"
_SERIES = 100_000_000, 114_000_000  # with a digit behind it, the series numbers of ten digits that an IS takes

UNICODE = "ISO_IR 192"
"""The character set of UTF-8 (PS3.3 C.12.1.1.2)."""

_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_LONGEST_TEXT = 64
_DIMENSIONS = 0x00209164  # Dimension Organization UID
_EPOCH = datetime(1970, 1, 1)


class Series(NamedTuple):
    """The series that objects of one kind stand in.

    Attributes:
        last_digit: of its number, which no other kind has.
        title: what it is called in its description.
        region: whether the objects are of the region or show its outline, so that their UIDs follow from the
            threshold too.
        peak: whether they tell where the peak is and how steadily, so that their UIDs follow from that too.
        look: whether they show colours, so that their UIDs follow from palette, opacity and blend too.
    """

    last_digit: int
    title: str
    region: bool = False
    peak: bool = False
    look: bool = False


SERIES = {
    "pm": Series(1, "map"),
    "seg-fractional": Series(2, "map as fractions"),
    "seg-binary": Series(3, "region", region=True),
    "sr": Series(4, "measurements", region=True, peak=True),
    "sc": Series(5, "overlay", region=True, look=True),
    "gsps": Series(6, "contour", region=True, peak=True),
    "review": Series(7, "reader's verdict"),
    "report": Series(8, "report"),
    "root": Series(9, "all results"),
    "comparison": Series(0, "comparison with the prior"),
}
"""The series of each kind of object; a line of it never changes, for UIDs and series numbers follow from it."""


@dataclass(frozen=True, eq=False)
class Job:
    """A checked map with its sources.

    Attributes:
        sources: headers of the source pictures.
        heatmap: float32 `(planes, H, W)`, finite.
        result: what made the map.
        threshold: from which value on a pixel belongs to the region.
        originals: the source pictures with their pixels.
        look: how overlays are drawn, which other overlays must not share a UID with.
        steady: under how many of how many small motions the peak stays; None: not measured. It is in the objects that
            tell where the peak is, and in their UIDs if it is known.
        record: SHA-256 of the record of the audit that an object is of, which no other object shares a UID with; "" for
            those of a map.
        shown: the one source as it says to show it, uint8 `(H, W, 3)`; None: whoever draws over it decodes it.
    """

    sources: list[Dataset]
    heatmap: NDArray[np.float32]
    result: ResultInfo
    threshold: float
    originals: Sequence[Dataset]
    look: Look = field(default_factory=Look)
    steady: tuple[float, float] | None = None
    record: str = ""
    shown: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        source = self.sources[0]
        expected = (frames_of(self.sources), int(source.Rows), int(source.Columns))
        if self.heatmap.shape != expected:
            raise InputError(
                f"map of shape {self.heatmap.shape} for sources of {expected} (planes, rows, columns): bring it onto"
                " their grid first"
            )
        if not np.isfinite(self.heatmap).all():
            raise InputError("the map holds values that are no finite numbers: there is nothing to write")
        if not 0 < self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold!r}: it must lie in (0, 1]")

    @property
    def steadiness(self) -> str:
        """How steady the peak is, for objects that tell its place."""
        if self.steady is None:
            return "stability not measured"
        return f"stays under {self.steady[0]:g} of {self.steady[1]:g} small motions"

    @cached_property
    def moment(self) -> datetime:
        """Of the content: as the result says, else when the source's content was made, else 1970."""
        return self.result.created or _moment_of(self.sources[0])

    @cached_property
    def made(self) -> datetime:
        """When the objects are made: as the result says, else now."""
        return self.result.created or now()

    def check_unit_range(self, kind: str) -> None:
        """Raise an `InputError` unless the map lies in [0, 1]."""
        low, high = float(self.heatmap.min()), float(self.heatmap.max())
        if low < 0 or high > 1:
            raise InputError(
                f"{kind}: the map has values from {low:g} to {high:g}; it takes [0, 1]: normalise it first"
            )

    def series_uid(self, kind: str) -> str:
        """Return the UID of the series of one kind of object."""
        return derived_uid("series", kind, self._identity(kind))

    def series_number(self, kind: str) -> int:
        """Return the number of that series, which no other series of the study shares; its last digit is the kind."""
        return number_of(self.series_uid(kind), kind)

    def instance_uid(self, kind: str, number: int = 1) -> str:
        """Return the UID of an object."""
        return derived_uid("instance", kind, number, self._identity(kind))

    def tracking_uid(self) -> str:
        """Return the UID of the finding: the same in every study of the patient, for the same weights and class."""
        source = self.sources[0]
        patient = str(source.PatientID or source.StudyInstanceUID)
        return derived_uid("tracking", patient, self.result.weights_sha256, self.result.class_index)

    def tracking_identifier(self) -> str:
        """Return the name of the finding."""
        return shortened(f"cfcam class {self.result.class_index} {self.result.class_name}")

    def region(self) -> NDArray[np.bool_]:
        """Return the region that numbers refer to: where the map reaches the threshold, `(planes, H, W)`."""
        mask: NDArray[np.bool_] = self.heatmap >= np.float32(self.threshold)
        return mask

    def common(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Return the arguments that all of highdicom's objects share."""
        return {
            "series_instance_uid": self.series_uid(kind),
            "series_number": self.series_number(kind),
            "sop_instance_uid": self.instance_uid(kind, number),
            "instance_number": number,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": "cfcam",
            "software_versions": __version__,
            "device_serial_number": self.result.weights_sha256,
            "series_description": shortened(f"Research use: {self.result.method} {SERIES[kind].title}"),
        }

    def finish(self, dataset: Dataset, kind: str) -> Dataset:
        """Replace by what follows from the job all that a library took from the clock or from chance."""
        if "ContentDate" in dataset:
            dataset.ContentDate, dataset.ContentTime = self.moment.strftime("%Y%m%d"), self.moment.strftime("%H%M%S")
        if "ContentLabel" in dataset and "ContentCreatorName" not in dataset:
            dataset.ContentCreatorName = ""  # of type 2 (PS3.3 table 10-12)
        say_when_made(dataset, self.made)
        say_body_part(dataset, self.sources[0], kind)
        say_aspect(dataset, self.sources[0])
        dimension = derived_uid("dimensions", kind, self._identity(kind))

        for element in all_elements(dataset):
            if element.tag == _DIMENSIONS:
                element.value = dimension
        if beyond_ascii(dataset):
            dataset.SpecificCharacterSet = UNICODE
        _end_with_null(dataset)
        return dataset

    def _identity(self, kind: str) -> list[object]:
        series = SERIES[kind]
        sources = [str(source.SOPInstanceUID) for source in self.sources]
        more: list[object] = [list(self.look)] if series.look else []
        if series.peak and self.steady is not None:
            more.append(["peak", *self.steady])
        if self.record:
            more.append(["record", self.record])
        return [sources, self.result.identity(), self.threshold if series.region else None, __version__, *more]


def number_of(series_uid: str, kind: str) -> int:
    """Return the number of a series, which no other series of its study shares; its last digit is the kind."""
    first, count = _SERIES
    return (first + int(series_uid.rpartition(".")[2]) % count) * 10 + SERIES[kind].last_digit


def shortened(text: str, length: int = _LONGEST_TEXT) -> str:
    """Return a text cut to what its element takes."""
    return text if len(text) <= length else f"{text[: length - 3].rstrip()}..."


def code(value: str, meaning: str) -> Any:
    """Return a code of cfcam's own."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value, SCHEME, shortened(meaning))


def class_code(result: ResultInfo) -> Any:
    """Return the code of the explained class."""
    return code(f"class-{result.class_index}", result.class_name)


def beyond_ascii(dataset: Dataset) -> bool:
    """Whether any text needs more than the default repertoire (PS3.5 6.1.2.1), such as a class name or a patient's."""
    texts = (element.value for element in all_elements(dataset) if element.VR in _TEXTS)
    return not all(str(text).isascii() for text in texts)


def _moment_of(source: Dataset) -> datetime:
    for name in ("Content", "Acquisition", "Series", "Study"):
        date = str(source.get(f"{name}Date") or "")
        time = str(source.get(f"{name}Time") or "").split(".")[0].ljust(6, "0")
        try:
            return datetime.strptime(date + time, "%Y%m%d%H%M%S")
        except ValueError:
            continue
    return _EPOCH


def _end_with_null(dataset: Dataset) -> None:
    """Ends pixels of an odd number of bytes with NULL (PS3.5 section 6.2): highdicom 0.28 has the digit 0 there."""
    if "PixelData" not in dataset or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    pixels = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * int(dataset.get("NumberOfFrames") or 1)
    size = -(-pixels * dataset.BitsAllocated // 8)
    if size % 2 and dataset.PixelData[size:] != b"\0":
        dataset.PixelData = dataset.PixelData[:size] + b"\0"
