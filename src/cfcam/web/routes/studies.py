"""The studies that were opened: their list, one of them, its values, its maps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from cfcam.web.library.nifti import as_npy
from cfcam.web.library.priors import FEW, candidates, offered
from cfcam.web.routes.parts import MapId, TheLibrary, TheStudy, blob, etag, streamed, unchanged
from cfcam.web.schemas import Detail, Priors, Studies

router = APIRouter(prefix="/api/studies", tags=["studies"])

ChannelNumber = Annotated[int, Query(ge=0, lt=2**15, description="Of a volume with several, from 0.")]
Answers = dict[int | str, dict[str, Any]]
_NIFTI: Answers = {200: {"content": {"application/octet-stream": {}}, "description": "An uncompressed NIfTI-1 file."}}
_PNG: Answers = {200: {"content": {"image/png": {}}, "description": "A PNG."}}
_NPY: Answers = {200: {"content": {"application/octet-stream": {}}, "description": "A NumPy file."}}

Sort = Literal["", "name", "probability", "status", "predicted", "label"]


@router.get("")
def listed(
    library: TheLibrary,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
    text: Annotated[str, Query(max_length=200)] = "",
    sort: Sort = "",
) -> Studies:
    """Lists what was opened, as far as it is known without reading it."""
    found = library.studies(text=text, sort=sort)
    return Studies(total=len(found), studies=[study.brief() for study in found[offset : offset + limit]])


@router.get("/{study_id}")
def shown(study: TheStudy, library: TheLibrary) -> Detail:
    """Tells all that is known of a study; it is read for that."""
    found = study.detail()
    others = candidates(study, library.studies())
    if len(others) <= FEW:  # headers of a few are read at once; a picture does not wait for those of thousands
        found.priors = [prior.study.id for prior in offered(study, others).priors]
    return found


@router.get("/{study_id}/priors")
def priors(study: TheStudy, library: TheLibrary) -> Priors:
    """Lists the studies that may be a prior of this one; the headers of all that are DICOM are read for that, once."""
    return offered(study, candidates(study, library.studies()))


@router.get("/{study_id}/original.nii", response_class=Response, responses=_NIFTI)
def original(request: Request, study: TheStudy, channel: ChannelNumber = 0) -> Response:
    """Sends the values of a study as NIfTI, in the source's units: of several channels the one that is asked for."""
    mark = etag(study.facts().sha256, "original", str(channel))
    return unchanged(request, mark) or streamed(study.original(channel), mark, f"{study.id}.nii")


@router.get("/{study_id}/picture.png", response_class=Response, responses=_PNG)
def picture(request: Request, study: TheStudy) -> Response:
    """Sends a study in its window: a picture whole, of a volume the middle slice."""
    mark = etag(study.facts().sha256, "picture")
    return unchanged(request, mark) or blob(study.picture(), "image/png", mark)


@router.get("/{study_id}/thumbnail.png", response_class=Response, responses=_PNG)
def thumbnail(request: Request, study: TheStudy) -> Response:
    """Sends a study small."""
    mark = etag(study.facts().sha256, "thumbnail")
    return unchanged(request, mark) or blob(study.thumbnail(), "image/png", mark)


@router.get("/{study_id}/maps/{map_id}.nii", response_class=Response, responses=_NIFTI)
def map_file(request: Request, study: TheStudy, map_id: MapId, raw: bool = False) -> Response:
    """Sends a map on the study's grid: divided by its maximum in 255 steps, or raw as float32."""
    found = study.map(map_id)
    mark = etag(study.facts().sha256, map_id, "raw" if raw else "levels")
    if (same := unchanged(request, mark)) is not None:
        return same
    file = study.as_file(found.raw_values()) if raw else study.levels(map_id)
    return streamed(file, mark, f"{map_id}.nii")


@router.get("/{study_id}/maps/{map_id}/under.nii", response_class=Response, responses=_NIFTI)
def under_map(request: Request, study: TheStudy, map_id: MapId, channel: ChannelNumber = 0) -> Response:
    """Sends what a map lies on where that is not the study itself, on the study's grid: a registered prior."""
    study.map(map_id)
    mark = etag(study.facts().sha256, map_id, "under", str(channel))
    return unchanged(request, mark) or streamed(study.under(map_id, channel), mark, f"{map_id}_under.nii")


@router.get("/{study_id}/maps/{map_id}.npy", response_class=Response, responses=_NPY)
def map_array(study: TheStudy, map_id: MapId) -> Response:
    """Sends a raw map as NumPy's own file, on the study's grid."""
    return streamed(as_npy(study.map(map_id).raw_values()), etag(map_id, "npy"), f"{map_id}.npy", attached=True)
