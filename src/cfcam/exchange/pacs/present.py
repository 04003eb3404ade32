"""What a place has already, compared by content: of two objects with one UID archives keep the first, silently."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.errors import CfcamError
from cfcam.exchange.pacs.fetching import fetch
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.querying import query
from cfcam.exchange.pacs.wanted import Wanted
from cfcam.imaging.reading.dicom_object import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_OTHER = "the place has another object under this UID, which it would keep: give this one a UID of its own"

# What archives set right by the order or the patient (PS3.4 B.4.1.2), and when an object was made: no other object.
_MAY_DIFFER = frozenset(
    {
        "SpecificCharacterSet",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "StudyDescription",
        "ReferringPhysicianName",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "StationName",
        "RequestAttributesSequence",
        "OriginalAttributesSequence",
        "RetrieveAETitle",
        "InstanceAvailability",
        "TimezoneOffsetFromUTC",
        "IssuerOfAccessionNumberSequence",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "PresentationCreationDate",
        "PresentationCreationTime",
        "DateOfSecondaryCapture",
        "TimeOfSecondaryCapture",
        "ContributionDateTime",
        "DataSetTrailingPadding",
    }
)
_PATIENT, _DESCRIPTION, _PIXELS = 0x0010, 0x0028, 0x7FE0  # groups


def already_there(place: Place, objects: Sequence[DicomObject], access: Access) -> Iterator[Sent]:
    """Yields those of some objects that need not be sent: they are there, or another is there under their UID.

    A place that answers no queries, or gives nothing back, is sent everything, as if it had nothing.
    """
    for (study, series), of_series in _by_series(objects).items():
        try:
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            there = {str(one.SOPInstanceUID) for one in query(place, "image", keys, access)}
        except NetworkError:
            return
        same = [one for one in of_series if one.uid in there]
        if same:
            yield from _compared(place, same, access)


def _by_series(objects: Sequence[DicomObject]) -> Mapping[tuple[str, str], list[DicomObject]]:
    found: dict[tuple[str, str], list[DicomObject]] = {}
    for one in objects:
        found.setdefault((one.study, one.series), []).append(one)
    return found


def _compared(place: Place, objects: Sequence[DicomObject], access: Access) -> Iterator[Sent]:
    by_uid = {one.uid: one for one in objects}
    wanted = [
        Wanted(number, one.study, one.series, one.uid, one.sop_class) for number, one in enumerate(by_uid.values())
    ]
    with tempfile.TemporaryDirectory(prefix="cfcam-") as name:
        report = fetch(place, wanted, Path(name), access)
        theirs = {got.uid: got.path for got in report.sent if got.path is not None}
        for one in objects:
            if one.uid not in theirs:
                continue
            try:
                same = is_same(one.read(), DicomObject.of(theirs[one.uid], 0, 1).read())
            except CfcamError:
                continue
            if same:
                yield Sent(one.number, one.uid, Outcome.ALREADY_THERE, path=one.path)
            else:
                yield Sent(one.number, one.uid, Outcome.REFUSED, _OTHER, path=one.path)


def is_same(ours: Dataset, theirs: Dataset) -> bool:
    """Tells whether two datasets are one object: all that an archive has no business to change is equal.

    Where one of them is compressed and the other is not, or otherwise, pixels and their description are not compared.
    """
    syntaxes = {dataset.file_meta.TransferSyntaxUID for dataset in (ours, theirs)}
    decoded = len(syntaxes) > 1 and not all(
        syntax.is_transfer_syntax and not syntax.is_encapsulated for syntax in syntaxes
    )
    left_out = {_PATIENT, _DESCRIPTION, _PIXELS} if decoded else {_PATIENT}
    with quiet():
        return _content(ours, left_out) == _content(theirs, left_out)


def _content(dataset: Dataset, left_out: set[int]) -> dict[int, Any]:
    return {
        int(element.tag): _value(element, left_out)
        for element in dataset
        if element.tag.group not in left_out and element.tag.element and element.keyword not in _MAY_DIFFER
    }


def _value(element: Any, left_out: set[int]) -> Any:
    if element.VR == "SQ":
        return [_content(item, left_out) for item in element.value]
    return element.value.rstrip(b"\0 ") if isinstance(element.value, bytes) else str(element.value or "")
