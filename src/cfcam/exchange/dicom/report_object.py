"""The report of a study, or its comparison with the prior, as an object of it: an Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.clinical.study_result import StudyResult
from cfcam.errors import InputError
from cfcam.exchange.dicom.job import MANUFACTURER, SERIES, UNICODE, number_of
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
    identity: list[object] = ["report", _identity(study, source)]
    burned_in = source.burned_in == "YES"
    made: Any = _document(source.objects, "report", identity, pdf, burned_in=burned_in)
    made.DocumentTitle = "Class activation maps, research use"
    made.DeviceSerialNumber = study.model.weights_sha256
    return made


def comparison_object(
    study: StudyResult, source: DicomSource, prior: Sequence[Dataset], pdf: bytes, key: str
) -> Dataset:
    """Return the comparison of a study with the one before it as an Encapsulated PDF, an object of the later one.

    Args:
        study: the later one.
        source: what it was explained from.
        prior: the objects of the earlier one, which the document refers to as well.
        pdf: the comparison.
        key: of all that it depends on; another comparison has another, and so another UID.

    Raises:
        ImageError: a source breaks the standard, or has no study.
        InputError: the studies are of two patients.
    """
    told = [str(one.get("PatientID") or "") for one in (source.objects[0], *prior)]
    if len(set(told)) > 1:
        raise InputError("comparison: the studies are of several patients, and no document holds both")
    burned_in = any(str(one.get("BurnedInAnnotation") or "") == "YES" for one in (*source.objects, *prior))
    objects = [*source.objects, *prior]
    made: Any = _document(objects, "comparison", ["comparison", key], pdf, burned_in=burned_in)
    made.DocumentTitle = "Class activation maps compared with the prior, research use"
    made.DeviceSerialNumber = study.model.weights_sha256
    return made


def _document(objects: Sequence[Any], kind: str, identity: list[object], pdf: bytes, *, burned_in: bool) -> Dataset:
    """A PDF as an object of the study of the first of some objects; it refers to all of them."""
    from pydicom import Dataset as NewDataset

    header = headers_of(objects[:1])[0]
    with quiet():
        made: Any = _begun(header, _PDF, derived_uid("instance", *identity), derived_uid("series", *identity))
        made.Modality, made.SeriesNumber, made.InstanceNumber = "DOC", number_of(str(made.SeriesInstanceUID), kind), 1
        made.SeriesDescription = f"Research use: {SERIES[kind].title}"
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES" if burned_in else "NO"
        made.RecognizableVisualFeatures = "NO"
        concept = NewDataset()
        concept.CodeValue, concept.CodingSchemeDesignator = "126000", "DCM"
        concept.CodeMeaning = "Imaging Measurement Report"
        made.ConceptNameCodeSequence = [concept]
        made.AcquisitionDateTime = ""
        made.SourceInstanceSequence = [_reference(one) for one in objects]
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
