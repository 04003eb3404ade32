"""What readers say of maps: recorded, listed, handed on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from cfcam.clinical.review import MapReviews, Review, Verdict
from cfcam.web.reviews.book import ReviewBook
from cfcam.web.routes.parts import TheLibrary, attached
from cfcam.web.schemas import Answer, Counting, Given, Recorded, Reviews

router = APIRouter(prefix="/api/reviews", tags=["reviews"])

_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/json": {}, "application/dicom": {}, "application/zip": {}},
        "description": "The answers: JSON, one DICOM SR, or a ZIP of several.",
    }
}

StudyQuery = Annotated[str, Query(pattern=r"^s-[0-9a-f]{12}$", description="A study's id.")]
MapQuery = Annotated[str | None, Query(alias="map", pattern=r"^m-[0-9a-f]{12}$", description="Of one map only.")]


def _book(request: Request) -> ReviewBook:
    book: ReviewBook = request.app.state.reviews
    return book


TheBook = Annotated[ReviewBook, Depends(_book)]


@router.post("")
def record(answer: Answer, book: TheBook, library: TheLibrary) -> Recorded:
    """Records what a reader says of a map; an earlier answer on it stays, and no longer counts."""
    from cfcam.web.reviews.shown import check_words, shown

    reader = book.reader(answer.reviewer)
    study = library.find(answer.study)
    found = study.map(answer.map)
    comment = answer.comment.replace("\r\n", "\n").strip()
    check_words(study, comment, reader)
    view = answer.view.model_dump(exclude_none=True)
    amended = {} if answer.amended is None else answer.amended.model_dump(exclude_none=True)
    review = book.add(shown(study, found), Verdict(answer.verdict), reader, comment=comment, amended=amended, view=view)
    return Recorded(record_id=review.record_id, time=_moment(review), hash=review.hash, supersedes=review.supersedes)


@router.get("")
def listed(study: StudyQuery, book: TheBook, library: TheLibrary) -> Reviews:
    """Lists the answer that counts of each map of a study, with those before it."""
    found = book.maps_of(study, library.find(study).facts().sha256)
    return Reviews(reviews=[_counting(one) for one in found])


@router.get("/export", response_class=Response, responses=_FILES)
def export(
    study: StudyQuery,
    book: TheBook,
    library: TheLibrary,
    kind: Annotated[Literal["json", "sr"], Query(alias="format")] = "json",
    one: MapQuery = None,
) -> Response:
    """Sends the answers on a study's maps, from a record that was found whole: as JSON or as DICOM SR."""
    from cfcam.exchange.fhir.reviews import reviews_json
    from cfcam.web.reviews.documents import documents

    found = library.find(study)
    reviews, head = book.certified(study, found.facts().sha256)
    if one is not None:
        reviews = [review for review in reviews if review.shown.map == one]
    if kind == "json":
        return attached("reviews.json", "application/json", reviews_json(study, reviews, head))
    sent = documents(found, reviews)
    return attached(sent.name, sent.media_type, sent.data)


def _counting(one: MapReviews) -> Counting:
    *before, _ = one.reviews
    return Counting(
        **_given(one.latest).model_dump(), contested=one.contested, history=[_given(review) for review in before]
    )


def _moment(review: Review) -> str:
    """When a review was recorded, ISO 8601 with its zone."""
    return "" if review.time is None else review.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _given(review: Review) -> Given:
    shown = review.shown
    return Given(
        record_id=review.record_id,
        time=_moment(review),
        hash=review.hash,
        supersedes=review.supersedes,
        study=shown.study,
        map=shown.map,
        map_sha256=shown.map_sha256,
        verdict=review.verdict.value,
        reviewer=review.reviewer,
        comment=review.comment,
        amended=dict(review.amended),
        view=dict(review.view),
        method=shown.method,
        layer=shown.layer,
        class_index=shown.class_index,
        probability=shown.probability,
    )
