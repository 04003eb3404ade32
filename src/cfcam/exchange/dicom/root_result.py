"""The root of a study's results: a Key Object Selection that names every object which was made of the study.

A reader, a worklist or an archive that finds this one document finds all the others, as the "result root" of IHE's
AI Results profile asks (IHE RAD TF Supplement AIR, "Result Tree"); the document follows PS3.3 A.35.4 and template
TID 2010 (PS3.16), which takes no tracking identifiers of its own: they stand in the description, one a line, as the
structured reports carry them (DCM 112039, 112040).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.errors import InputError
from cfcam.exchange.dicom.job import MANUFACTURER, RESEARCH, SERIES, UNICODE, beyond_ascii, number_of, shortened
from cfcam.exchange.dicom.moments import now, say_when_made
from cfcam.exchange.dicom.uids import derived_uid

if TYPE_CHECKING:
    from pydicom import Dataset

KIND = "root"
_FIRST = ("SR", "SEG", "RWV", "PR", "OT")  # the numbers first, then regions, maps, contours, pictures
_TRACKED, _TRACKED_UID = "112039", "112040"  # DCM, PS3.16 annex D
_OF_STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")  # of type 2


def root_result(objects: Sequence[Dataset]) -> Dataset:
    """Return the document that ties the objects of one study's results together; the same objects, the same bytes.

    Args:
        objects: as `cfcam.exchange` made them, of one study of one patient, in any order, a report as PDF among them or
            not.

    Raises:
        InputError: there are none, or they are of several studies or patients.
    """
    from highdicom import sr
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
    from pydicom.sr.codedict import codes

    if not objects:
        raise InputError("root: there is no object to tie: ask for others beside it")
    for name in ("StudyInstanceUID", "PatientID"):
        if len({str(one.get(name) or "") for one in objects}) > 1:
            raise InputError(f"root: the objects have several values of {name}: tie those of each study apart")
    tied = sorted({str(one.SOPInstanceUID): _whole(one) for one in objects}.values(), key=_order)
    uids = sorted(str(one.SOPInstanceUID) for one in tied)
    series = derived_uid("series", KIND, [str(tied[0].StudyInstanceUID), __version__])
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", __version__, KIND), name="cfcam", manufacturer_name=MANUFACTURER, model_name="cfcam"
    )
    findings = list(dict.fromkeys(line for one in tied for line in _tracked(one)))
    selection = KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=tied,
        observer_device_context=sr.ObserverContext(codes.DCM.Device, observer_identifying_attributes=device),
        description="\n".join([RESEARCH, *findings]),
    )
    whole, selection[0].ContentSequence = selection[0].ContentSequence, []  # see `structured_report.hollow`
    dataset: Any = KeyObjectSelectionDocument(
        evidence=tied,
        content=selection,
        series_instance_uid=series,
        series_number=number_of(series, KIND),
        sop_instance_uid=derived_uid("instance", KIND, uids, __version__),
        instance_number=1,
        manufacturer=MANUFACTURER,
    )
    dataset.ContentSequence = whole
    dataset.ManufacturerModelName, dataset.SoftwareVersions = "cfcam", __version__
    dataset.SeriesDescription = shortened(f"Research use: {SERIES[KIND].title}")
    dataset.ContentDate, dataset.ContentTime = max(
        (str(one.get("ContentDate") or "19700101"), str(one.get("ContentTime") or "000000")) for one in tied
    )
    say_when_made(dataset, _made(tied))
    if beyond_ascii(dataset):
        dataset.SpecificCharacterSet = UNICODE
    return dataset


def _whole(one: Dataset) -> Dataset:
    """An object with what it may leave empty and its library asks for."""
    found = copy(one)
    for keyword in _OF_STUDY:
        if keyword not in found:
            setattr(found, keyword, "")
    return found


def _order(one: Dataset) -> tuple[int, str]:
    modality = str(one.Modality)
    return _FIRST.index(modality) if modality in _FIRST else len(_FIRST), str(one.SOPInstanceUID)


def _made(tied: Sequence[Any]) -> datetime:
    """When the last of the objects was made, so that the root of objects that are there already is the same again."""
    moments = [
        datetime.strptime(f"{one.InstanceCreationDate}{str(one.InstanceCreationTime).split('.')[0]}", "%Y%m%d%H%M%S")
        for one in tied
        if one.get("InstanceCreationDate") and one.get("InstanceCreationTime")
    ]
    return max(moments, default=None) or now()


def _tracked(one: Any) -> Iterator[str]:
    """Yields a line for each finding that a segmentation or a structured report tracks."""
    for segment in one.get("SegmentSequence") or ():
        if segment.get("TrackingUID"):
            yield f"{segment.get('TrackingID') or 'finding'}: {segment.TrackingUID}"
    name = ""
    for item in one.get("ContentSequence") or ():
        concept = str(item.ConceptNameCodeSequence[0].get("CodeValue", "")) if "ConceptNameCodeSequence" in item else ""
        if concept == _TRACKED:
            name = str(item.TextValue)
        elif concept == _TRACKED_UID:
            yield f"{name}: {item.UID}"
        yield from _tracked(item)
