"""The answers on a study's maps as DICOM documents, one for each: a later one refers to the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cfcam.clinical.review import Review
from cfcam.web.exports.export import NO_DICOM, NO_WEIGHTS
from cfcam.web.exports.files import Sent, together
from cfcam.web.exports.result import source_of, study_result
from cfcam.web.library.study import Study
from cfcam.web.problems import RefusedError
from cfcam.web.reviews.shown import hash_of

if TYPE_CHECKING:
    from pydicom import Dataset

    from cfcam.clinical.study_result import StudyResult
    from cfcam.exchange.dicom.study import DicomSource


def documents(study: Study, reviews: Sequence[Review]) -> Sent:
    """Returns the answers as DICOM SR; the same answers have the same bytes.

    Args:
        study: with the maps that were answered.
        reviews: oldest first.

    Raises:
        RefusedError: the study is no DICOM, a map is not there or is another one now, or nothing was answered.
        CfcamError: a document cannot be made.
    """
    from cfcam.exchange.dicom.study import review_of
    from cfcam.exchange.dicom.write import encoded

    source = source_of(study, whole=True)
    if source is None:
        raise RefusedError(409, f"no DICOM SR: {NO_DICOM}")
    if source.missing is not None:
        raise RefusedError(409, f"no DICOM SR: {source.missing}")
    if not reviews:
        raise RefusedError(409, "nothing was answered of this study: accept, reject or amend a map first")
    results = {one.shown.map: _result(study, one, source) for one in reversed(reviews)}
    made: dict[str, Dataset] = {}
    for review in reviews:
        before = [made[review.supersedes]] if review.supersedes in made else []
        made[review.record_id] = review_of(results[review.shown.map], source, review, before)
    files = [
        Sent(f"review_{one.SOPInstanceUID}.dcm" if len(made) > 1 else "reviews.dcm", "application/dicom", encoded(one))
        for one in made.values()
    ]
    return together("reviews", files)


def _result(study: Study, review: Review, source: DicomSource) -> StudyResult:
    """The study with the map that was answered, which has to be the one that it was then."""
    shown = review.shown
    found = study.maps.get(shown.map)
    if found is None:
        raise RefusedError(
            409, f"map {shown.map} ({shown.method}) was answered and is not here now: ask for it again, then hand it on"
        )
    if hash_of(found) != shown.map_sha256:
        raise RefusedError(
            409, f"map {shown.map} ({shown.method}) has other values than when it was answered: answer it anew"
        )
    result = study_result(study, [found], source)
    if not result.model.weights_sha256:
        raise RefusedError(409, NO_WEIGHTS)
    return result
