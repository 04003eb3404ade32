"""The report of a study as an object, and the object that ties all its results together.

A reader finds one object that names all others: a Key Object Selection (PS3.3 A.35.4), in the way of IHE's profile AI
Results, whose root gathers what an algorithm found; its text names the findings by the tracking ids that their
segmentations and reports carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.clinical.study_result import StudyResult
from cfcam.errors import ImageError
from cfcam.exchange.dicom.job import MANUFACTURER, RESEARCH, UNICODE, shortened
from cfcam.exchange.dicom.moments import now, say_when_made
from cfcam.exchange.dicom.sources import headers_of
from cfcam.exchange.dicom.study import DicomSource, result_info
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.imaging.reading.dicom_object import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_FIRST = 114_000_000_0  # series numbers beyond those of the objects of maps
_LONGEST_TEXT = 1000
_OF_PATIENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified",
)  # fmt: skip
_OF_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
             "SpecificCharacterSet")  # fmt: skip


def report_object(study: StudyResult, source: DicomSource, pdf: bytes) -> Dataset:
    """Return the report of a study as an Encapsulated PDF (PS3.3 A.45.1).

    Args:
        study: what is reported.
        source: what it was explained from.
        pdf: the report.

    Raises:
        ImageError: the source breaks the standard, or has no study.
    """
    from pydicom import Dataset as NewDataset

    header = headers_of(source.objects)[0]
    identity = ["report", _identity(study, source)]
    with quiet():
        made: Any = _begun(header, _PDF, derived_uid("instance", *identity), derived_uid("series", *identity))
        made.Modality, made.SeriesNumber, made.InstanceNumber = "DOC", _number(made, 8), 1
        made.SeriesDescription = "Research use: report"
        made.DeviceSerialNumber = study.model.weights_sha256
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES" if source.burned_in == "YES" else "NO"
        made.RecognizableVisualFeatures = "NO"
        made.DocumentTitle = "Class activation maps, research use"
        concept = NewDataset()
        concept.CodeValue, concept.CodingSchemeDesignator = "126000", "DCM"
        concept.CodeMeaning = "Imaging Measurement Report"
        made.ConceptNameCodeSequence = [concept]
        made.AcquisitionDateTime = ""
        made.SourceInstanceSequence = [_reference(one) for one in source.objects]
        made.MIMETypeOfEncapsulatedDocument = "application/pdf"
        made.EncapsulatedDocumentLength = len(pdf)
        made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        say_when_made(made, now())
    return made


def root_object(study: StudyResult, source: DicomSource, files: Sequence[Path]) -> Dataset:
    """Return the object that names all results of a study.

    Args:
        study: whose results they are.
        source: what it was explained from.
        files: of the results.

    Raises:
        ImageError: one of them cannot be read.
    """
    import highdicom
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    with quiet():
        results: list[Any] = [dcmread(file, stop_before_pixels=True) for file in files]
        if not results:
            raise ImageError("there are no results that could be tied together")
        for one in results:  # of type 2, which not every object has
            for keyword in _OF_STUDY[1:6]:
                if keyword not in one:
                    setattr(one, keyword, "")
        uids = sorted(str(one.SOPInstanceUID) for one in results)
        content = highdicom.ko.KeyObjectSelection(
            document_title=codes.DCM.OfInterest, referenced_objects=results, description=_told(study, results)
        )
        made: Any = highdicom.ko.KeyObjectSelectionDocument(
            evidence=results,
            content=content,
            series_instance_uid=derived_uid("series", "root", uids),
            series_number=1,
            sop_instance_uid=derived_uid("instance", "root", uids),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="cfcam",
            software_versions=__version__,
            device_serial_number=study.model.weights_sha256,
            series_description="Research use: all results",
        )
        made.SeriesNumber = _number(made, 9)
        moment = now()
        made.ContentDate, made.ContentTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
        say_when_made(made, moment)
    return made


def _begun(header: Any, sop_class: str, uid: str, series: str) -> Dataset:
    from pydicom import Dataset as NewDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made: Any = NewDataset()
    for keyword in (*_OF_PATIENT, *_OF_STUDY):
        if keyword in header:
            made[keyword] = header[keyword]
    if "SpecificCharacterSet" not in made:
        made.SpecificCharacterSet = UNICODE
    made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID = sop_class, uid, series
    made.Manufacturer, made.ManufacturerModelName, made.SoftwareVersions = MANUFACTURER, "cfcam", __version__
    moment = now()
    made.ContentDate, made.ContentTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = sop_class, uid
    return made


def _identity(study: StudyResult, source: DicomSource) -> list[object]:
    uids = [str(one.SOPInstanceUID) for one in source.objects]
    return [uids, [result_info(study, one).identity() for one in study.maps], __version__]


def _number(made: Any, digit: int) -> int:
    """A series number that no other series of the study shares, up to a chance of one to many millions."""
    return _FIRST + int(str(made.SeriesInstanceUID).rpartition(".")[2]) % 33_000_000 * 10 + digit


def _reference(source: Any) -> Dataset:
    from pydicom import Dataset as NewDataset

    item = NewDataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item


def _told(study: StudyResult, results: Sequence[Any]) -> str:
    """What is tied together, with the tracking ids of the findings."""
    found: dict[str, str] = {}
    for one in results:
        for segment in one.get("SegmentSequence") or ():
            if segment.get("TrackingUID"):
                found[str(segment.TrackingUID)] = str(segment.get("TrackingID") or "finding")
    lines = [RESEARCH, f"network {shortened(study.model.name)}, weights {study.model.weights_sha256[:16]}"]
    lines += [f"{name}: tracking UID {uid}" for uid, name in found.items()]
    return "; ".join(lines)[:_LONGEST_TEXT]
