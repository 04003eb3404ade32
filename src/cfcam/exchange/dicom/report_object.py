"""The report of a study as an object of it: an Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.clinical.study_result import StudyResult
from cfcam.exchange.dicom.job import MANUFACTURER, UNICODE, number_of
from cfcam.exchange.dicom.moments import now, say_when_made
from cfcam.exchange.dicom.sources import headers_of
from cfcam.exchange.dicom.study import DicomSource, result_info
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.imaging.reading.dicom_object import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
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
        made.Modality, made.SeriesNumber, made.InstanceNumber = (
            "DOC",
            number_of(str(made.SeriesInstanceUID), "report"),
            1,
        )
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


def _reference(source: Any) -> Dataset:
    from pydicom import Dataset as NewDataset

    item = NewDataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
