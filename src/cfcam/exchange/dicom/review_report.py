"""A reader's verdict on a map as a DICOM Comprehensive 3D SR after template TID 1500 (PS3.16).

The reader is a person observer (TID 1003) beside the network as device (TID 1004); the verdict is a qualitative
evaluation, and the words a comment (DCM 121106), of a group (TID 1501) that tracks the same finding as cfcam's report
of its numbers. Of two verdicts on one map the later document names the earlier one in its Predecessor Documents
Sequence (PS3.3 C.17.2).

The document is complete, as the reader has said all there is to say, but UNVERIFIED (PS3.3 C.17.2, Verification Flag):
VERIFIED is the signature of somebody who answers for a report, with an organization, and cfcam knows a reader by no
more than a name that was typed in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cfcam.clinical.review import CODES, Review
from cfcam.errors import InputError
from cfcam.exchange.dicom.job import RESEARCH, Job, code
from cfcam.exchange.dicom.structured_report import group_of, observation_context, probability_of

if TYPE_CHECKING:
    from pydicom import Dataset

KIND = "review"


def review_report(job: Job, review: Review, before: Sequence[Dataset] = ()) -> Dataset:
    """Return a verdict as a document of the study that it is about.

    Args:
        job: the map; it knows the record, so that no two verdicts share a UID.
        review: as it was recorded.
        before: the documents of the verdicts that this one takes the place of.

    Raises:
        InputError: the review is in no record.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    if not (review.hash and review.time):
        raise InputError("sr: only a verdict that is in the audit becomes a document: record it first")
    group: Any = sr.MeasurementsAndQualitativeEvaluations(
        **group_of(job),
        measurements=probability_of(job),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                code("reader-verdict", "Verdict of the reader on the map"), code(*CODES[review.verdict])
            )
        ],
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(source) for source in job.sources],
    )
    group[0].ContentSequence.extend(_texts(review))
    # PS3.3 C.17.3: the moment of an item, with its zone, which the dates of a document have not
    group[0].ObservationDateTime = review.time.strftime("%Y%m%d%H%M%S.%f+0000")
    report = sr.MeasurementReport(
        observation_context=observation_context(job, person_name(review.reviewer)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    dataset: Any = sr.Comprehensive3DSR(
        evidence=job.sources,
        content=report,
        is_complete=True,
        previous_versions=list(before) or None,
        **job.common(KIND),
    )
    dataset.CompletionFlagDescription = RESEARCH[:64]
    return job.finish(dataset, KIND)


def person_name(name: str) -> str:
    """Return a name as DICOM writes one (PS3.5 6.2, PN): all of it as the family name, as nothing tells the parts.

    A name of letters that are not Latin is the same in both.
    """
    return f"{name}^"


def _texts(review: Review) -> list[Any]:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    said: list[tuple[Any, str]] = [(codes.DCM.Comment, review.comment)] if review.comment else []
    if review.amended:
        said.append((code("amended", "What the reader puts in the place of what the map says"), _text(review.amended)))
    if review.view:
        said.append((code("shown", "How the map was shown"), _text(review.view)))
    said += [
        (code("audit-record", "Record of the audit"), review.record_id),
        (code("audit-record-sha256", "SHA-256 of the record of the audit"), review.hash),
        (code("map-sha256", "SHA-256 of the values of the map that was shown"), review.shown.map_sha256),
        (code("source-sha256", "SHA-256 of the source that was shown"), review.shown.source_sha256),
    ]
    contains = sr.RelationshipTypeValues.CONTAINS
    return [sr.TextContentItem(name=name, value=text, relationship_type=contains) for name, text in said]


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
