"""A reader's verdict as a structured report: what it says, and what validators say of it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from cfcam.clinical.review import Review, Shown, Verdict  # noqa: E402
from cfcam.errors import InputError  # noqa: E402
from cfcam.exchange.dicom.job import Job  # noqa: E402
from cfcam.exchange.dicom.review_report import review_report  # noqa: E402
from cfcam.exchange.dicom.segmentation import segmentation  # noqa: E402
from cfcam.exchange.dicom.sources import frames_of, headers_of  # noqa: E402
from cfcam.exchange.dicom.structured_report import structured_report  # noqa: E402
from tests.exchange import sources as made  # noqa: E402
from tests.exchange.dicom.test_write import content  # noqa: E402
from tests.exchange.phantoms import RESULT, errors_of  # noqa: E402

KINDS = (*made.SERIES, *made.ENHANCED, *made.PICTURES)
SHOWN = Shown("s-" + "0" * 12, "m-" + "1" * 12, "a" * 64, "b" * 64, "ab" * 32, "grad-cam", "layer4", 1, 0.87)
REVIEW = Review(
    SHOWN,
    Verdict.AMEND,
    "Dr. Ána Müller",
    "the border, not the nodule\n第二行",
    {"class_index": 0},
    {"opacity": 0.4, "fade": True},
    None,
    "3-0123456789ab",
    datetime(2026, 1, 2, 3, 4, 5, 678900, UTC),
    "d" * 64,
)


def job(kind, record=REVIEW.hash):
    sources = made.sources(kind)
    heat = np.zeros((frames_of(sources), sources[0].Rows, sources[0].Columns), np.float32)
    heat[..., 4:8, 4:8] = 0.9
    result = replace(RESULT, created=datetime(2026, 1, 2, 4, 4, 5))
    return Job(headers_of(sources), heat, result, 0.5, sources, record=record)


def saved(folder, dataset):
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("program", ["dciodvfy", "dciodvfy of PyPI"])
@pytest.mark.parametrize("kind", KINDS)
def test_validators_find_no_error(tmp_path, program, kind):
    first = review_report(job(kind), REVIEW)
    later = review_report(job(kind, "e" * 64), replace(REVIEW, verdict=Verdict.ACCEPT, comment="", amended={}), [first])
    found = [errors_of(program, saved(tmp_path, one)) for one in (first, later)]
    assert found == [[], []]


def test_it_says_who_what_and_when(tmp_path):
    report = pydicom.dcmread(saved(tmp_path, review_report(job("CR"), REVIEW)))
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE", "UNVERIFIED", "PRELIMINARY",
    )  # fmt: skip
    assert "VerifyingObserverSequence" not in report
    (person,) = content(report, "Person Observer Name")
    assert str(person.PersonName) == "Dr. Ána Müller^"
    (verdict,) = content(report, "Verdict of the reader on the map")
    assert (verdict.ConceptCodeSequence[0].CodeValue, verdict.ConceptCodeSequence[0].CodingSchemeDesignator) == (
        "verdict-amend", "99CFCAM",
    )  # fmt: skip
    (comment,) = content(report, "Comment")
    assert (comment.TextValue, comment.ConceptNameCodeSequence[0].CodeValue) == (REVIEW.comment, "121106")
    (amended,) = content(report, "What the reader puts in the place of what the map says")
    assert amended.TextValue == '{"class_index": 0}'
    assert content(report, "How the map was shown")[0].TextValue == '{"fade": true, "opacity": 0.4}'
    assert content(report, "Record of the audit")[0].TextValue == "3-0123456789ab"
    assert content(report, "SHA-256 of the record of the audit")[0].TextValue == "d" * 64
    assert content(report, "SHA-256 of the values of the map that was shown")[0].TextValue == "b" * 64
    (group,) = content(report, "Measurement Group")
    assert group.ObservationDateTime == "20260102030405.678900+0000"
    assert str(report.StudyInstanceUID) == "1.2.1"
    assert content(report, "Source of Measurement")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        made.sources("CR")[0].SOPInstanceUID
    )


def test_it_tracks_the_finding_of_the_report_of_the_numbers_and_has_uids_of_its_own():
    of_numbers = structured_report(job("CR", ""), segmentation(job("CR", ""), "seg-binary"), {})
    reports = [review_report(job("CR"), REVIEW), review_report(job("CR", "e" * 64), replace(REVIEW, hash="e" * 64))]
    tracked = {content(one, "Tracking Unique Identifier")[0].UID for one in (of_numbers, *reports)}
    assert len(tracked) == 1
    assert len({str(one.SOPInstanceUID) for one in (of_numbers, *reports)}) == 3
    assert review_report(job("CR"), REVIEW).SOPInstanceUID == reports[0].SOPInstanceUID


def test_a_later_verdict_names_the_document_of_the_earlier():
    first = review_report(job("CT"), REVIEW)
    later = review_report(job("CT", "e" * 64), replace(REVIEW, hash="e" * 64), [first])
    assert "PredecessorDocumentsSequence" not in first
    (series,) = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_what_is_in_no_record_becomes_no_document():
    with pytest.raises(InputError, match="record it first"):
        review_report(job("CR"), replace(REVIEW, hash=""))
